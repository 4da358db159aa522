"""`--fail SERVICE[:N[+]]=STATUS`, read."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.firmware.calling.status import Status
from efishim.lab.plan.faults import FAULT_LIMIT, is_bios, is_efi, parse_fault, parse_faults


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("BootServices.AllocatePages=EFI_NOT_FOUND", "BootServices.AllocatePages:1=EFI_NOT_FOUND"),
        ("AllocatePages:3=OUT_OF_RESOURCES", "BootServices.AllocatePages:3=EFI_OUT_OF_RESOURCES"),
        ("LoadFile2.LoadFile:2+=EFI_NOT_READY", "LoadFile2.LoadFile:2+=EFI_NOT_READY"),
        ("memory:4+=OUT_OF_RESOURCES", "memory:4+=EFI_OUT_OF_RESOURCES"),
        ("int 15h/E820:2=86", "int 15h/E820:2=86"),
        ("int 13h/02=0a", "int 13h/02:1=0A"),
        ("memory_op.9=-EINVAL", "memory_op.9:1=EINVAL"),
        ("sched_op:2+=ENOSYS", "sched_op:2+=ENOSYS"),
        ("send_ipi=-EOPNOTSUPP", "send_ipi:1=EOPNOTSUPP"),
        ("device CMOS:4+=NO_ANSWER", "device CMOS:4+=NO_ANSWER"),
    ],
)
def test_what_is_read_is_read_back(text: str, read: str) -> None:
    fault = parse_fault(text)
    assert fault.text == read
    assert parse_fault(read) == fault


def test_the_number_of_a_status() -> None:
    assert parse_fault("GetMemoryMap=INVALID_PARAMETER").code == Status.INVALID_PARAMETER
    assert parse_fault("memory_op=ENOMEM").code == -12
    assert parse_fault("kick_cpu=ENOSYS").code == -1000
    assert parse_fault("int 15h/88=86").code == 0x86


@pytest.mark.parametrize(
    ("text", "sentence", "hint"),
    [
        ("AlocatePool=NOT_FOUND", "no service 'AlocatePool'", "did you mean AllocatePool"),
        ("BootServicse.AllocatePool=NOT_FOUND", "no service", "did you mean BootServices.AllocatePool"),
        ("memroy_op=EINVAL", "no service 'memroy_op'", "did you mean memory_op"),
        ("Zzz=NOT_FOUND", "no service 'Zzz'", "write it like"),
        ("AllocatePool=OUT_OF_RESOURCE", "'EFI_OUT_OF_RESOURCE' is not a status", "did you mean EFI_OUT_OF_RESOURCES"),
        ("memory_op=EINVALID", "'EINVALID' is not an error", "EINVAL"),
        ("RaiseTPL=NOT_FOUND", "BootServices.RaiseTPL returns no status", ""),
        ("Reset=DEVICE_ERROR", "function of several tables", "SimpleTextOutput.Reset"),
        ("AllocatePool:0=NOT_FOUND", "counted from 1", ""),
        ("int 15h/E820=NOT_FOUND", "two hexadecimal digits in AH", "86"),
        ("int 10h/0E=86", "no service", "write it like"),
        ("AllocatePool", "is not a fault", "--fail"),
        ("=NOT_FOUND", "is not a fault", "--fail"),
        ("AllocatePool=", "is not a fault", "--fail"),
        ("x" * 10_000 + "=NOT_FOUND", "no service", ""),
    ],
)
def test_what_is_refused(text: str, sentence: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_fault(text)
    assert sentence in raised.value.sentence
    assert hint in raised.value.hint
    assert len(raised.value.sentence) < 300


def test_functions_of_plugins_are_known_when_they_are_named() -> None:
    assert parse_fault("Mine.Do=NOT_FOUND", ["Mine.Do"]).service == "Mine.Do"
    with pytest.raises(UsageError, match="no service 'Mine\\.Do'"):
        parse_fault("Mine.Do=NOT_FOUND")


def test_faults_are_kept_in_their_order_and_once() -> None:
    texts = ["AllocatePool:2=NOT_FOUND", "AllocatePages=NOT_FOUND", "BootServices.AllocatePool:2=EFI_NOT_FOUND"]
    assert [fault.service for fault in parse_faults(texts)] == ["BootServices.AllocatePool", "BootServices.AllocatePages"]
    with pytest.raises(UsageError, match="more than the 64"):
        parse_faults([f"AllocatePool:{n}=NOT_FOUND" for n in range(1, FAULT_LIMIT + 2)])


def test_whose_services_they_are() -> None:
    assert [is_efi(name) for name in ("memory", "BootServices.Stall", "memory_op.9", "sched_op", "int 15h/E820")] == [
        *(True, True, False, False, False)
    ]
    assert is_bios("int 15h/E820")
    assert not is_bios("memory_op.9")
