"""The hook through which profiles and trials override what the firmware offers and returns.

The shim asks before it installs anything and around every call. The default says yes to everything and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping


class Overrides:
    """Everything permitted. Subclasses restrict; all names are the specification's, GUIDs by name."""

    def answer(self, call: str, args: Mapping[str, str]) -> int | None:
        """A status to answer at once instead of carrying the call out (`BootServices.LocateProtocol`), or None."""
        return None

    def amend(self, call: str, args: Mapping[str, str], status: int) -> int:
        """The status that the caller sees after the call was carried out."""
        return status

    def has_service(self, call: str) -> bool:
        """False leaves a NULL pointer in the table."""
        return True

    def has_protocol(self, guid: str) -> bool:
        """False: the shim does not install this protocol (the image itself still may)."""
        return True

    def has_table(self, guid: str) -> bool:
        """False: the shim does not install this configuration table."""
        return True

    def has_variable(self, guid: str, name: str) -> bool:
        """False: the shim does not come with this variable."""
        return True

    def has_field(self, name: str) -> bool:
        """False leaves a field of the system table, or of a table's header, zero (`SystemTable.ConOut`)."""
        return True

    def announces(self, call: str) -> bool:
        """Does the table of runtime properties name this service (4.6.2)?"""
        return self.has_service(call)

    @property
    def watches_calls(self) -> bool:
        """Are `answer` and `amend` overridden? If not, arguments need not be decoded."""
        kind = type(self)
        return kind.answer is not Overrides.answer or kind.amend is not Overrides.amend
