"""Debian packages: what comes out, what must not, and damaged ones."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

import pytest

from efishim.errors import ImageError
from efishim.image import archive
from efishim.image.archive import extract
from tests.support.images import ar_member, build_deb

FILES = {
    "./boot/System.map-6.1": b"map",
    "./boot/config-6.1": b"config",
    "./boot/vmlinuz-6.1": b"kernel" * 1000,
    "./lib/modules/a.ko": b"module",
    "./usr/share/doc/copyright": b"text",
}


def package(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "package.deb"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz", ".bz2", ".zst"])
def test_files_come_out_by_pattern(tmp_path: Path, suffix: str) -> None:
    deb = package(tmp_path, build_deb(FILES, suffix=suffix))
    out = tmp_path / "out"
    assert extract(deb, ["boot/vmlinuz*"], out, companions=["boot/System.map*"]) == (
        "boot/System.map-6.1",
        "boot/vmlinuz-6.1",
    )
    assert (out / "boot/vmlinuz-6.1").read_bytes() == b"kernel" * 1000
    assert not (out / "boot/config-6.1").exists()


def test_reading_ends_behind_the_last_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's modules are nine tenths of its package: what follows boot/ is not even unpacked."""
    files = {**FILES, "./lib/modules/a.ko": bytes(8 << 20)}
    deb = package(tmp_path, build_deb(files))
    monkeypatch.setattr(archive, "MAX_UNPACKED", 4 << 20)
    assert extract(deb, ["boot/vmlinuz*", "usr/lib/*"], tmp_path / "out") == ("boot/vmlinuz-6.1",)
    with pytest.raises(ImageError, match="more than efishim reads"):
        extract(deb, ["usr/lib/*"], tmp_path / "other")


def test_several_places(tmp_path: Path) -> None:
    deb = package(tmp_path, build_deb(FILES))
    assert extract(deb, ["usr/share/*"], tmp_path / "a") == ("usr/share/doc/copyright",)
    assert extract(deb, ["*.ko"], tmp_path / "b") == ("lib/modules/a.ko",)
    assert extract(deb, ["nothing*"], tmp_path / "c") == ()


@pytest.mark.parametrize("name", ["../../outside", "boot/../../outside", "/etc/outside", "./boot/.././../outside"])
def test_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    deb = package(tmp_path, build_deb({name: b"evil"}))
    with pytest.raises(ImageError, match="unsafe name"):
        extract(deb, ["*"], tmp_path / "in" / "out")
    assert list(tmp_path.rglob("outside")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_only_regular_files_come_out(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("./boot/vmlinuz-link")
    member.type, member.linkname = kind, "/etc/passwd"
    deb = package(tmp_path, build_deb({}, extra=[member]))
    assert extract(deb, ["boot/*"], tmp_path / "out") == ()


def test_a_file_twice_is_refused_rather_than_overwritten(tmp_path: Path) -> None:
    deb = package(tmp_path, build_deb({"./boot/vmlinuz": b"one", "boot/vmlinuz": b"two"}))
    with pytest.raises(ImageError, match="vmlinuz twice"):
        extract(deb, ["boot/*"], tmp_path / "out")


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = package(tmp_path, build_deb({"./boot/vmlinuz": bytes(4 << 20)}))
    monkeypatch.setattr(archive, "MAX_FILE", 1 << 20)
    with pytest.raises(ImageError, match="has 4194304 bytes"):
        extract(deb, ["boot/*"], tmp_path / "a")
    monkeypatch.setattr(archive, "MAX_FILE", 1 << 30)
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(ImageError, match="more than efishim reads"):
        extract(deb, ["boot/*"], tmp_path / "b")


WHOLE = build_deb(FILES)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an ar archive"),
        (b"PK\3\4 a zip archive", "not an ar archive"),
        (b"!<arch>\n", "no data.tar"),
        (b"!<arch>\n" + ar_member(b"debian-binary", b"2.0\n"), "no data.tar"),
        (b"!<arch>\n" + ar_member(b"data.tar.xz", b"not xz at all"), "damaged"),
        (b"!<arch>\n" + ar_member(b"data.tar.rar", b""), "a way that dpkg does not use"),
        (b"!<arch>\n" + ar_member(b"data.tar", b"short"), "damaged"),
        (b"!<arch>\n" + ar_member(b"x", b"").replace(b"0         `", b"-5        `"), "no data.tar"),
        (WHOLE[:300], "damaged"),
        (build_deb(FILES, suffix=".zst").replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"), "damaged"),
        (build_deb(FILES, suffix=".gz")[:-40], "damaged"),
    ],
)
def test_damaged_packages_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        extract(package(tmp_path, content), ["boot/*"], tmp_path / "out")


def test_a_huge_member_size_costs_nothing(tmp_path: Path) -> None:
    member = tarfile.TarInfo("./boot/vmlinuz").tobuf(tarfile.GNU_FORMAT)
    size = b"\x80" + bytes(3) + struct.pack(">Q", 1 << 62)
    header = bytearray(member[:124] + size + member[136:])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    deb = package(tmp_path, b"!<arch>\n" + ar_member(b"data.tar", bytes(header) + bytes(1024)))
    with pytest.raises(ImageError, match="bytes"):
        extract(deb, ["boot/*"], tmp_path / "out")
