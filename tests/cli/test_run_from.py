"""`efishim run --from DUMP`: what the dump decides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.cli import main
from efishim.lab.record import DumpUse, decode
from tests.support.cores import Core, stopped


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe kernel at the PVH entry, TR as QEMU leaves it; the kernel lies beside it."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "kernel").write_bytes(efishim_firmware_stubs.probe_kernel())
    return Core(stopped("hvmlite", "pvh").with_registers(tr_limit=0xFFFF)).write(folder / "core")


def test_it_boots_with_memory_and_platform_of_the_dump(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = core.with_name("record.json")
    words = ["run", str(core.with_name("kernel")), "--from", str(core), "--until", "entry", "--record", str(record)]
    assert main(words) == 0
    assert "pvh/tr: TR is an active 32-bit TSS with base 0 and limit 0x67" in capsys.readouterr().err
    found = decode(record.read_bytes(), name="record")
    assert (found.route.provider, found.route.entry, found.route.platform) == ("dump", "pvh", "pc-qemu")
    assert found.options.memory == 64 << 20
    assert isinstance(found.options.dump, DumpUse)
    assert main([*words, "--strict-abi", "-q", "-m", "96M", "--platform", "pc"]) == 1
    found = decode(record.read_bytes(), name="record")
    assert (found.route.platform, found.options.memory) == ("pc", 96 << 20)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["-p", "hvmlite"], 2, "-p has no meaning with --from"),
        (["-a", "x"], 2, "-a has no meaning with --from"),
        (["--shim", "host"], 2, "--shim has no meaning with --from"),
        (["--save-profile", "x"], 2, "--save-profile has no meaning with --from"),
        (["-m", "1"], 2, "a guest has between"),
        (["--option", "hvmlite.version=0"], 2, "there is no option"),
    ],
)
def test_what_has_no_meaning_is_refused(
    words: list[str], status: int, sentence: str, core: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(core.with_name("kernel")), "--from", str(core), *words]) == status
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_without_a_kernel_in_it_the_dump_asks_for_one(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--from", str(core)]) == 4
    assert "no kernel is found in the memory of" in " ".join(capsys.readouterr().err.split())
