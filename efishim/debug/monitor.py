"""What gdb's `monitor` command asks of the stub: where the guest is, in words, and where a symbol lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from efishim.debug.location import located
from efishim.machine.machine import Machine

HELP = """where          the next instructions, in the mode that the processor is in
symbol NAME    where a kernel symbol lies, as far as that is known by now
"""


class Monitor:
    """`lookup` gives the addresses of a symbol now, none while they are unknown; `name` is that of an address."""

    def __init__(self, machine: Machine, *, lookup: Callable[[str], Iterable[int]], name: Callable[[int], str]) -> None:
        self._machine = machine
        self._lookup = lookup
        self._name = name

    def answer(self, words: str) -> str:
        """The text for the user; unknown commands show the known ones."""
        command, _, rest = words.strip().partition(" ")
        if command == "where" and not rest:
            return "\n".join(located(self._machine, self._name)) + "\n"
        if command == "symbol" and rest:
            found = [f"{address:#x}" for address in self._lookup(rest.strip())]
            return " ".join(found) + "\n" if found else f"no address is known for {rest.strip()!r} by now\n"
        return HELP
