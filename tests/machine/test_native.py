"""The assembly of the native hooks and its Python side agree, and the hooks do what their comments say."""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.errors import MachineError
from efishim.machine import env, native
from efishim.machine.native import BlockFlag, Cause, NativeHooks, State
from efishim.machine.softtlb import ENTRY_SIZE, Entry, Fast

SOURCE = (Path(efishim_firmware_stubs.__file__).parent / "machine/host_x86_64.asm").read_text()
DEFINES = {
    name: int(value, 0)
    for name, value in re.findall(r"^%define (\w+)\s+\(?(0x[0-9a-fA-F]+|-?\d+)\)?\s*(?:;.*)?$", SOURCE, re.MULTILINE)
}


def test_every_field_of_the_state_stands_where_the_assembly_has_it() -> None:
    offsets = {name.upper(): getattr(State, name).offset for name, *_ in State._fields_}
    in_assembly = {name: offset for name, offset in DEFINES.items() if name in offsets}
    assert in_assembly == offsets
    assert ctypes.sizeof(State) == max(offsets.values()) + 8


def test_constants() -> None:
    assert DEFINES["ENTRIES_SHIFT"] == native.ENTRIES_SHIFT
    assert DEFINES["GOLDEN"] == 0x9E3779B97F4A7C15, "2**64 divided by the golden ratio"
    assert {name: DEFINES[f"CAUSE_{name}"] for name in Cause.__members__ if name != "NONE"} == {
        cause.name: cause.value for cause in Cause if cause is not Cause.NONE
    }
    assert BlockFlag.RETRANSLATE == 1 << 0
    assert BlockFlag.WATCHED == 1 << 1
    assert (DEFINES["E_PC"], DEFINES["E_SIZE"], DEFINES["E_ICOUNT"], DEFINES["E_FLAGS"], DEFINES["E_AGE"]) == (0, 8, 10, 12, 14)
    assert DEFINES["E_COUNT"] == 16
    assert DEFINES["E_ORIGIN"] == native.ORIGIN_OFFSET
    assert 1 << DEFINES["E_SLOW_BIT"] == native.COUNT_MASK + 1
    assert native.ENTRY_SIZE == 32
    assert native.LOG_ENTRY_SIZE == 16


def test_what_is_read_of_the_processor() -> None:
    assert DEFINES["ENV_EFLAGS"] == env.Env.eflags.offset  # type: ignore[attr-defined] # of the descriptor
    assert DEFINES["ENV_RSP"] == env.Env.regs.offset + 4 * 8  # type: ignore[attr-defined] # of the descriptor
    assert DEFINES["ENV_HFLAGS"] == env.Env.hflags.offset  # type: ignore[attr-defined] # of the descriptor
    assert (DEFINES["CPL_BITS"], 1 << DEFINES["CS64_BIT"]) == (env.HF_CPL, env.HF_CS64)
    assert 1 << DEFINES["INHIBIT_IRQ_BIT"] == env.HF_INHIBIT_IRQ
    assert DEFINES["IF_BIT"] == 9


def test_what_is_read_of_the_soft_tlb() -> None:
    assert (DEFINES["F_MASK"], DEFINES["F_TABLE"]) == (Fast.mask.offset, Fast.table.offset)  # type: ignore[attr-defined] # likewise
    assert DEFINES["F_SIZE"] == ctypes.sizeof(Fast)
    assert (DEFINES["T_READ"], DEFINES["T_ADDEND"]) == (Entry.read.offset, Entry.addend.offset)  # type: ignore[attr-defined] # likewise
    assert 1 << 12 - DEFINES["T_SHIFT"] == ENTRY_SIZE


def test_table_of_offsets() -> None:
    code = efishim_firmware_stubs.load("machine/host_x86_64.bin")
    block, edge, slow, end = struct.unpack_from("<4Q", code)
    assert 32 <= block < slow < edge < end <= len(code) <= 0x1000
    assert block % 16 == edge % 16 == slow % 16 == 0


def test_another_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MachineError, match="aarch64"):
        NativeHooks(emu_stop=0, vmem_read=0, new_block=lambda *_: 0)


IN_RBP = bytes.fromhex("554c89c541ffd15dc3")
"""push rbp; mov rbp, r8; call r9; pop rbp; ret."""


class Bare:
    """The hooks without an engine: `emu_stop` and `uc_vmem_read` are ours."""

    def __init__(self, flags: int = 0, code: bytes = b"") -> None:
        self.stops = 0
        self.asked: list[tuple[int, int, int]] = []
        self.flags = flags
        self._stop = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._stopped)
        read_type = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t
        )
        self._read = read_type(lambda _uc, _address, _prot, to, size: ctypes.memmove(to, code.ljust(size, b"\x90"), size) and 0)
        self.hooks = NativeHooks(
            emu_stop=ctypes.cast(self._stop, ctypes.c_void_p).value or 0,
            vmem_read=ctypes.cast(self._read, ctypes.c_void_p).value or 0,
            new_block=self._new_block,
        )
        self.state = self.hooks.state
        self._trampoline = native.private(0x1000, executable=True)
        self._trampoline.write(IN_RBP)
        signature = ctypes.CFUNCTYPE(None, *(ctypes.c_uint64,) * 6)
        self._block = signature(native.address_of(self._trampoline))
        self._processor = ctypes.create_string_buffer(4096)
        self.env = ctypes.addressof(self._processor) + 64
        self.exit_request = ctypes.c_int32.from_address(self.env + DEFINES["ENV_EXIT"])

    def _stopped(self, _uc: int) -> None:
        self.stops += 1

    def _new_block(self, pc: int, size: int, icount: int) -> int:
        self.asked.append((pc, size, icount))
        return self.flags

    def enter(self, pc: int, size: int) -> Cause:
        """Call the block hook as a translation does, with the processor's state in RBP; why it stopped."""
        self.state.cause = 0
        stops = self.stops
        self._block(0, pc, size, self.hooks.state_address, self.env, self.hooks.block_hook)
        assert (self.stops > stops) == bool(self.state.cause)
        return Cause(self.state.cause)


def test_counting() -> None:
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.hooks.learn(0, 0x2000, 7, 3)
    for pc, size in ((0x1000, 10), (0x2000, 7), (0x1000, 10)):
        assert bare.enter(pc, size) is Cause.NONE
    assert bare.state.insns == 11
    assert bare.state.last_pc == 0x1000
    bare.hooks.count_as(0x1000, 10, -5)
    bare.enter(0x1000, 10)
    assert bare.state.insns == 6, "a correction"
    assert bare.hooks.blocks() == [(0x1000, 10, 4), (0x2000, 7, 3)]


def test_a_block_that_will_not_run_is_not_counted() -> None:
    """Unicorn looks for requests to stop behind the hook, and enters the block again later."""
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.exit_request.value = -1
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert bare.state.insns == 0
    bare.exit_request.value = 0
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert bare.state.insns == 4
    assert bare.hooks.times_entered() == {(0x1000, 10): 1}


def test_what_counts_down_says_what_was_executed() -> None:
    state = State()
    state.deadline = native.NEVER
    assert (state.insns, state.left) == (0, native.FAR)
    state.left -= 100
    assert state.insns == 100
    state.deadline = 0
    assert (state.insns, state.left) == (100, -100)
    state.insns -= 30
    assert (state.insns, state.left, state.deadline) == (70, -70, 0)
    state.deadline = 1000
    assert (state.insns, state.left) == (70, 930)


def test_a_number_that_changes_is_looked_up() -> None:
    """Code of the same size at the same address: translations of both may be there, and one may hold its number."""
    bare = Bare()
    for icount in (4, 4, 3):
        bare.hooks.learn(0, 0x1000, 10, icount)
    entry = bare.state.table + ((0x1000 * 0x9E3779B97F4A7C15 & native.NEVER) >> 64 - native.ENTRIES_SHIFT) * native.ENTRY_SIZE
    assert ctypes.c_uint64.from_address(entry + 16).value == native.COUNT_MASK + 1
    bare.hooks.learn(0, 0x2000, 10, 4)
    bare.hooks.learn(0, 0x2000, 10, 4)
    assert bare.enter(0x1000, 10) is bare.enter(0x2000, 10) is Cause.NONE
    assert bare.hooks.times_entered() == {(0x1000, 10): 1, (0x2000, 10): 1}
    assert bare.state.insns == 7


def test_unknown_blocks_stop() -> None:
    bare = Bare()
    assert bare.enter(0x1000, 10) is Cause.UNKNOWN
    assert bare.state.unknown_size == 10
    bare.hooks.learn(0, 0x1000, 10, 4)
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert bare.enter(0x1000, 9) is Cause.UNKNOWN, "another size is another block"
    bare.hooks.forget_blocks()
    assert bare.enter(0x1000, 10) is Cause.UNKNOWN


def test_deadline() -> None:
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.state.deadline = bare.state.limit = 5
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert (bare.enter(0x1000, 10), bare.state.insns) == (Cause.DEADLINE, 8)


def test_flags_stop_until_they_are_gone() -> None:
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.hooks.mark(0x1000, BlockFlag.WATCHED | BlockFlag.RETRANSLATE)
    assert bare.enter(0x1000, 10) is Cause.FLAGGED
    bare.hooks.unmark(0x1000, BlockFlag.WATCHED)
    assert bare.enter(0x1000, 10) is Cause.FLAGGED
    bare.hooks.unmark(0x1000, BlockFlag.RETRANSLATE)
    assert bare.enter(0x1000, 10) is Cause.NONE
    assert bare.state.forced == 2


def test_blocks_with_the_same_hash_are_told_apart() -> None:
    slots: dict[int, int] = {}
    pair = None
    for pc in range(0x400000, 0x600000, 16):
        slot = ((pc * 0x9E3779B97F4A7C15) & native.NEVER) >> (64 - native.ENTRIES_SHIFT)
        if slot in slots:
            pair = slots[slot], pc
            break
        slots[slot] = pc
    assert pair is not None
    bare = Bare()
    for number, pc in enumerate(pair):
        bare.hooks.learn(0, pc, 5, number + 1)
    bare.hooks.mark(pair[1], BlockFlag.WATCHED)
    assert (bare.enter(pair[0], 5), bare.state.insns) == (Cause.NONE, 1)
    assert bare.enter(pair[1], 5) is Cause.FLAGGED


def test_a_full_table_says_so_and_still_has_room_to_search() -> None:
    bare = Bare()
    limit = (1 << native.ENTRIES_SHIFT) * 3 // 4
    bare.state.used = limit - 1
    bare.hooks.learn(0, 0x1000, 5, 1)
    assert bare.state.cause == Cause.NONE
    bare.hooks.learn(0, 0x2000, 5, 1)
    assert bare.state.cause == Cause.FULL
    assert bare.enter(0x2000, 5) is Cause.UNKNOWN


@pytest.mark.parametrize(
    "code",
    [
        *(b"\x0f\x31", b"\x0f\x30", b"\x0f\x32", b"\x0f\x01\xf9", b"\x0f\x01\xc1", b"\x0f\x01\xd9"),
        *(b"\x0f\xc7\xf0", b"\x0f\xc7\xff", b"\xf3\x90", b"\xe6\xe4"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 7, 30])
def test_bytes_that_may_be_ours_are_asked_about(code: bytes, before: int) -> None:
    bytes_ = b"\x90" * before + code
    bare = Bare(flags=BlockFlag.RETRANSLATE, code=bytes_)
    learn_in_ring_0(bare, 0x1000, len(bytes_), before + 1)
    assert bare.asked == [(0x1000, len(bytes_), before + 1)]
    assert bare.enter(0x1000, len(bytes_)) is Cause.FLAGGED


@pytest.mark.parametrize(
    "code", [b"\x90" * 5, b"\x0f\x33", b"\x0f\x01\xf8", b"\x0f\xc7\x0e", b"\xf3\xa4", b"\xe6\xe5", b"\x0f"]
)
def test_other_bytes_are_not(code: bytes) -> None:
    bare = Bare(flags=BlockFlag.RETRANSLATE, code=code)
    learn_in_ring_0(bare, 0x1000, len(code), 1)
    assert bare.asked == []
    assert bare.enter(0x1000, len(code)) is Cause.NONE


def test_watched_addresses_are_asked_about() -> None:
    bare = Bare(flags=BlockFlag.WATCHED)
    bare.hooks.listen([0x5000], [(0xFFF, 0x123)])
    for pc in (0x1000, 0x5000, 0x7123):
        learn_in_ring_0(bare, pc, 5, 2)
    assert [pc for pc, *_ in bare.asked] == [0x5000, 0x7123]
    bare.hooks.listen(list(range(0x10000, 0x10000 + native.WATCHES + 1)), [])
    learn_in_ring_0(bare, 0x1001, 5, 2)
    assert bare.asked[-1][0] == 0x1001, "more than fit: everything is asked about"


def learn_in_ring_0(bare: Bare, pc: int, size: int, icount: int) -> None:
    processor = ctypes.create_string_buffer(4096)
    bare.state.env = ctypes.addressof(processor)
    bare.hooks.learn(0, pc, size, icount)


def test_counts_of_many_blocks_all_over_the_table() -> None:
    """The table is read in pieces, and pieces without blocks are left out."""
    bare = Bare()
    addresses = [0x1000 + 0x40 * number for number in range(3 * native.PIECE)]
    for pc in addresses:
        bare.hooks.learn(0, pc, 10, 4)
        bare.enter(pc, 10)
    bare.enter(addresses[-1], 10)
    assert bare.hooks.times_entered() == {(pc, 10): 1 for pc in addresses[:-1]} | {(addresses[-1], 10): 2}
    bare.hooks.reset()
    assert bare.hooks.times_entered() == {}


def origins(bare: Bare) -> list[int]:
    before, _ = bare.hooks.origins()
    return list(before)


def test_a_block_knows_which_one_began_before_it() -> None:
    bare = Bare()
    for pc in (0x1000, 0x2000, 0x3000, 0x2000, 0x4000):
        bare.hooks.learn(0, pc, 10, 4)
        bare.enter(pc, 10)
    assert origins(bare) == [0, 1, 2, 2], "of the second time nothing is written down, and the last follows from that"


def test_behind_an_interrupt_nothing_follows_from_what_ran_before() -> None:
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.enter(0x1000, 10)
    bare.hooks.interrupted(0x100A, 0x30)
    for pc in (0x8000, 0x9000, 0x100A):
        bare.hooks.learn(0, pc, 10, 4)
        bare.enter(pc, 10)
    assert origins(bare) == [0, native.EVENT | 0x30, 2, 3]
    assert bare.hooks.resumed == {0x100A: 1}, "where it went on: behind the first block"
    bare.hooks.interrupted(0x100A, 0x31)
    assert bare.hooks.resumed == {0x100A: 1}, "the first time counts"


def test_what_led_to_a_block_outlives_its_translation() -> None:
    bare = Bare()
    bare.hooks.learn(0, 0x1000, 10, 4)
    bare.enter(0x1000, 10)
    bare.hooks.forget_blocks()
    assert bare.state.last_pc == 0
    bare.hooks.learn(0, 0x2000, 10, 4)
    assert origins(bare) == [0, 1]
    bare.hooks.reset()
    bare.hooks.learn(0, 0x2000, 10, 4)
    assert origins(bare) == [0]
