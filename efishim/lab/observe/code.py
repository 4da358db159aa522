"""Records which code runs, from the image's first block on, and where the decompressed kernel and userspace begin."""

from __future__ import annotations

from collections.abc import Sequence

from efishim.image.opened import Image
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.code_parts import CodeLayout, coverage
from efishim.lab.observe.code_ways import Notes
from efishim.lab.observe.image_code import ImageCode
from efishim.lab.observe.milestones import Milestones, Moment
from efishim.lab.record import Coverage, Milestone, MilestonePoint
from efishim.logged_call import LoggedCall
from efishim.machine.machine import Machine


class CodeObserver:
    """Looks at each new block until `startup_64`, and remembers how many blocks there were at each milestone.

    `unpacked` says that the kernel proper runs from the first instruction on, and no code of a bzImage around it.
    """

    def __init__(self, machine: Machine, image: Image, milestones: Milestones, *, unpacked: bool) -> None:
        self._unpacked = unpacked
        self._machine = machine
        self._image = image
        self._milestones = milestones
        self._code = ImageCode(image.data)
        self._blocks_at: dict[Milestone, int] = {}
        self._kernel: int | None = None
        """Blocks that had run when the kernel proper began."""
        self._before = 0
        """Blocks that had run when the image began."""

    def start(self, names: AddressNames) -> None:
        """The image has not run yet."""
        # The block that was met is in the log already: it is the image's first.
        self._before = max(0, self._machine.engine.state.log_used - 1)

        def learn(pc: int, code: bytes) -> None:
            if names.shim_function(pc) is None:
                self._code.learn(pc, code)

        if not self._unpacked:
            self._machine.watches.on_block(self._code.learn if names.guest_shim is None else learn)

        def note(point: MilestonePoint) -> None:
            self._blocks_at[point.name] = self._machine.engine.state.log_used

        self._milestones.on_point(note)
        self._milestones.at(Moment.KERNEL, self._kernel_begins)

    def _kernel_begins(self) -> None:
        self._kernel = self._machine.engine.state.log_used
        self._machine.watches.on_block(None)

    def coverage(self, calls: Sequence[LoggedCall], names: AddressNames) -> Coverage:
        """What ran, when the run is over."""
        linux = self._image.parts.bzimage
        layout = CodeLayout(
            setup_end=linux.setup_size if linux is not None else 0,
            stub_start=self._stub_start(calls),
            # The block that was met is in the log already: it is the first of the kernel proper.
            at_kernel=0 if self._unpacked else None if self._kernel is None else self._kernel - 1,
            at_userspace=self._blocks_at.get(Milestone.USERSPACE),
            at_entry=0 if names.guest_shim is not None else self._before,
        )
        native = self._machine.engine.native
        notes = Notes(*native.origins(), native.resumed)
        return coverage(native.blocks(), native.times_entered(), layout, names, self._code, notes)

    def _stub_start(self, calls: Sequence[LoggedCall]) -> int | None:
        """The lowest place in the file that is the EFI entry or called firmware before the kernel proper ran."""
        pe = self._image.parts.pe
        boot = (call.caller for call in calls if call.service.startswith("BootServices."))
        found = [offset for offset in (self._code.offset(caller) for caller in boot) if offset is not None]
        if not found or pe is None:
            return None
        return min([*found, pe.entry_rva])
