; Native hooks for Unicorn on x86-64 hosts (System V ABI).
;
; Unicorn calls hooks out of translated code. A hook in Python costs about 300 ns for every block that the guest runs;
; these few instructions cost one or two. They count instructions exactly, notice deadlines, and leave everything
; rare to Python by stopping the emulation before the block that they were called for has run.
;
; Inside a block hook RBP holds Unicorn's CPUX86State (TCG_AREG0); that is how `ENV` is learnt.
;
; The file is a flat binary; it starts with a table of offsets. efishim/machine/native.py has the same structure layout.

bits 64
default rel
org 0

; struct State, all fields 64 bit
%define INSNS      0x00   ; instructions executed, whole blocks
%define DEADLINE   0x08   ; stop before the next block once INSNS reaches this
%define LIMIT      0x10   ; the real deadline, while DEADLINE is 0 to force the slow path
%define ATTENTION  0x18   ; 1: an interrupt is pending, stop as soon as EFLAGS.IF allows it
%define LAST_PC    0x20   ; the block that runs now
%define LAST_ENTRY 0x28   ; its table entry
%define CAUSE      0x30   ; why the hook stopped the emulation
%define ENV        0x38   ; CPUX86State
%define TABLE      0x40   ; block table: 2^18 entries of 16 bytes
%define USED       0x48   ; entries in use
%define EMU_STOP   0x50   ; uc_emu_stop
%define NEW_BLOCK  0x58   ; int32_t (*)(uint64_t pc, uint32_t size, uint32_t icount), returns the flags of the block
%define BLOCK_LOG  0x60   ; entries in order of first translation: pointers into the table
%define LOG_USED   0x68
%define LOG_SIZE   0x70
%define PREV_PC    0x78   ; the block before LAST_PC
%define FORCED     0x80   ; number of blocks that were entered with a flag set

; struct Entry
%define E_PC     0        ; 64 bit
%define E_SIZE   8        ; 16 bit, bytes
%define E_ICOUNT 10       ; 16 bit, instructions
%define E_FLAGS  12       ; 32 bit: bit 0 translate anew, bit 1 watched address

%define ENTRIES_SHIFT 18
%define GOLDEN 0x9E3779B97F4A7C15
%define ENV_EFLAGS 136
%define IF_BIT 9
%define ENV_HFLAGS 176
%define INHIBIT_IRQ_BIT 3   ; the instruction after STI or MOV SS

%define CAUSE_DEADLINE  1
%define CAUSE_INTERRUPT 2
%define CAUSE_FLAGGED   3
%define CAUSE_UNKNOWN   4
%define CAUSE_FULL      5

offsets:
        dq block_hook
        dq edge_hook
        dq end_of_image

; void block_hook(uc_engine *uc, uint64_t address, uint32_t size, State *state)
align 16
block_hook:
        mov r9, GOLDEN
        imul r9, rsi
        shr r9, 64 - ENTRIES_SHIFT
        shl r9, 4
        add r9, [rcx + TABLE]
        cmp [r9 + E_PC], rsi
        jne look_further
        cmp [r9 + E_SIZE], dx
        jne look_further
found:
        mov r11, [rcx + INSNS]
        cmp r11, [rcx + DEADLINE]
        jae consider_stopping
        cmp dword [r9 + E_FLAGS], 0
        jne flagged
run_the_block:
        movzx eax, word [r9 + E_ICOUNT]
        add r11, rax
        mov [rcx + INSNS], r11
        mov rax, [rcx + LAST_PC]
        mov [rcx + PREV_PC], rax
        mov [rcx + LAST_PC], rsi
        mov [rcx + LAST_ENTRY], r9
        ret

look_further:
        cmp qword [r9 + E_PC], 0
        je unknown
        add r9, 16
        mov rax, [rcx + TABLE]
        add rax, 16 << ENTRIES_SHIFT
        cmp r9, rax
        jb not_wrapped
        mov r9, [rcx + TABLE]
not_wrapped:
        cmp [r9 + E_PC], rsi
        jne look_further
        cmp [r9 + E_SIZE], dx
        jne look_further
        jmp found

consider_stopping:
        cmp r11, [rcx + LIMIT]
        jae past_the_limit
        mov [rcx + ENV], rbp
        cmp qword [rcx + ATTENTION], 0
        je no_attention
        bt dword [rbp + ENV_HFLAGS], INHIBIT_IRQ_BIT
        jc no_attention
        bt qword [rbp + ENV_EFLAGS], IF_BIT
        jc interruptible
no_attention:
        cmp dword [r9 + E_FLAGS], 0
        je run_the_block
flagged:
        inc qword [rcx + FORCED]
        mov eax, CAUSE_FLAGGED
        jmp stop
interruptible:
        mov eax, CAUSE_INTERRUPT
        jmp stop
past_the_limit:
        mov eax, CAUSE_DEADLINE
        jmp stop
unknown:
        mov eax, CAUSE_UNKNOWN
stop:
        mov [rcx + ENV], rbp
        mov [rcx + CAUSE], rax
        mov rax, [rcx + EMU_STOP]
        sub rsp, 8
        call rax
        add rsp, 8
        ret

; void edge_hook(uc_engine *uc, uc_tb *cur, uc_tb *prev, State *state)
; uc_tb is { uint64_t pc; uint16_t icount; uint16_t size }
align 16
edge_hook:
        push rbx
        push r12
        sub rsp, 8
        mov rbx, rcx
        mov rdi, [rsi]                  ; pc
        movzx edx, word [rsi + 8]       ; icount
        movzx esi, word [rsi + 10]      ; size
        mov r9, GOLDEN
        imul r9, rdi
        shr r9, 64 - ENTRIES_SHIFT
        shl r9, 4
        mov r8, [rbx + TABLE]
        lea r10, [r8 + (16 << ENTRIES_SHIFT)]
        add r9, r8
next_slot:
        cmp qword [r9 + E_PC], 0
        je free_slot
        cmp [r9 + E_PC], rdi
        jne another
        cmp [r9 + E_SIZE], si
        je have_slot
another:
        add r9, 16
        cmp r9, r10
        jb next_slot
        mov r9, r8
        jmp next_slot
free_slot:
        mov rax, [rbx + USED]
        cmp rax, (1 << ENTRIES_SHIFT) * 3 / 4
        jae table_full
        inc qword [rbx + USED]
        mov [r9 + E_PC], rdi
        mov [r9 + E_SIZE], si
        mov rax, [rbx + LOG_USED]
        cmp rax, [rbx + LOG_SIZE]
        jae have_slot
        mov r11, [rbx + BLOCK_LOG]
        shl rax, 4
        mov [r11 + rax], rdi
        mov [r11 + rax + 8], si
        mov [r11 + rax + 10], dx
        inc qword [rbx + LOG_USED]
have_slot:
        mov [r9 + E_ICOUNT], dx
        mov r12, r9
        call [rbx + NEW_BLOCK]
        mov [r12 + E_FLAGS], eax
        add rsp, 8
        pop r12
        pop rbx
        ret
table_full:
        mov dword [rbx + CAUSE], CAUSE_FULL
        add rsp, 8
        pop r12
        pop rbx
        ret

align 8
end_of_image:
