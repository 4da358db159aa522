"""Loads a PE image: allocation, zero fill, sections, relocations, protection (UEFI 2.10, 7.4.1)."""

from __future__ import annotations

from efishim.errors import ImageError
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.memory.memory_map import AllocateType, MemoryMap, MemoryType
from efishim.firmware.memory.paging import PageTables
from efishim.image.pe import PeLayout, PePiece
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE


def code_of(layout: PeLayout) -> list[PePiece]:
    """The sections that ProtectUefiImage() keeps apart from data, what may be executed and not written; none when it leaves
    the image as it is, because its sections share pages. So it is in EDK II until edk2-stable202402; later ones go by
    EFI_IMAGE_SCN_CNT_CODE.
    """
    if layout.section_alignment % PAGE or not layout.section_alignment:
        return []
    return [piece for piece in layout.pieces if "x" in piece.protection and "w" not in piece.protection]


class Loader:
    """Takes pages from the memory map for images, and gives them back."""

    def __init__(self, board: Board, memory_map: MemoryMap, pages: PageTables) -> None:
        self._board = board
        self._map = memory_map
        self._pages = pages

    def place(self, layout: PeLayout, code: MemoryType, *, nx_compat: bool = True) -> tuple[int, int]:
        """Memory for the image, filled and relocated: (base, pages). `nx_compat` says that it does without memory that is both
        writable and executable.
        """
        align = max(layout.section_alignment, PAGE)
        demand(align & (align - 1) == 0, Status.LOAD_ERROR)
        pages = -(-layout.size_of_image // PAGE)
        if not layout.relocatable:
            try:
                base = self._map.allocate(AllocateType.ADDRESS, code, pages, layout.preferred_base)
            except EfiError as error:
                raise EfiError(Status.LOAD_ERROR) from error
        else:
            slack = (align - PAGE) // PAGE
            raw = self._map.allocate(AllocateType.ANY_PAGES, code, pages + slack)
            base = -(-raw // align) * align
            before = (base - raw) // PAGE
            if before:
                self._map.free(raw, before)
            if slack - before:
                self._map.free(base + pages * PAGE, slack - before)
        try:
            self._fill(layout, base, pages)
            if self._pages.strict:
                self._protect(code_of(layout) if nx_compat else [], base, pages)
        except ImageError as error:
            self._map.free(base, pages)
            raise EfiError(Status.LOAD_ERROR) from error
        return base, pages

    def _fill(self, layout: PeLayout, base: int, pages: int) -> None:
        """Headers and sections, zeroes everywhere else, then relocations."""
        memory = self._board.memory
        changes = layout.relocate(base)
        memory.fill(base, pages * PAGE)
        for piece in layout.pieces:
            memory.write(base + piece.rva, piece.data)
            if len(piece.data) < piece.size and layout.pieces[-1] is not piece:
                memory.fill(base + piece.rva + len(piece.data), piece.size - len(piece.data))
        for rva, content in changes:
            memory.write(base + rva, content)
        self._board.flush_code(base, pages * PAGE)

    def _protect(self, code: list[PePiece], base: int, pages: int) -> None:
        """All but the code is data. An image without any is left as it was allocated."""
        if not code:
            self._pages.open(base, base + pages * PAGE)
            return
        self._pages.forbid_execution(base, base + pages * PAGE)
        for piece in code:
            self._pages.allow_execution(base + piece.rva, base + piece.end)

    def remove(self, base: int, pages: int) -> None:
        """Free an image's memory, unless the image did so itself."""
        try:
            self._map.free(base, pages)
        except EfiError:
            return
        if self._pages.strict:
            self._pages.forbid_execution(base, base + pages * PAGE)

    def relocate(self, layout: PeLayout, base: int, virtual: int) -> None:
        """Fix up a loaded image for another address, without moving it."""
        moved = dict(layout.relocate(virtual))
        for rva, before in layout.relocate(base):
            # A place that the driver changed since it was loaded holds no address of the image any more.
            if self._board.memory.read(base + rva, len(before)) == before:
                self._board.memory.write(base + rva, moved.get(rva, before))
        self._board.flush_code(base, layout.size_of_image)
