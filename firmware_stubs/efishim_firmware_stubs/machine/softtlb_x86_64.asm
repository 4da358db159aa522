; Stores without the slow path, and a soft TLB whose size the host's clock does not decide (System V ABI).
;
; Unicorn looks for translated code at each store to a page that the guest's tables let it execute: its entry for the page stays
; "not dirty" for ever. `fill` stands in for CPUClass.tlb_fill. As long as no instruction was fetched from a physical page, its
; entries say "dirty", so that stores take the fast path, and "not executable", so that the first fetch comes here. That
; fetch marks the page, and all entries of the page, whatever their linear address and mode, become "not dirty" again.
;
; Unicorn resizes the table by the share of it that was used within 100 ms of the host's time. `fill` writes down
; that a constant share is in use, and that the time is never over.
;
; The file is a flat binary; it starts with a table of offsets. Each machine has its own copy in memory, so that the
; variables can lie in it. efishim/machine/softtlb.py has the same layout.

bits 64
default rel
org 0

; CPUTLBEntry (exec/cpu-defs.h of QEMU 5.0.1, and Unicorn's paddr)
%define TLB_READ   0
%define TLB_WRITE  8
%define TLB_CODE   16
%define TLB_PADDR  24
%define TLB_ENTRY  64
%define TLB_NOTDIRTY 0x400
%define FLAGS_MASK 0xfff
; CPUTLBDescFast: mask (entries - 1) * 64, table
%define FAST_SIZE  16
; CPUTLBDesc
%define DESC_WINDOW 16
%define DESC_USED   32
%define DESC_VTABLE 48
%define VTABLE_SIZE 8
%define DESC_SIZE   696
%define MMU_MODES  3
%define MMU_INST_FETCH 2

offsets:
        dq fill
        dq variables
        dq end_of_image

align 8
variables:
original:     dq 0        ; bool (*)(CPUState *, vaddr, int size, int type, int mmu_idx, bool probe, uintptr_t retaddr)
fast:         dq 0        ; CPUTLBDescFast[3]
desc:         dq 0        ; CPUTLBDesc[3]
code:         dq 0        ; a byte for each physical page: 1 when an instruction was fetched from it
pages:        dq 0        ; how many bytes that are
used:         dq 0        ; entries that are said to be in use
window:       dq 0        ; when the time in which use is measured is said to have begun
marked:       dq 0        ; pages with an instruction
mismatch:     dq 0        ; entries that were not where they should be

; r12 address, ebx type, r13 mmu index
align 16
fill:
        push rbx
        push r12
        push r13
        mov r12, rsi
        mov ebx, ecx
        mov r13d, r8d
        sub rsp, 8
        push qword [rsp + 40]           ; the return address, the seventh argument
        call [original]
        add rsp, 16
        test al, al
        jz done
        imul eax, r13d, DESC_SIZE
        add rax, [desc]
        mov rdx, [window]
        mov [rax + DESC_WINDOW], rdx
        mov rdx, [used]
        mov [rax + DESC_USED], rdx
        shl r13d, 4                     ; FAST_SIZE
        mov rax, [fast]
        mov rdx, r12
        shr rdx, 6
        and rdx, [rax + r13]
        add rdx, [rax + r13 + 8]        ; the entry
        ; The type says which of the three addresses must be this page's.
        mov rax, [rdx + 8 * rbx]
        xor rax, r12
        shr rax, 12
        jnz not_the_entry
        mov r9, [rdx + TLB_PADDR]
        mov r8, r9
        shr r8, 12
        cmp r8, [pages]
        jae succeeded                   ; a device
        add r8, [code]
        cmp ebx, MMU_INST_FETCH
        je fetched
        cmp byte [r8], 0
        jne succeeded
        mov qword [rdx + TLB_CODE], -1
        mov eax, [rdx + TLB_WRITE]
        and eax, FLAGS_MASK
        cmp eax, TLB_NOTDIRTY           ; alone: neither ROM nor a watchpoint
        jne succeeded
        xor qword [rdx + TLB_WRITE], TLB_NOTDIRTY
succeeded:
        mov eax, 1
done:
        pop r13
        pop r12
        pop rbx
        ret

fetched:
        cmp byte [r8], 0
        jne succeeded
        mov byte [r8], 1
        inc qword [marked]
        mov r10, [fast]
        mov r11, [desc]
        mov r13d, MMU_MODES
next_mode:
        mov rsi, [r10 + 8]
        mov rcx, [r10]
        add rcx, rsi
        call clean
        lea rsi, [r11 + DESC_VTABLE]
        lea rcx, [rsi + (VTABLE_SIZE - 1) * TLB_ENTRY]
        call clean
        add r10, FAST_SIZE
        add r11, DESC_SIZE
        dec r13d
        jnz next_mode
        jmp succeeded

; From rsi to rcx, the last one: entries of the physical page r9 are not dirty any more. Others keep what they are.
clean:
        cmp [rsi + TLB_PADDR], r9
        jne keep
        test dword [rsi + TLB_WRITE], FLAGS_MASK
        jnz keep
        or qword [rsi + TLB_WRITE], TLB_NOTDIRTY
keep:
        add rsi, TLB_ENTRY
        cmp rsi, rcx
        jbe clean
        ret

not_the_entry:
        inc qword [mismatch]
        jmp succeeded

align 8
end_of_image:
