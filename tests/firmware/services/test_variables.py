"""Variables (UEFI 2.10, 8.2): the services, and random histories of the store against a dictionary."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.firmware.calling.status import EfiError
from efishim.firmware.services.variables import VariableStore
from efishim.wire.guids import guid_text
from tests.firmware.lab import INVALID, NOT_FOUND, OUT_OF_RESOURCES, SUCCESS, TOO_SMALL, WRITE_PROTECTED, Lab

VENDOR = "aaaaaaaa-1111-2222-3333-444444444444"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
NV, BS, RT, APPEND = 1, 2, 4, 0x40


def put(lab: Lab, name: str, data: bytes, attributes: int = NV | BS | RT, vendor: str = VENDOR) -> int:
    return lab.rs("SetVariable", lab.text(name), lab.guid(vendor), attributes, len(data), lab.put(data))


def get(lab: Lab, name: str, vendor: str = VENDOR) -> tuple[int, bytes, int]:
    size, attributes, data = lab.cell(0x100), lab.cell(), lab.put(bytes(0x100))
    status = lab.rs("GetVariable", lab.text(name), lab.guid(vendor), attributes, size, data)
    return status, lab.memory.read(data, lab.value(size)) if status == SUCCESS else b"", lab.value(attributes, 4)


def names(lab: Lab) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    name, vendor = lab.put(bytes(0x200)), lab.put(bytes(16))
    while True:
        size = lab.cell(0x200)
        status = lab.rs("GetNextVariableName", size, name, vendor)
        if status == NOT_FOUND:
            return found
        assert status == SUCCESS
        text = lab.memory.read(name, lab.value(size) - 2).decode("utf-16-le")
        found.append((guid_text(lab.memory.read(vendor, 16)), text))
        assert len(found) < 100


def test_set_and_get(lab: Lab) -> None:
    assert put(lab, "x", b"abc") == SUCCESS
    assert get(lab, "x") == (SUCCESS, b"abc", NV | BS | RT)
    assert get(lab, "x", GLOBAL)[0] == NOT_FOUND, "names live under their vendor"
    assert get(lab, "X")[0] == NOT_FOUND, "names are case sensitive"
    assert put(lab, "x", b"longer than before") == SUCCESS
    assert get(lab, "x")[1] == b"longer than before"


def test_a_small_buffer_tells_size_and_attributes(lab: Lab) -> None:
    put(lab, "x", b"abc", BS)
    size, attributes = lab.cell(2), lab.cell()
    assert lab.rs("GetVariable", lab.text("x"), lab.guid(VENDOR), attributes, size, lab.put(bytes(8))) == TOO_SMALL
    assert (lab.value(size), lab.value(attributes)) == (3, BS)


def test_append(lab: Lab) -> None:
    assert put(lab, "x", b"ab", NV | BS | APPEND) == SUCCESS, "creates what is not there"
    assert put(lab, "x", b"cd", NV | BS | APPEND) == SUCCESS
    assert put(lab, "x", b"", NV | BS | APPEND) == SUCCESS, "nothing to append is no deletion"
    assert get(lab, "x") == (SUCCESS, b"abcd", NV | BS)


@pytest.mark.parametrize(("attributes", "data"), [(NV | BS | RT, b""), (0, b"x"), (0, b"")])
def test_delete(lab: Lab, attributes: int, data: bytes) -> None:
    put(lab, "x", b"abc")
    assert put(lab, "x", data, attributes) == SUCCESS
    assert get(lab, "x")[0] == NOT_FOUND
    assert put(lab, "x", data, attributes) == NOT_FOUND


def test_attributes_cannot_change(lab: Lab) -> None:
    put(lab, "x", b"abc", NV | BS)
    assert put(lab, "x", b"d", BS) == INVALID
    assert get(lab, "x")[1] == b"abc"


def test_enumeration_is_stable_and_complete(lab: Lab) -> None:
    before = names(lab)
    for name in ("zz", "aa", "mm"):
        put(lab, name, b"1")
    put(lab, "aa", b"2")
    assert names(lab) == [*before, (VENDOR, "zz"), (VENDOR, "aa"), (VENDOR, "mm")]


def test_what_the_firmware_comes_with(lab: Lab) -> None:
    """As OVMF answers without keys: Secure Boot off, setup mode on, and nothing of a TPM or of a shim."""
    assert get(lab, "SecureBoot", GLOBAL) == (SUCCESS, b"\0", BS | RT)
    assert get(lab, "SetupMode", GLOBAL) == (SUCCESS, b"\1", BS | RT)
    assert get(lab, "BootOrder", GLOBAL) == (SUCCESS, b"\0\0", NV | BS | RT)
    assert get(lab, "PlatformLang", GLOBAL)[1] == b"en\0"
    assert get(lab, "MemoryOverwriteRequestControl", "e20939be-32d4-41be-a150-897f85d49829")[0] == NOT_FOUND
    status, option, _ = get(lab, "Boot0000", GLOBAL)
    assert status == SUCCESS
    length = int.from_bytes(option[4:6], "little")
    assert option[-length:][-4:] == bytes.fromhex("7fff0400"), "EFI_LOAD_OPTION ends with its device path (3.1.3)"


def test_after_exit_boot_services(lab: Lab) -> None:
    put(lab, "boot", b"1", NV | BS)
    put(lab, "run", b"2", NV | BS | RT)
    put(lab, "volatile", b"3", BS | RT)
    lab.exit_boot_services()
    assert get(lab, "boot")[0] == NOT_FOUND
    assert (VENDOR, "boot") not in names(lab)
    assert (VENDOR, "run") in names(lab)
    assert put(lab, "run", b"22") == SUCCESS
    assert put(lab, "volatile", b"33", BS | RT) == WRITE_PROTECTED
    assert put(lab, "boot", b"11", NV | BS) == WRITE_PROTECTED
    assert put(lab, "new", b"4", NV | BS) == INVALID
    assert put(lab, "new", b"4", NV | BS | RT) == SUCCESS
    assert put(lab, "run", b"") == SUCCESS
    assert get(lab, "run")[0] == NOT_FOUND


def test_space_runs_out(lab: Lab) -> None:
    def info() -> tuple[int, ...]:
        cells = [lab.cell() for _ in range(3)]
        assert lab.rs("QueryVariableInfo", NV | BS | RT, *cells) == SUCCESS
        return tuple(lab.value(cell) for cell in cells)

    store = lab.shim.variables
    storage, remaining, largest = info()
    assert remaining <= storage
    assert largest <= remaining
    fitting = remaining // largest
    for index in range(fitting):
        store.set(VENDOR, f"v{index}", NV | BS, bytes(largest - 20), at_runtime=False)
    with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
        store.set(VENDOR, "last", NV | BS, bytes(largest - 20), at_runtime=False)
    assert info()[1] < remaining
    assert put(lab, "y", bytes(0x100)) in (SUCCESS, OUT_OF_RESOURCES)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([BS, NV | BS, BS | RT, NV | BS | RT]),
            st.binary(max_size=6),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_histories(steps: list[tuple[str, int, bytes, bool]]) -> None:
    store, model = VariableStore(), dict[str, tuple[int, bytes]]()
    for name, attributes, data, append in steps:
        known = model.get(name)
        flags = attributes | (APPEND if append else 0)
        wrong = "INVALID_PARAMETER" if known and known[0] != attributes else ""
        wrong = wrong or ("NOT_FOUND" if known is None and not data and not append else "")
        if wrong:
            with pytest.raises(EfiError, match=wrong):
                store.set(VENDOR, name, flags, data, at_runtime=False)
            continue
        store.set(VENDOR, name, flags, data, at_runtime=False)
        if append:
            old = known[1] if known else b""
            if data or known:
                model[name] = (attributes, old + data)
        elif data:
            model[name] = (attributes, data)
        else:
            del model[name]
    assert {v.name: (v.attributes, v.data) for v in store} == model
    assert [v.name for v in store] == list(model)
