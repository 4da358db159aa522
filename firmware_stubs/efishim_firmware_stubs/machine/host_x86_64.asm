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
%define TABLE      0x40   ; block table: 2^18 entries of 32 bytes
%define USED       0x48   ; entries in use
%define EMU_STOP   0x50   ; uc_emu_stop
%define NEW_BLOCK  0x58   ; int32_t (*)(uint64_t pc, uint32_t size, uint32_t icount), returns the flags of the block
%define BLOCK_LOG  0x60   ; 16 bytes for each block in the order of first translation: pc, size, icount
%define LOG_USED   0x68
%define LOG_SIZE   0x70
%define PREV_PC    0x78   ; the block before LAST_PC
%define FORCED     0x80   ; number of blocks that were entered with a flag set
%define VMEM_READ  0x88   ; uc_vmem_read
%define BUFFER     0x90   ; 64 KiB for the bytes of a block
%define ALWAYS     0x98   ; not 0: NEW_BLOCK is called for every block
%define WATCHES    0xa0   ; 8 linear addresses of blocks that NEW_BLOCK is called for; 0 is none
%define MATCHES    0xe0   ; 2 pairs (mask, value): NEW_BLOCK is called if pc & mask == value; mask 0 is none
%define UNKNOWN_SIZE 0x100 ; size in bytes of the block that stopped with CAUSE_UNKNOWN
%define HOST_PC    0x108  ; in the translation that called the block hook when it last stopped

; struct Entry
%define E_PC     0        ; 64 bit
%define E_SIZE   8        ; 16 bit, bytes
%define E_ICOUNT 10       ; 16 bit signed, what INSNS grows by: instructions (or a correction, see Machine._unknown)
%define E_FLAGS  12       ; 16 bit: bit 0 translate anew, bit 1 watched address
%define E_AGE    14       ; 16 bit, how often this block was translated
%define E_COUNT  16       ; 64 bit, how often this block was entered
%define ENTRY    32
%define ENTRY_SHIFT 5

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
        shl r9, ENTRY_SHIFT
        add r9, [rcx + TABLE]
        cmp [r9 + E_PC], rsi
        jne look_further
        cmp [r9 + E_SIZE], dx
        jne look_further
found:
        mov r11, [rcx + INSNS]
        cmp r11, [rcx + DEADLINE]
        jae consider_stopping
        cmp word [r9 + E_FLAGS], 0
        jne flagged
run_the_block:
        movsx rax, word [r9 + E_ICOUNT]
        inc qword [r9 + E_COUNT]
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
        add r9, ENTRY
        mov rax, [rcx + TABLE]
        add rax, ENTRY << ENTRIES_SHIFT
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
        cmp word [r9 + E_FLAGS], 0
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
        mov [rcx + UNKNOWN_SIZE], rdx
        mov eax, CAUSE_UNKNOWN
stop:
        mov r8, [rsp]
        mov [rcx + HOST_PC], r8
        mov [rcx + ENV], rbp
        mov [rcx + CAUSE], rax
        mov rax, [rcx + EMU_STOP]
        sub rsp, 8
        call rax
        add rsp, 8
        ret

; void edge_hook(uc_engine *uc, uc_tb *cur, uc_tb *prev, State *state)
; uc_tb is { uint64_t pc; uint16_t icount; uint16_t size }
;
; Enters the block into the table and the log. NEW_BLOCK is asked only about blocks that may matter: ring 3, watched
; addresses, and bytes that look like an instruction which the machine executes itself (efishim/machine/sites.py).
align 16
edge_hook:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        sub rsp, 8
        mov rbp, rdi                    ; the engine
        mov rbx, rcx
        mov r13, [rsi]                  ; pc
        movzx r15d, word [rsi + 8]      ; icount
        movzx r14d, word [rsi + 10]     ; size
        mov r9, GOLDEN
        imul r9, r13
        shr r9, 64 - ENTRIES_SHIFT
        shl r9, ENTRY_SHIFT
        mov r8, [rbx + TABLE]
        lea r10, [r8 + (ENTRY << ENTRIES_SHIFT)]
        add r9, r8
next_slot:
        cmp qword [r9 + E_PC], 0
        je free_slot
        cmp [r9 + E_PC], r13
        jne another
        cmp [r9 + E_SIZE], r14w
        je have_slot
another:
        add r9, ENTRY
        cmp r9, r10
        jb next_slot
        mov r9, r8
        jmp next_slot
free_slot:
        mov rax, [rbx + USED]
        cmp rax, (1 << ENTRIES_SHIFT) * 3 / 4
        jae table_full
        inc qword [rbx + USED]
        mov [r9 + E_PC], r13
        mov [r9 + E_SIZE], r14w
        mov rax, [rbx + LOG_USED]
        cmp rax, [rbx + LOG_SIZE]
        jae have_slot
        mov r11, [rbx + BLOCK_LOG]
        shl rax, 4
        mov [r11 + rax], r13
        mov [r11 + rax + 8], r14w
        mov [r11 + rax + 10], r15w
        inc qword [rbx + LOG_USED]
have_slot:
        mov r12, r9
        mov [r12 + E_ICOUNT], r15w
        inc word [r12 + E_AGE]
        cmp qword [rbx + ALWAYS], 0
        jne ask
        mov rax, [rbx + ENV]
        test rax, rax
        jz ask
        mov eax, [rax + ENV_HFLAGS]
        and eax, 3
        cmp eax, 3
        je ask
        lea rax, [rbx + WATCHES]
        mov ecx, 8
compare_watch:
        cmp [rax], r13
        je ask
        add rax, 8
        dec ecx
        jnz compare_watch
        mov ecx, 2
compare_match:
        mov rdx, [rax]
        test rdx, rdx
        jz no_match
        and rdx, r13
        cmp rdx, [rax + 8]
        je ask
no_match:
        add rax, 16
        dec ecx
        jnz compare_match
        mov rdi, rbp
        mov rsi, r13
        mov edx, 4                      ; UC_PROT_EXEC
        mov rcx, [rbx + BUFFER]
        mov r8d, r14d
        call [rbx + VMEM_READ]
        test eax, eax
        jnz ask
        mov rsi, [rbx + BUFFER]
        lea rcx, [rsi + r14]
next_byte:
        cmp rsi, rcx
        jae plain
        movzx eax, byte [rsi]
        inc rsi
        cmp al, 0x0f
        je after_0f
        cmp al, 0xf3
        je after_f3
        cmp al, 0xe6
        jne next_byte
        cmp byte [rsi], 0xe4            ; out TRAP_PORT, al
        je ask
        jmp next_byte
after_f3:
        cmp byte [rsi], 0x90            ; pause
        je ask
        jmp next_byte
after_0f:
        movzx eax, byte [rsi]
        sub eax, 0x30                   ; wrmsr, rdtsc, rdmsr
        cmp eax, 2
        jbe ask
        cmp eax, 0xc7 - 0x30            ; rdrand, rdseed, rdpid
        je after_0fc7
        cmp eax, 0x01 - 0x30
        jne next_byte
        cmp byte [rsi + 1], 0xf9        ; rdtscp
        je ask
        cmp byte [rsi + 1], 0xc1        ; vmcall
        je ask
        cmp byte [rsi + 1], 0xd9        ; vmmcall
        je ask
        jmp next_byte
after_0fc7:
        cmp byte [rsi + 1], 0xf0
        jae ask
        jmp next_byte
plain:
        mov word [r12 + E_FLAGS], 0
        jmp edge_done
ask:
        mov rdi, r13
        mov esi, r14d
        mov edx, r15d
        call [rbx + NEW_BLOCK]
        mov [r12 + E_FLAGS], ax
        jmp edge_done
table_full:
        mov dword [rbx + CAUSE], CAUSE_FULL
edge_done:
        add rsp, 8
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

align 8
end_of_image:
