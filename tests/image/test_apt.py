"""Apt: what is asked, how answers are read, and what happens when it cannot answer. The programs are stand-ins."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from efishim.errors import ImageError
from efishim.image.apt import Apt, Package
from efishim.image.deb import no_progress

STANZA = """\
Package: linux-image-cloud-amd64
Source: linux-signed-amd64 (6.1.192+2)
Version: 6.1.192-2
Architecture: amd64
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), kmod | other, initramfs-tools (>= 0.120)
Pre-Depends: dpkg:any
Description: Linux for x86-64 cloud
 Version: this line continues the description
Size: 1504
SHA256: 00be21

Package: linux-image-cloud-amd64
Version: 6.1.176-1
"""


def program(directory: Path, name: str, body: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def apt_at(directory: Path) -> Apt:
    return Apt({"PATH": f"{directory}:{os.environ['PATH']}"})


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    path = tmp_path / "bin"
    path.mkdir()
    (path / "stanza").write_text(STANZA)
    program(path, "apt-cache", f'printf "%s\\n" "$@" > {path}/args; env > {path}/env; cat {path}/stanza')
    return path


def test_a_package_is_described(programs: Path) -> None:
    package = apt_at(programs).show("linux-image-cloud-amd64")
    assert package == Package(
        name="linux-image-cloud-amd64",
        version="6.1.192-2",
        architecture="amd64",
        source="linux-signed-amd64",
        depends=("dpkg", "linux-image-6.1.0-56-cloud-amd64", "kmod", "initramfs-tools"),
        size=1504,
        sha256="00be21",
    )
    assert (programs / "args").read_text().split() == ["show", "--no-all-versions", "linux-image-cloud-amd64"]
    assert "LC_ALL=C\n" in (programs / "env").read_text()


def test_a_version_is_asked_for(programs: Path) -> None:
    apt_at(programs).show("linux-image-cloud-amd64", "6.1.192-2")
    assert (programs / "args").read_text().split()[-1] == "linux-image-cloud-amd64=6.1.192-2"


@pytest.mark.parametrize("answer", ["", "Package: other\nVersion: 1\n", "Package: nothing\n", "\xff garbage"])
def test_an_unknown_package_has_a_hint(programs: Path, answer: str) -> None:
    (programs / "stanza").write_text(answer)
    with pytest.raises(ImageError, match="apt knows no package nothing") as caught:
        apt_at(programs).show("nothing")
    assert "apt-get update" in caught.value.hint


def test_a_system_without_apt(tmp_path: Path) -> None:
    apt = Apt({"PATH": str(tmp_path)})
    for attempt in (lambda: apt.show("linux"), lambda: apt.search("linux.*")):
        with pytest.raises(ImageError, match="apt-cache is not installed") as caught:
            attempt()
        assert "path of a kernel" in caught.value.hint


def test_names_are_searched_by_pattern(programs: Path) -> None:
    (programs / "stanza").write_text("linux-image-6.12.9\nlinux-image-6.1.0\nlinux-doc\n")
    assert apt_at(programs).search(r"linux-image-6\..*") == ("linux-image-6.1.0", "linux-image-6.12.9")


def described(content: bytes) -> Package:
    return Package("linux", "1:2.0", "amd64", "linux", (), len(content), hashlib.sha256(content).hexdigest())


def test_a_download_arrives(programs: Path, tmp_path: Path) -> None:
    program(programs, "apt-get", f'printf "%s\\n" "$@" > {programs}/args; printf content > linux_1%3a2.0_amd64.deb; sleep 0.5')
    where = tmp_path / "here"
    where.mkdir()
    seen: list[tuple[str, int, int]] = []
    path = apt_at(programs).download(described(b"content"), where, lambda *step: seen.append(step))
    assert path.read_bytes() == b"content"
    assert (programs / "args").read_text().split()[-3:] == ["download", "-q", "linux=1:2.0"]
    assert seen[-1] == ("downloading linux 1:2.0", 7, 7)
    assert ("downloading linux 1:2.0", 7, 7) in seen[:-1], "no progress while apt-get ran"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'W: odd' >&2; echo 'E: Failed to fetch it' >&2; exit 100", "Failed to fetch it"),
        ("exit 0", "it gave no reason"),
        ("printf other > a.deb", "SHA-256"),
        ("printf content > a.deb; printf content > b.deb", "did not deliver"),
    ],
)
def test_failed_downloads_are_named(programs: Path, tmp_path: Path, body: str, reason: str) -> None:
    program(programs, "apt-get", body)
    where = tmp_path / "here"
    where.mkdir()
    apt, package = apt_at(programs), described(b"content")
    with pytest.raises(ImageError, match=reason):
        apt.download(package, where, no_progress)


def test_an_interrupted_download_leaves_no_process(programs: Path, tmp_path: Path) -> None:
    program(programs, "apt-get", f"echo $$ > {programs}/pid; exec sleep 60")
    where = tmp_path / "here"
    where.mkdir()

    def interrupt(*_: object) -> None:
        if (programs / "pid").exists() and (programs / "pid").read_text().endswith("\n"):
            raise KeyboardInterrupt

    apt, package = apt_at(programs), described(b"content")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        apt.download(package, where, interrupt)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((programs / "pid").read_text()), 0)
