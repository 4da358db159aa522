"""Devices and KVM's hypercalls that fail on purpose, as a guest program sees it."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.lab.plan.faults import parse_fault
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Record
from efishim.lab.run import run_plan
from tests.hostile.programs import MEMORY, REGISTRY, image_of

# Bit 0 of CMOS register 0x0d, which only says that the battery is good, as a digit on the serial port; three times.
CMOS = bytes.fromhex("b903000000b00de670e4712401043066baf803eee2ef31c0c3")
# VMCALL with the number 1 (KVM_HC_VAPIC_POLL_IRQ), and the low byte of the answer plus 0x41.
VMCALL = bytes.fromhex("b8010000000f01c1044166baf803ee31c0c3")


def run(code: bytes, *fail: str, platform: str = "kvm") -> Record:
    plan = Plan(
        image=Blob.embedded("program", image_of(code)),
        provider="firmware",
        entry="efi",
        platform=platform,
        memory=MEMORY,
        cmdline=b"",
        fail=tuple(parse_fault(one).text for one in fail),
        observers=False,
    )
    return run_plan(plan, registry=REGISTRY)


def test_a_device_that_does_not_answer() -> None:
    assert run(CMOS).console.endswith("000")
    # Each turn has two accesses: the index and the data.
    once = run(CMOS, "device CMOS:4=NO_ANSWER")
    assert once.console.endswith("010")
    assert once.notes[-1] == "--fail device CMOS:4=NO_ANSWER: access 4 of 6 failed on purpose"
    assert run(CMOS, "device CMOS:4+=NO_ANSWER").console.endswith("011")
    assert run(CMOS, "device PIT:1+=NO_ANSWER").console.endswith("000")


def test_a_write_that_is_lost() -> None:
    """The index stays 0: the register is that of the seconds, which are odd at some time, so only the count is looked at."""
    lost = run(CMOS, "device CMOS:1+=NO_ANSWER")
    assert lost.console.endswith("111")
    assert lost.notes[-1] == "--fail device CMOS:1+=NO_ANSWER: 6 of 6 accesses failed on purpose"


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no device 'nose'") as refused:
        run(CMOS, "device nose=NO_ANSWER")
    assert "CMOS" in refused.value.hint
    with pytest.raises(UsageError, match="no device 'CMOS'"):
        run(CMOS, "device CMOS=NO_ANSWER", platform="hvmlite")
    with pytest.raises(UsageError, match="fails with NO_ANSWER"):
        run(CMOS, "device CMOS=ENOSYS")


def test_hypercalls_of_kvm() -> None:
    assert run(VMCALL).console.endswith("A")
    failed = run(VMCALL, "vapic_poll_irq=EPERM")
    assert failed.console.endswith("@"), "-1"
    assert failed.notes[-1] == "--fail vapic_poll_irq:1=EPERM: call 1 of 1 failed on purpose"
    assert run(VMCALL, "send_ipi=EPERM").console.endswith("A")
    with pytest.raises(UsageError, match="is not an error of KVM"):
        run(VMCALL, "send_ipi=ENOENT")
