"""Symbols of a stock kernel from the kallsyms tables inside it, found by their structure.

The tables are what scripts/kallsyms.c of the Linux sources writes: names packed by a table of 256 tokens, one marker
for every 256 names, and 32-bit offsets for the addresses. Their order and the meaning of the offsets changed over time:

| kernels       | order in .rodata                                                            | address of symbol i         |
|---------------|-----------------------------------------------------------------------------|-----------------------------|
| 4.6 to 6.3    | offsets, relative_base, num_syms, names, markers, (seqs,) tokens, index     | by relative_base            |
| 6.4 to 6.19   | num_syms, names, markers, tokens, index, offsets, relative_base, seqs       | by relative_base            |
| 7.0 and later | num_syms, names, markers, tokens, index, offsets, seqs, all aligned to 4    | &offsets[i] + offsets[i]    |
| before 4.6    | addresses, num_syms, names, markers, tokens, index                          | 64-bit numbers              |
| Xen           | offsets, num_syms, names, markers, tokens, index, all aligned to 4          | by the image's link address |

`relative_base` schemes: an unsigned offset; or, for 64-bit SMP kernels up to 6.14 (CONFIG_KALLSYMS_ABSOLUTE_PERCPU), a
signed one whose values from 0 on are absolute (per-CPU offsets) and whose negative values mean base - 1 - offset. No
version number is looked at: the tokens have a shape that nothing else has, the rest is checked against it. Xen's tables come
from xen/tools/symbols.c, which began as a copy; static functions are named `file.c#function` there.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from efishim.errors import ImageError
from efishim.image.budget import Budget, Exhausted
from efishim.image.elf import Elf

TOKENS = 256
NAMES_PER_MARKER = 256
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
"""The tokens of the characters 0 to 9, which stand for themselves in every kernel."""
DIGIT_ZERO = ord("0")

MAX_TOKEN_TABLE = 64 << 10
MAX_NAMES_REGION = 16 << 20
"""Most bytes of packed names; a kernel of 200,000 symbols has 3 MiB of them."""
MAX_NAMES = 64 << 20
"""Most bytes of names when they are unpacked; that kernel has 6 MiB."""
MAX_SYMBOLS = 1 << 21
MAX_NAME_BYTES = 512
"""KSYM_NAME_LEN (include/linux/kallsyms.h): the longest name, so also the longest packed one."""
MIN_MARKERS = 4
"""Tables of fewer names (1024) are not taken for a kernel's."""

SEARCH_STEPS = 500_000
"""Work for the search before it is given up, about a second. The tables of Debian's kernels take 75,000."""
FIND_STEPS = 500_000
"""The same for looking up names in packed form."""

PERCPU_LIMIT = 1 << 24
"""Below it lie per-CPU offsets and no kernel."""

KINDS = "TtDdBbRrAaVvWwUuNnGgSsiI?"
SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Kallsyms:
    """Where the tables are, and how to read addresses. All positions are file offsets of the inner ELF."""

    data: bytes | bytearray
    tokens: tuple[bytes, ...]
    count: int
    names: int
    names_end: int
    markers: tuple[int, ...]
    """Position of every 256th name, relative to `names`."""
    scheme: str
    """`percpu`, `base`, `place` (relative to the entry itself), `absolute`, or `origin` (relative to the link address)."""
    offsets: int
    base: int
    """relative_base; for `place`, the virtual address of the offsets; for `origin`, the image's link address."""

    def address(self, index: int) -> int:
        """Address of one symbol."""
        if self.scheme == "absolute":
            return int.from_bytes(self.data[self.offsets + 8 * index : self.offsets + 8 * index + 8], "little")
        at = self.offsets + 4 * index
        return self._decode(index, int.from_bytes(self.data[at : at + 4], "little", signed=True))

    def _decode(self, index: int, value: int) -> int:
        match self.scheme:
            case "percpu":
                return value if value >= 0 else self.base - 1 - value
            case "place":
                return (self.base + 4 * index + value) % (1 << 64)
            case _:
                return self.base + value % (1 << 32)

    def addresses(self) -> list[int]:
        """Addresses of all symbols in the order of the table, which has a hundred thousand of them: arrays, no Layouts."""
        if self.scheme == "absolute":
            quads = array("Q")
            quads.frombytes(self.data[self.offsets : self.offsets + 8 * self.count])
            return quads.tolist()
        words = array("i")
        words.frombytes(self.data[self.offsets : self.offsets + 4 * self.count])
        base = self.base
        if self.scheme == "percpu":
            return [value if value >= 0 else base - 1 - value for value in words]
        if self.scheme == "place":
            return [base + 4 * index + value for index, value in enumerate(words)]
        return [base + (value & 0xFFFFFFFF) for value in words]

    def all_names(self) -> list[str]:
        """Every name behind its kind letter (`Tstart_kernel`), in the order of the table. Raises ImageError for damage.

        One pass over the packed bytes turns each into its token; then the length bytes become separators. Joining text
        is ten times quicker than joining bytes.
        """
        packed = bytes(self.data[self.names : self.names_end])
        tokens = [token.decode("ascii", "backslashreplace") for token in self.tokens]
        parts = list(map(tokens.__getitem__, packed))
        at = 0
        try:
            for _ in range(self.count):
                length = packed[at]
                parts[at] = "\n"
                at += 1
                if length & 0x80:
                    length = length & 0x7F | packed[at] << 7
                    parts[at] = ""
                    at += 1
                at += length
        except IndexError:
            raise ImageError("the kernel's kallsyms names are damaged: a name runs out of the table") from None
        return "".join(parts).split("\n")[1:]

    def find(self, names: Iterable[str]) -> dict[str, int]:
        """Addresses of a few symbols without unpacking the others; names that are not there are left out.

        The packing is deterministic, so each wanted name is packed in the same way and looked for in packed form.
        """
        region = bytes(self.data[self.names : self.names_end])
        pack = _packer(self.tokens)
        found: dict[str, int] = {}
        budget = Budget(FIND_STEPS)
        with suppress(Exhausted):
            for name in names:
                for kind in KINDS:
                    packed = pack(kind.encode() + name.encode())
                    index = self._index_of(region, packed, budget) if packed else None
                    if index is not None:
                        found[name] = self.address(index)
                        break
        return found

    def _index_of(self, region: bytes, packed: bytes, budget: Budget) -> int | None:
        needle = _length_bytes(len(packed)) + packed
        at = region.find(needle)
        while at >= 0:
            budget.spend(NAMES_PER_MARKER)
            index = self._index_at(region, at)
            if index is not None:
                return index
            at = region.find(needle, at + 1)
        return None

    def _index_at(self, region: bytes, position: int) -> int | None:
        """Index of the symbol whose name starts exactly at `position`, None when it is the middle of one."""
        low, high = 0, len(self.markers)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.markers[middle] <= position else (low, middle)
        at, index = self.markers[low], low * NAMES_PER_MARKER
        while at < position:
            at = _next_name(region, at)
            index += 1
        return index if at == position and index < self.count else None


def find_kallsyms(data: bytes | bytearray, elf: Elf, budget: Budget | None = None) -> Kallsyms | None:
    """The tables of a kernel's ELF file, or of the first part of it; None when they are not (yet) there. Who looks at more
    and more of one file gives the same `budget` each time.
    """
    budget = budget or Budget(SEARCH_STEPS)
    with suppress(Exhausted):
        at = data.find(DIGITS)
        while at >= 0:
            found = _tokens_around(data, at, budget)
            if found is not None:
                table = _tables_around(data, elf, budget, *found)
                if table is not None:
                    return table
            at = data.find(DIGITS, at + 1)
    return None


def _tokens_around(data: bytes | bytearray, zero_at: int, budget: Budget) -> tuple[int, int, tuple[bytes, ...]] | None:
    """(start of the token table, end of its index, tokens) when the digits at `zero_at` belong to a token table."""
    budget.spend(2 * TOKENS)
    tail = bytes(data[zero_at : zero_at + MAX_TOKEN_TABLE]).split(b"\0", TOKENS - DIGIT_ZERO)
    if len(tail) <= TOKENS - DIGIT_ZERO:
        return None
    tail.pop()
    relative = [0]
    for token in tail:
        relative.append(relative[-1] + len(token) + 1)
    end = zero_at + relative.pop()
    for index_at in range(-(-end // 4) * 4, end + 68, 4):
        raw = data[index_at : index_at + 2 * TOKENS]
        if len(raw) < 2 * TOKENS:
            return None
        budget.spend(TOKENS // 8)
        index = struct.unpack("<256H", raw)
        start = zero_at - index[DIGIT_ZERO]
        if index[0] or start < 0 or any(index[DIGIT_ZERO + i] - index[DIGIT_ZERO] != r for i, r in enumerate(relative)):
            continue
        if end - start > MAX_TOKEN_TABLE:
            continue
        budget.spend(2 * TOKENS)
        tokens = tuple(bytes(data[start:end]).split(b"\0"))[:-1]
        starts = [0]
        for token in tokens:
            starts.append(starts[-1] + len(token) + 1)
        if tuple(starts[:-1]) == index:
            return start, index_at + 2 * TOKENS, tokens
    return None


def _tables_around(
    data: bytes | bytearray, elf: Elf, budget: Budget, tokens_at: int, index_end: int, tokens: tuple[bytes, ...]
) -> Kallsyms | None:
    for markers_at, markers in _marker_tables(data, tokens_at, budget):
        for count_at, names_at, count, names_end in _names_before(data, markers_at, markers, budget):
            budget.spend(16 * SAMPLES)
            where = _address_table(data, elf, count_at, index_end, count)
            if where is not None and _unpacked_size(data, names_at, names_end, tokens, budget) <= MAX_NAMES:
                scheme, offsets, base = where
                return Kallsyms(data, tokens, count, names_at, names_end, markers, scheme, offsets, base)
    return None


def _unpacked_size(data: bytes | bytearray, start: int, end: int, tokens: tuple[bytes, ...], budget: Budget) -> int:
    """Bytes of all names, the length bytes taken for tokens too."""
    budget.spend((end - start) // 64)
    packed = bytes(data[start:end])
    lengths = [len(token) for token in tokens]
    size = sum(packed.translate(bytes(min(length, 0xFF) for length in lengths)))
    return size + sum(packed.count(code) * (length - 0xFF) for code, length in enumerate(lengths) if length > 0xFF)


def _marker_tables(data: bytes | bytearray, end: int, budget: Budget) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Candidates for the marker table before `end`, nearest first, by position.

    It starts with a zero and then grows by 256 packed names at a time. Entries have 4 bytes, 8 before 4.20.
    """
    floor = max(0, end - MAX_NAMES_REGION)
    at = data.rfind(b"\0\0\0\0", floor, end)
    while at >= 0:
        for width in (4, 8):
            start = at - at % width
            markers = _markers_at(data, start, end, width, budget)
            if len(markers) >= MIN_MARKERS:
                yield start, markers
        at = data.rfind(b"\0\0\0\0", floor, at + 3)


def _markers_at(data: bytes | bytearray, start: int, end: int, width: int, budget: Budget) -> tuple[int, ...]:
    smallest, largest = 2 * NAMES_PER_MARKER, NAMES_PER_MARKER * MAX_NAME_BYTES
    markers: list[int] = []
    for at in range(start, end - width + 1, width):
        budget.spend(1)
        value = int.from_bytes(data[at : at + width], "little")
        if (not markers and value) or (markers and not smallest <= value - markers[-1] <= largest):
            break
        markers.append(value)
    return tuple(markers)


def _names_before(
    data: bytes | bytearray, markers_at: int, markers: tuple[int, ...], budget: Budget
) -> Iterator[tuple[int, int, int, int]]:
    """(position of num_syms, position of the names, count, end of the names) that fit a marker table.

    The last marker is the offset of the last group of up to 256 names, so it bounds where the names start. Their count
    lies before them; the number of markers gives all but its low eight bits.
    """
    last = markers[-1]
    end = (markers_at - last) & ~3
    start = max(end - NAMES_PER_MARKER * MAX_NAME_BYTES, 0) & ~3
    words = array("I")
    words.frombytes(data[start : start + (max(end - start, 0) & ~3)])
    most = len(markers) * NAMES_PER_MARKER
    budget.spend(len(words))
    for index in range(len(words) - 1, -1, -1):
        count = words[index]
        if not most - NAMES_PER_MARKER < count <= most:
            continue
        count_at = start + 4 * index
        for names_at in (count_at + 8, count_at + 4):
            budget.spend(NAMES_PER_MARKER)
            if any(data[count_at + 4 : names_at]):
                continue
            if _walk(data, names_at, markers_at, NAMES_PER_MARKER) != names_at + markers[1]:
                continue
            names_end = _walk(data, names_at + last, markers_at, count - most + NAMES_PER_MARKER)
            if names_end is not None and markers_at - names_end < 8 and not any(data[names_end:markers_at]):
                yield count_at, names_at, count, names_end


def _walk(data: bytes | bytearray, at: int, end: int, names: int) -> int | None:
    """Position after so many packed names, None when they do not end before `end`."""
    for _ in range(names):
        if at >= end or not data[at]:
            return None
        at = _next_name(data, at)
    return at if at <= end else None


def _next_name(region: bytes | bytearray, at: int) -> int:
    length = region[at]
    if length & 0x80 and at + 1 < len(region):
        return at + 2 + (length & 0x7F | region[at + 1] << 7)
    return at + 1 + length


def _length_bytes(length: int) -> bytes:
    return bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])


def _address_table(data: bytes | bytearray, elf: Elf, count_at: int, index_end: int, count: int) -> tuple[str, int, int] | None:
    """(scheme, position, base) of the first reading under which the addresses ascend and lie in the kernel."""
    if not elf.segments or not 0 < count < MAX_SYMBOLS:
        return None
    word = 8 if elf.wide else 4
    size = _align(4 * count, word)
    after = _align(index_end, word)
    candidates: list[tuple[str, int, int | None]] = [
        ("base", count_at - word - size, count_at - word),
        ("base", after, after + size),
        ("place", _align(index_end, 4), None),
        ("absolute", count_at - 8 * count, None),
        ("origin", count_at - 4 * count, None),
    ]
    # The per-CPU segment of 64-bit kernels is linked at 0 and says nothing about where the kernel is.
    low = min((s.virtual for s in elf.segments if s.virtual > PERCPU_LIMIT or not elf.wide), default=0)
    high = max(s.virtual + s.memory_size for s in elf.segments)
    for kind, at, base_at in candidates:
        if at < 0:
            continue
        schemes = ("percpu", "base") if kind == "base" else (kind,)
        if base_at is not None:
            base = int.from_bytes(data[base_at : base_at + word], "little")
            if base == 0:
                base = low  # a position-independent link leaves the word to a relocation; _text is what it names
            if not low <= base < high:
                continue
        elif kind == "origin":
            base = elf.image_base
        else:
            base = elf.virtual_of_offset(at) or 0
        if at + (8 if kind == "absolute" else 4) * count > len(data):
            continue
        for scheme in schemes:
            table = Kallsyms(data, (), count, 0, 0, (), scheme, at, base)
            if _ascends(table.address, count, low, high):
                return scheme, at, base
    return None


def _ascends(address: Callable[[int], int], count: int, low: int, high: int) -> bool:
    """Do sampled addresses ascend, and end inside the kernel? Absolute ones (per-CPU) come first and are small."""
    picked = sorted({count * i // SAMPLES for i in range(SAMPLES)} | {count - 1})
    values = [address(index) for index in picked]
    return all(a <= b for a, b in pairwise(values)) and sum(low <= v <= high for v in values) > len(values) // 2


def _align(value: int, step: int) -> int:
    return -(-value // step) * step


def _packer(tokens: tuple[bytes, ...]) -> Callable[[bytes], bytes]:
    """A function that packs a name as scripts/kallsyms.c does: the token numbered highest was made first, and replaced
    a pair of what was there then, wherever it occurred.
    """
    single = {token: index for index, token in enumerate(tokens) if len(token) == 1}
    merges = [(index, tokens[index]) for index in range(TOKENS - 1, -1, -1) if len(tokens[index]) > 1]

    def pack(name: bytes) -> bytes:
        symbols = [(name[i : i + 1], single.get(name[i : i + 1], -1)) for i in range(len(name))]
        if any(code < 0 for _, code in symbols):
            return b""
        for code, token in merges:
            if token not in name:
                continue
            at = 0
            while at + 1 < len(symbols):
                if symbols[at][0] + symbols[at + 1][0] == token:
                    symbols[at : at + 2] = [(token, code)]
                at += 1
        return bytes(code for _, code in symbols)

    return pack
