"""What is fuzzed: each parser of bytes that come from elsewhere. Only typed errors of one sentence may come out of it."""

from __future__ import annotations

import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import zstandard
from lz4 import block as lz4_block

from efishim.compare.baseline import parse, text
from efishim.compare.rules import parse_rules
from efishim.disk.fat import MOST_VOLUMES, FatVolume
from efishim.disk.medium import DiskError, Medium
from efishim.disk.partitions import read_partitions
from efishim.dump.entry import entry_of
from efishim.dump.found import image_in
from efishim.dump.opened import open_dump
from efishim.errors import EfishimError
from efishim.firmware.profile_files import read_profile, shipped
from efishim.image.archive import extract
from efishim.image.payload import unpack_pieces
from efishim.lab.abi.of_dump import check_dump
from efishim.lab.plan.faults import parse_fault
from efishim.lab.record import decode, encode, without_wall_clock
from efishim.surface import fault_model, model
from efishim.wire.disk import BLOCK, GPT_ESP, GptEntry, GptHeader
from efishim.wire.fat import DIRECTORY
from efishim.wire.guids import guid_bytes
from tests.disk.test_fat import entry, small
from tests.disk.test_partitions import gpt, mbr
from tests.fuzz.fuzz_image import one_sentence, open_everything
from tests.fuzz.mutations import MOST
from tests.image.test_hostile import SEEDS as IMAGES
from tests.records import a_record
from tests.support.cores import Core, Stopped, described
from tests.support.images import build_deb

Seeds = Mapping[str, bytes]
CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """`work` takes an input; what it says is `""`, or what came of it. `seeds` are inputs that are well."""

    work: Callable[[bytes], str]
    seeds: Callable[[], Seeds]


def _only_sentences(work: Callable[[bytes], object]) -> Callable[[bytes], str]:
    def checked(data: bytes) -> str:
        try:
            work(data)
        except EfishimError as error:
            return one_sentence(error)
        return ""

    return checked


# -- images, and what they are packed in ------------------------------------------------------------------------

PLAIN = b"a payload " * 400


def _payloads() -> Seeds:
    """With the unpacked size behind them, as the kernel's Makefile appends it."""
    block = lz4_block.compress(PLAIN, store_size=False)  # type: ignore[attr-defined]
    packed = {
        "gzip": gzip.compress(PLAIN, mtime=0),
        "xz": lzma.compress(PLAIN, lzma.FORMAT_XZ),
        "lzma": lzma.compress(PLAIN, lzma.FORMAT_ALONE),
        "zstd": zstandard.ZstdCompressor().compress(PLAIN),
        "lz4": b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block,
    }
    return {name: data if name == "gzip" else data + len(PLAIN).to_bytes(4, "little") for name, data in packed.items()}


def _unpack(data: bytes) -> None:
    for _ in unpack_pieces(data):
        pass


def _debs() -> Seeds:
    files = {"./boot/vmlinuz-6.1": PLAIN, "./boot/System.map-6.1": b"ffffffff81000000 T _text\n", "./usr/share/doc/x": b"x"}
    return {suffix or "plain": build_deb(files, suffix=suffix) for suffix in (".xz", ".gz", ".zst", "")}


def _extract(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fuzz.deb"
        package.write_bytes(data)
        extract(package, ["boot/vmlinuz*"], Path(folder) / "out", companions=["boot/System.map*"])
        outside = [one for one in Path(folder).iterdir() if one.name not in ("fuzz.deb", "out")]
        assert not outside, outside


# -- dumps ------------------------------------------------------------------------------------------------------

RANGES = ((0, 0x8000), (0x10_0000, 0x8000))


def _stopped() -> Stopped:
    names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "eflags")
    registers = dict.fromkeys((*names, *(f"cr{n}" for n in range(9)), "efer"), 0) | {"rip": 0x10_0000, "rbx": 0x1000, "cr0": 1}
    for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr"):
        registers |= {name: 8, f"{name}.base": 0, f"{name}.limit": 0xFFFF_FFFF, f"{name}.flags": 0xC09B00}
    registers |= {f"{name}.{part}": 0x2000 for name in ("gdtr", "idtr") for part in ("base", "limit")}
    start_info = (0x336EC578).to_bytes(4, "little") + bytes(52)
    return Stopped(registers, {0x1000: start_info, 0x10_0000: IMAGES["multiboot"][:0x2000]}, RANGES)


def _cores() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        plain = Core(_stopped()).write(Path(folder) / "core").read_bytes()
        narrow = Core(_stopped(), wide=False).write(Path(folder) / "narrow").read_bytes()
    return {
        "64": plain,
        "32": narrow,
        "zstd": zstandard.ZstdCompressor().compress(plain),
        "gzip": gzip.compress(plain, mtime=0),
    }


def _describing() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        return {"toml": described(_stopped(), Path(folder)).read_bytes()}


def _open(path: Path) -> None:
    dump = open_dump(path)
    entry = entry_of(dump)
    check_dump(dump, entry)
    image_in(dump, entry)


def _open_core(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core"
        path.write_bytes(data)
        _open(path)


def _open_described(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = described(_stopped(), Path(folder))
        path.write_bytes(data)
        _open(path)


# -- disks ------------------------------------------------------------------------------------------------------

MOST_OPENED = 64
"""Files of a volume that are read, in the order in which they are found."""


def _disks() -> Seeds:
    """A volume alone, and one as a partition. FAT12: a change of a FAT32 volume would mostly fall into empty clusters."""
    root = entry(b"DIR        ", 2, 0, DIRECTORY) + entry(b"FILE       ", 3, 1000)
    fat12 = small(
        12, fat={0: 0xFF8, 1: 0xFFF, 2: 0xFFF, 3: 4, 4: 0xFFF}, root=root, data=entry(b"IN         ", 4, 9).ljust(512, b"\0")
    )
    blocks = len(fat12) // BLOCK
    guid = guid_bytes(GPT_ESP)
    wide = [
        GptEntry(type_guid=guid, unique_guid=b"u" * 16, starting_lba=40, ending_lba=59),
        GptEntry(type_guid=guid, starting_lba=60, ending_lba=61),
    ]
    by_mbr = mbr((0xEF, 1, blocks), (0x83, blocks + 1, 1)) + fat12 + bytes(BLOCK)
    assert read_partitions(Medium(by_mbr)).partitions
    return {"fat12": fat12, "gpt": bytes(gpt(wide)), "mbr": by_mbr}


def _walk(data: bytes) -> None:
    """As the firmware does: partitions, volumes, directories, files."""
    for one in (data, _with_sums(data)):
        _walk_one(Medium(one))


def _with_sums(data: bytes) -> bytes:
    """With the sums of the primary GPT as they have to be, or else hardly a mutation would get past them."""
    disk = bytearray(data)
    if len(disk) >= 2 * BLOCK:
        header = GptHeader.parse(bytes(disk[BLOCK : 2 * BLOCK]))
        at, size = header.partition_entry_lba * BLOCK, header.number_of_entries * header.size_of_entry
        header.entries_crc32, header.header_crc32 = zlib.crc32(disk[at : at + min(size, MOST)]), 0
        summed = bytearray(disk[BLOCK : 2 * BLOCK])
        summed[: GptHeader.SIZE] = header.build()[: GptHeader.SIZE]
        header.header_crc32 = zlib.crc32(summed[: header.header_size])
        disk[BLOCK : BLOCK + GptHeader.SIZE] = header.build()[: GptHeader.SIZE]
    return bytes(disk)


def _walk_one(medium: Medium) -> None:
    table = read_partitions(medium)
    places = [(one.start, one.blocks) for one in table.partitions] or [(0, medium.blocks)]
    for start, blocks in places[:MOST_VOLUMES]:
        assert medium.holds(start * BLOCK, blocks * BLOCK), (start, blocks)
        with suppress(DiskError):
            _open_files(FatVolume(medium, start, blocks))


def _open_files(volume: FatVolume) -> None:
    _ = volume.label
    volume.find("\\dir\\in")
    todo = [volume.root]
    for _ in range(MOST_OPENED):
        if not todo:
            return
        file = todo.pop(0)
        with suppress(DiskError):
            if file.directory:
                todo += volume.files(file)
            else:
                volume.head(file, BLOCK)
                assert len(volume.read(file)) == file.size


# -- documents --------------------------------------------------------------------------------------------------


def _record(data: bytes) -> None:
    record = decode(data)
    assert decode(encode(record)) == without_wall_clock(record)
    parse(text(record))


def _documents() -> Seeds:
    return {"record": encode(a_record()), "empty": b"{}"}


def _searches(data: bytes) -> None:
    for read in (model.decode, fault_model.decode):
        try:
            read(data)
        except msgspec.DecodeError:
            continue


RULES = b"""
["a place"]
class = "placement"
paths = ["kernel.physical_base@", "boot_params.hdr.*"]
present = true
accepts = ["kernel-place"]
differs = ["platform"]
reason = "because"
source = "boot.rst"
counter = [{path = "kernel.physical_base@", left = "0x1200000", right = "0x0"}]
"""


@cache
def targets() -> Mapping[str, Target]:
    """By name."""
    return {
        "image": Target(open_everything, lambda: IMAGES),
        "payload": Target(_only_sentences(_unpack), _payloads),
        "deb": Target(_only_sentences(_extract), _debs),
        "core": Target(_only_sentences(_open_core), _cores),
        "dump": Target(_only_sentences(_open_described), _describing),
        "disk": Target(_only_sentences(_walk), _disks),
        "record": Target(_only_sentences(_record), _documents),
        "profile": Target(_only_sentences(read_profile), shipped),
        "rules": Target(
            _only_sentences(lambda data: parse_rules(data.decode("utf-8", "replace"), "fuzz")), lambda: {"rule": RULES}
        ),
        "baseline": Target(
            _only_sentences(lambda data: parse(data.decode("utf-8", "replace"))), lambda: {"record": text(a_record()).encode()}
        ),
        "fault": Target(
            _only_sentences(lambda data: parse_fault(data.decode("utf-8", "replace"))),
            lambda: {
                "efi": b"BootServices.AllocatePages:3+=EFI_NOT_FOUND",
                "xen": b"memory_op.9=EINVAL",
                "bios": b"int 15h/E820=86",
            },
        ),
        "search": Target(_only_sentences(_searches), lambda: {"empty": b"{}"}),
    }


def seeds_of(name: str) -> list[bytes]:
    """Inputs that are well, and those of the corpus, in a fixed order."""
    kept = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    whole = targets()[name].seeds()
    return [*(whole[key] for key in sorted(whole)), *(one.read_bytes() for one in kept)]
