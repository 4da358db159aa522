"""GRUB as an EFI application, of both widths: a large program that nobody wrote for this firmware."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.shim import Shim, ShimConfig
from efishim.machine.machine import Machine
from efishim.platform.definition import PlatformOptions
from efishim.platform.machines.pc import PC
from tests.support.protocols import add_shipped

IMAGES = {
    Architecture.IA32: ("grub-efi-ia32-bin/usr/lib/grub/i386-efi/monolithic/grubia32.efi", "i386"),
    Architecture.X64: ("grub-efi-amd64-bin/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi", "x86_64"),
}
TYPED = "echo $grub_cpu-$grub_platform\nlsefisystab\nhalt\n"
CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def prompted(image: bytes, architecture: Architecture) -> tuple[str, Shim, list[str]]:
    """Type at GRUB's prompt until it switches the machine off."""
    machine = Machine()
    facts = PC.build(machine, PlatformOptions(256 << 20, 1_460_000_000))
    machine.power_on()
    text: list[str] = []
    memory = tuple((r.start, r.size, r.kind.value) for r in facts.memory_map)
    config = ShimConfig(memory=memory, rsdp=facts.rsdp or 0, architecture=architecture, keys=TYPED)
    shim = Shim(machine, config, text.append, add_shipped)
    machine.on_fetch_fault = shim.on_fetch_fault
    shim.boot(image)
    stop = machine.run(max_insns=500_000_000)
    return stop.reason, shim, CONTROL.sub("", "".join(text)).splitlines()


@pytest.mark.kernel
@pytest.mark.parametrize("architecture", Architecture)
def test_grub_reaches_its_prompt(architecture: Architecture, debian_kernel: Callable[[str], Path]) -> None:
    package, processor = IMAGES[architecture]
    reason, shim, lines = prompted(debian_kernel(package).read_bytes(), architecture)
    assert reason == "shutdown"
    assert f"{processor}-efi" in lines
    assert any(line.startswith("Address: ") and int(line.split()[1], 16) == shim.tables.system for line in lines)
    assert "Vendor: efishim, Version=10000" in lines
    assert sum(line.lstrip().startswith("0x") for line in lines) == len(shim.tables.entries)


@pytest.mark.kernel
def test_both_make_the_same_calls(debian_kernel: Callable[[str], Path]) -> None:
    """The same program asks the same of either firmware, and gets the same answers; it prints other words."""
    asked = []
    for architecture, (package, _) in IMAGES.items():
        _, shim, _ = prompted(debian_kernel(package).read_bytes(), architecture)
        asked.append(Counter((call.service, call.status) for call in shim.calls if not call.service.endswith("OutputString")))
    assert asked[0] == asked[1]
    assert sum(asked[0].values()) > 50
