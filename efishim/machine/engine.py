"""Sets up Unicorn: memory, hooks, and the observation of translated blocks. The run loop is in machine.py.

Nothing here decides what the guest sees; callbacks go to `EngineClient`. A callback that wants the guest stopped calls
`stop`, and the emulation ends at the next point where Unicorn looks (a block's start or a memory access).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import Uc, UcError, uclib

from efishim.errors import MachineError
from efishim.machine import callbacks
from efishim.machine.access_observer import Observer
from efishim.machine.client import EngineClient
from efishim.machine.disassembly import starts
from efishim.machine.env import Env, Pending, verify
from efishim.machine.exitcheck import MARK, find_flag
from efishim.machine.intercepts import Intercept, find_intercepts, find_port_accesses
from efishim.machine.memory import PAGE, PhysicalMemory
from efishim.machine.native import BlockFlag, Cause, NativeHooks
from efishim.machine.processor import Processor
from efishim.machine.selfcounting import BLOCK, begin
from efishim.machine.shortcuts import NotHere, Shortcut
from efishim.machine.softtlb import ENTRIES, FAST_OFFSET, SoftTlb

PHYSICAL_LIMIT = 1 << 40
TCG_BUFFER = 256 << 20
TCG_ROOM = 16 << 20
"""Of the buffer, kept free: when it overflows outside of a run, Unicorn jumps to where the run before was, and crashes."""
LONGEST_INSTRUCTION = 15
NOWHERE = 0
"""Given to Unicorn as the address to stop at. Any other value makes it look that address up in the guest's tables after each
run, which changes CR2 and the exception in flight when it is not mapped."""


class Engine:
    """One Unicorn instance over the given memory."""

    def __init__(self, memory: PhysicalMemory, client: EngineClient) -> None:
        self._client = client
        self._memory = memory
        self._keep: list[Any] = []
        self._sites: dict[int, Intercept] = {}
        self._site_code: dict[int, bytes] = {}
        self._breaks: set[int] = set()
        self.every_instruction = False  # is the client asked before each, in what is translated from now on?
        self._no_exit_request: ctypes.c_uint8 | None = None
        self.failure: BaseException | None = None
        self.shortcuts: list[Shortcut] = []
        """Which of the shortcuts through Unicorn's inside are taken."""
        self._rip = ctypes.c_uint64()
        self._rip_reference = ctypes.byref(self._rip)
        self.uc: Any = Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_64)
        self.uc.ctl_set_tcg_buffer_size(TCG_BUFFER)
        self._handle = self.uc._uch
        emu_stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        vmem_read = ctypes.cast(callbacks.vmem_read, ctypes.c_void_p).value
        self.native = NativeHooks(emu_stop=emu_stop or 0, vmem_read=vmem_read or 0, new_block=self._new_block)
        self.state = self.native.state
        self._map_memory()
        self._code_buffer = ctypes.create_string_buffer(0x10000)
        self._raw_hook(uc_const.UC_HOOK_BLOCK, self.native.block_hook, self.native.state_address)
        self._raw_hook(uc_const.UC_HOOK_EDGE_GENERATED, self.native.edge_hook, self.native.state_address)
        env, self.pending = self._learn_env()
        pages = max(region.end for region in memory) // PAGE
        self.softtlb = self._fast_stores(pages)
        self.state.fast = self.state.env + FAST_OFFSET if self.softtlb else 0
        self.processor = Processor(self.uc, env, memory)
        self.observer = Observer(
            env=self.state.env,
            state=self.native.state_address,
            pages=pages,
            flush=self.flush_soft_tlb,
            fill=self.softtlb.fill if self.softtlb else None,
        )
        self._install_hooks()

    @property
    def env(self) -> Env:
        """The processor's state in place."""
        return self.processor.env

    def _map_memory(self) -> None:
        position = 0
        for region in self._memory:
            self._map_hole(position, region.start)
            host = ctypes.addressof(ctypes.c_char.from_buffer(region.host))
            permissions = uc_const.UC_PROT_ALL if region.writable else uc_const.UC_PROT_READ | uc_const.UC_PROT_EXEC
            self.uc.mem_map_ptr(region.start, region.size, permissions, host)
            position = region.end
        self._map_hole(position, PHYSICAL_LIMIT)

    def _map_hole(self, start: int, end: int) -> None:
        if end <= start:
            return

        def read(_uc: int, offset: int, size: int, _data: int) -> int:
            return int(self._guard(lambda: self._client.mmio_read(start + offset, size), -1)) & (1 << 64) - 1

        def write(_uc: int, offset: int, size: int, value: int, _data: int) -> None:
            self._guard(lambda: self._client.mmio_write(start + offset, size, value), None)

        read_callback, write_callback = callbacks.MMIO_READ(read), callbacks.MMIO_WRITE(write)
        self._keep += [read_callback, write_callback]
        status = uclib.uc_mmio_map(self._handle, start, end - start, read_callback, 0, write_callback, 0)
        if status:
            raise MachineError(f"Unicorn refuses device memory at {start:#x} (error {status})")

    def _guard(self, action: Callable[[], Any], otherwise: Any) -> Any:
        """Run a callback; an exception in it ends the run instead of vanishing in ctypes."""
        try:
            return action()
        except BaseException as error:  # noqa: BLE001 - kept, and raised when the emulation has ended
            if self.failure is None:
                self.failure = error
            self.stop()
            return otherwise

    def _raw_hook(self, kind: int, function: int, data: int, *, begin: int = 1, end: int = 0, insn: int = 0) -> None:
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self._handle,
            ctypes.byref(handle),
            kind,
            ctypes.c_void_p(function),
            ctypes.c_void_p(data),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
            ctypes.c_int(insn),
        )
        if status:
            raise MachineError(f"Unicorn refuses a hook of kind {kind} (error {status})")

    def _hook(self, kind: int, callback: Any, *, begin: int = 1, end: int = 0, insn: int = 0) -> None:
        self._keep.append(callback)
        self._raw_hook(kind, ctypes.cast(callback, ctypes.c_void_p).value or 0, 0, begin=begin, end=end, insn=insn)

    def _learn_env(self) -> tuple[Env, Pending]:
        """Run one block in the first page of RAM so that the native hook sees where the processor's state is."""
        region = next((r for r in self._memory if r.writable), None)
        if region is None:
            raise MachineError("the machine has no RAM")
        at = slice(16, 16 + len(BLOCK))
        before = region.host[at]
        region.host[at] = BLOCK
        self.state.deadline = self.state.limit = 0
        self.uc.emu_start(region.start + 16, MARK)
        self._first_code = self.state.host_pc
        self._no_exit_request = find_flag(self._handle.value or 0)
        why_not = "" if self._no_exit_request is not None else "the flag is elsewhere"
        self.shortcuts.append(Shortcut("no checks", "for a stop after each load and store, where none is asked for", why_not))
        self._set_exit_checks(False)
        self._count_in_blocks(region.start + 16)
        region.host[at] = before
        self.uc.ctl_flush_tb()
        self.native.reset()
        if not self.state.env:
            raise MachineError("the native hook did not run", hint="run `efishim doctor`")
        return verify(
            self.state.env, lambda register, value: self.uc.reg_write(getattr(x86, f"UC_X86_REG_{register.upper()}"), value)
        )

    def _count_in_blocks(self, address: int) -> None:
        """Blocks count themselves, if this build and this process allow it. `BLOCK` stands at `address`."""
        self.uc.ctl_flush_tb()
        self.native.reset()
        handle, why_not = self._handle.value or 0, ""
        try:
            begin(self.native, handle, address, lambda: uclib.uc_emu_start(self._handle, address, NOWHERE, 0, 0))
        except NotHere as reason:
            why_not = str(reason)
        self.shortcuts.append(Shortcut("own counts", "blocks count themselves, without a call", why_not))

    def _fast_stores(self, pages: int) -> SoftTlb | None:
        """Stores to pages without code become fast, if this build allows it. Paging is off, and nothing has run yet."""
        region = next(r for r in self._memory if r.writable)
        softtlb_is = ("fast stores", f"stores to pages without code; {ENTRIES} translations remembered")
        try:
            softtlb = SoftTlb(
                env=self.state.env,
                pages=pages,
                touch=self._touch,
                flush=self.flush_soft_tlb,
                page=region.start,
                host=ctypes.addressof(ctypes.c_char.from_buffer(region.host)),
            )
        except NotHere as reason:
            self.shortcuts.append(Shortcut(*softtlb_is, str(reason)))
            return None
        self.shortcuts.append(Shortcut(*softtlb_is))
        # Where a hook for loads, stores or fetches is, Unicorn neither makes entries dirty at a store nor walks the whole table
        # for each block it translates to undo that. The stand-in does both. This hook is for fetches from memory that was
        # mapped without permission to execute; there is none.
        self._hook(uc_const.UC_HOOK_MEM_FETCH_PROT, callbacks.FETCH(lambda *_: False))
        return softtlb

    def _touch(self, address: int, fetch: bool) -> bool:
        permission = uc_const.UC_PROT_EXEC if fetch else uc_const.UC_PROT_READ
        return not callbacks.vmem_read(self._handle, address, permission, self._code_buffer, 1)

    def _install_hooks(self) -> None:
        client, guard = self._client, self._guard

        def port_in(_uc: int, port: int, size: int, _data: int) -> int:
            try:
                return client.port_read(port, size)
            except BaseException as error:  # noqa: BLE001 - kept, and raised when the emulation has ended
                self.failure = self.failure or error
                self.stop()
                return 0

        def port_out(_uc: int, port: int, size: int, value: int, _data: int) -> None:
            try:
                client.port_write(port, size, value)
            except BaseException as error:  # noqa: BLE001 - kept, and raised when the emulation has ended
                self.failure = self.failure or error
                self.stop()

        hook = self._hook
        hook(uc_const.UC_HOOK_INSN, callbacks.IN(port_in), insn=x86.UC_X86_INS_IN)
        hook(uc_const.UC_HOOK_INSN, callbacks.OUT(port_out), insn=x86.UC_X86_INS_OUT)
        cpuid = callbacks.CPUID(lambda _uc, _d: int(guard(client.cpuid_hook, True)))
        hook(uc_const.UC_HOOK_INSN, cpuid, insn=x86.UC_X86_INS_CPUID)
        syscall = callbacks.SYSCALL(lambda _uc, _d: guard(lambda: client.syscall(False), None))
        hook(uc_const.UC_HOOK_INSN, syscall, insn=x86.UC_X86_INS_SYSCALL)
        sysenter = callbacks.SYSCALL(lambda _uc, _d: guard(lambda: client.syscall(True), None))
        hook(uc_const.UC_HOOK_INSN, sysenter, insn=x86.UC_X86_INS_SYSENTER)
        hook(uc_const.UC_HOOK_INTR, callbacks.INTR(lambda _uc, vector, _d: guard(lambda: client.exception(vector), None)))

        def at_site(_uc: int, address: int, size: int, _data: int) -> None:
            if (address in self._breaks or self.every_instruction) and guard(lambda: client.breakpoint(address), True):
                return
            site = guard(lambda: self._site_at(address, size), None)
            if site is not None:
                guard(lambda: client.site(site), None)

        self._site_callback = callbacks.CODE(at_site)

    def _new_block(self, pc: int, size: int, icount: int) -> int:
        try:
            buffer = self._code_buffer
            if callbacks.vmem_read(self._handle, pc, uc_const.UC_PROT_EXEC, buffer, size):
                code = self._read_code(pc, size)
            else:
                code = buffer.raw[:size] if size > 64 else bytes(memoryview(buffer)[:size])
            flags = self._client.block(pc, size, icount, code)
            if self._needs_checks(pc, code):
                flags |= BlockFlag.RETRANSLATE
            return flags
        except BaseException as error:  # noqa: BLE001 - kept, and raised when the emulation has ended
            self.failure = self.failure or error
            self.stop()
            return BlockFlag.RETRANSLATE

    def _set_exit_checks(self, wanted: bool) -> None:
        if self._no_exit_request is not None:
            self._no_exit_request.value = 0 if wanted or self.every_instruction else 1

    def _needs_checks(self, pc: int, code: bytes) -> bool:
        """Must this block be translated with our hooks and with checks for stop requests?

        Sites stop in the middle of a block.
        """
        return bool(self._sites_in(pc, code))

    def _sites_in(self, pc: int, code: bytes) -> list[Intercept]:
        mode = self.processor.mode
        found = find_intercepts(pc, code, mode)
        if found:
            # A pattern inside another instruction is no site. Taking it for one would cost its block a new translation
            # each time a neighbour is translated.
            begins = set(starts(code, pc, mode))
            found = [site for site in found if site.address in begins]
        if self.processor.cpl == 3:
            found += find_port_accesses(pc, code, mode)
        return found

    def _site_at(self, address: int, size: int) -> Intercept | None:
        """For the instruction of `size` bytes at an address: the site that was found there, or what stands there now. A kernel
        patches its own code, and another address space has other code at the same address.
        """
        site = self._sites.get(address)
        if site is None or self._fetch(address, site.length) == self._site_code[address]:
            return site
        code = self._fetch(address, min(size, LONGEST_INSTRUCTION))
        return next((one for one in self._sites_in(address, code) if one.address == address), None)

    def _fetch(self, address: int, size: int) -> bytes:
        """Code that is being executed."""
        if callbacks.vmem_read(self._handle, address, uc_const.UC_PROT_EXEC, self._code_buffer, size):
            return self._read_code(address, size)
        return bytes(memoryview(self._code_buffer)[:size])

    def _read_code(self, pc: int, size: int) -> bytes:
        try:
            return self.processor.read(pc, size)
        except Exception as error:
            raise MachineError(f"the code at {pc:#x} was translated but cannot be read") from error

    def _hook_code(self, address: int) -> None:
        if address not in self._sites and address not in self._breaks:
            callback = ctypes.cast(self._site_callback, ctypes.c_void_p).value or 0
            self._raw_hook(uc_const.UC_HOOK_CODE, callback, 0, begin=address, end=address)

    def break_at(self, pc: int, *addresses: int) -> None:
        """Ask the client before each instruction at `addresses`, in the block at `pc` where the guest is stopped, runs."""
        for address in addresses:
            self._hook_code(address)
            self._breaks.add(address)
        self.instrument(pc)

    def at_every_instruction(self, address: int) -> None:
        """One is about to run that has no hook of its own."""
        self._guard(lambda: self._client.breakpoint(address), True)

    def instrument(self, pc: int) -> None:
        """Hook the sites of the block at `pc` and drop its translation. The guest is stopped at its start."""
        size, _ = self.translate(pc)
        for site in self._sites_in(pc, self.processor.read(pc, size)):
            self._hook_code(site.address)
            self._sites[site.address] = site
            self._site_code[site.address] = self.processor.read(site.address, site.length)
        self.drop(pc, size)
        self._set_exit_checks(True)
        try:
            self.uc.ctl_request_cache(pc)
        finally:
            self._set_exit_checks(False)
        self.native.unmark(pc, BlockFlag.RETRANSLATE)

    def learn(self, pc: int, size: int, icount: int) -> None:
        """Enter a block that Unicorn did not report. A guest of more blocks than the table holds begins anew."""
        self.state.cause = Cause.NONE
        self.native.learn(self._handle.value or 0, pc, size, icount)
        if self.state.cause == Cause.FULL:
            self.drop_all()

    def translate(self, pc: int) -> tuple[int, int]:
        """Size in bytes and number of instructions of the translation at `pc`, which is made if there is none.

        The guest is stopped there. The block that stopped it is about the newest, so that its place in the buffer of
        translations says how full that is.
        """
        state = self.state
        if state.host_pc - self._first_code > TCG_BUFFER - TCG_ROOM:
            self.drop_all()
            state.host_pc = self._first_code
        _, icount, size = self.uc.ctl_request_cache(pc)
        return size, icount

    def has_sites(self, pc: int, size: int) -> bool:
        """Was the block at `pc` translated with hooks, and so with checks for stop requests?"""
        hooked = (address in self._sites or address in self._breaks for address in range(pc, pc + size))
        return self.every_instruction or any(hooked)

    def drop(self, linear: int, size: int) -> None:
        """Forget translations of a linear range."""
        try:
            self.uc.ctl_remove_cache(linear, linear + size)
        except UcError:
            self.drop_all()

    def drop_all(self) -> None:
        """Forget all translations."""
        self.uc.ctl_flush_tb()
        self.native.forget_blocks()
        if self.softtlb:
            self.softtlb.forget()

    def flush_soft_tlb(self) -> None:
        """Forget translations of addresses."""
        status = uclib.uc_ctl(self._handle, uc_const.UC_CTL_TLB_FLUSH | uc_const.UC_CTL_IO_WRITE << 30)
        if status:
            raise MachineError(f"Unicorn refuses to flush its table of translations (error {status})")

    def skip_instruction(self, address: int) -> None:
        """From a site's hook: continue at the linear `address` instead of executing the instruction."""
        self._rip.value = address - self.env.cs.base
        uclib.uc_reg_write(self._handle, x86.UC_X86_REG_RIP, self._rip_reference)

    def stop(self) -> None:
        """Ask Unicorn to stop."""
        uclib.uc_emu_stop(self._handle)

    def run(self) -> int:
        """Execute from RIP until something stops. Returns Unicorn's error number, 0 for none."""
        self.state.cause = 0
        error: int = uclib.uc_emu_start(self._handle, self.env.eip, NOWHERE, 0, 0)
        return error

    def flush_physical(self, address: int, size: int) -> None:
        """Forget translations of physical code that the host changed. Coarse: everything goes."""
        del address, size
        self.drop_all()
