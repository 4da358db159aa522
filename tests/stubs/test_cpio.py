"""The archive writer against a reader made from the kernel's buffer-format.rst."""

from __future__ import annotations

import stat

import pytest
from efishim_firmware_stubs import kexec_initrd, load, reporting_init, reporting_initrd
from efishim_firmware_stubs.cpio import Entry, archive

FIELDS = ["ino", "mode", "uid", "gid", "nlink", "mtime", "filesize"]
FIELDS += ["maj", "min", "rmaj", "rmin", "namesize", "chksum"]


def read(data: bytes) -> list[tuple[str, dict[str, int], bytes]]:
    """Members up to the trailer, which must be the end."""
    members: list[tuple[str, dict[str, int], bytes]] = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        header = {name: int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i, name in enumerate(FIELDS)}
        name = data[at + 110 : at + 110 + header["namesize"]]
        assert name.endswith(b"\0")
        at += 110 + header["namesize"]
        at += -at % 4
        content = data[at : at + header["filesize"]]
        at += header["filesize"]
        at += -at % 4
        if name == b"TRAILER!!!\0":
            assert at == len(data)
            return members
        members.append((name[:-1].decode(), header, content))


def test_members_come_back() -> None:
    entries = [Entry.directory("d"), Entry.file("d/five", b"12345"), Entry.character_device("d/null", 1, 3, 0o666)]
    (d, five, null) = read(archive(entries))
    assert d[0] == "d"
    assert d[1]["mode"] == stat.S_IFDIR | 0o755
    assert (five[0], five[2]) == ("d/five", b"12345")
    assert five[1]["mode"] == stat.S_IFREG | 0o644
    assert (null[1]["mode"], null[1]["rmaj"], null[1]["rmin"]) == (stat.S_IFCHR | 0o666, 1, 3)
    assert len({member[1]["ino"] for member in (d, five, null)}) == 3


def test_archives_do_not_depend_on_when_or_where_they_were_made() -> None:
    assert reporting_initrd() == reporting_initrd()
    for _name, header, _content in read(reporting_initrd()):
        assert (header["mtime"], header["uid"], header["gid"], header["maj"], header["min"]) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("wide", [True, False])
def test_the_reporting_initrd_is_small_and_has_a_console(wide: bool) -> None:
    members = {name: (header, content) for name, header, content in read(reporting_initrd(wide))}
    assert members["init"][1] == reporting_init(wide)
    assert members["init"][1][:5] == b"\x7fELF" + bytes([2 if wide else 1])
    assert members["init"][0]["mode"] == stat.S_IFREG | 0o755
    console = members["dev/console"][0]
    assert (console["mode"] >> 12 << 12, console["rmaj"], console["rmin"]) == (stat.S_IFCHR, 5, 1)
    assert len(reporting_initrd(wide)) < 8192


def test_the_kexec_ramdisk_holds_what_the_other_kernel_gets() -> None:
    members = {name: content for name, _header, content in read(kexec_initrd(b"kernel", "a=b c", b"ramdisk"))}
    assert (members["kernel"], members["cmdline"], members["initrd"]) == (b"kernel", b"a=b c", b"ramdisk")
    assert members["init"] == load("kexec/kexec.elf")
    assert "initrd" not in {name for name, _header, _content in read(kexec_initrd(b"kernel", ""))}
