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

; struct State, all fields 64 bit. What the code in a block reaches lies in its first 128 bytes.
%define LEFT       0x00   ; instructions until the next stop is due, signed; TARGET - LEFT were executed, whole blocks
%define TARGET     0x08   ; stop before the next block once so many were executed
%define LIMIT      0x10   ; the real deadline, while TARGET is 0 to force the slow path
%define ATTENTION  0x18   ; 1: an interrupt is pending, stop as soon as EFLAGS.IF allows it
%define SLOW       0x20   ; slow_hook
%define LAST_ENTRY 0x28   ; table entry of the block that runs now
%define CAUSE      0x30   ; why the hook stopped the emulation
%define ENV        0x38   ; CPUX86State
%define TABLE      0x40   ; block table: 2^18 entries of 32 bytes
%define USED       0x48   ; entries in use
%define EMU_STOP   0x50   ; uc_emu_stop
%define NEW_BLOCK  0x58   ; int32_t (*)(uint64_t pc, uint32_t size, uint32_t icount), returns the flags of the block
%define BLOCK_LOG  0x60   ; 16 bytes for each block in the order of first translation: pc, size, icount, what ran before it
%define LOG_USED   0x68
%define LOG_SIZE   0x70
%define UC         0x78   ; uc_engine
%define FORCED     0x80   ; number of blocks that were entered with a flag set
%define VMEM_READ  0x88   ; uc_vmem_read
%define BUFFER     0x90   ; 64 KiB for the bytes of a block
%define ALWAYS     0x98   ; not 0: NEW_BLOCK is called for every block
%define WATCHES    0xa0   ; 8 linear addresses of blocks that NEW_BLOCK is called for; 0 is none
%define MATCHES    0xe0   ; 2 pairs (mask, value): NEW_BLOCK is called if pc & mask == value; mask 0 is none
%define UNKNOWN_SIZE 0x100 ; size in bytes of the block that stopped with CAUSE_UNKNOWN
%define HOST_PC    0x108  ; in the translation that called the block hook when it last stopped
%define CHECK_EXIT 0x110  ; helper_check_exit_request
%define REWRITE    0x118  ; 1: blocks may be rewritten to count themselves; State and block table lie below 2 GiB
%define REWRITTEN  0x120  ; translations that were
%define REFUSED    0x128  ; translations that do not call the hook as expected
%define EVENT      0x130  ; an entry that stands for an interrupt or exception, whose handler comes next
%define FAST       0x150  ; CPUTLB.f, the soft TLB's tables; 0 when they are laid out in another way
%define STACK_LOG  0x158  ; 8 bytes for each block: what lay at the top of the kernel's stack, 0 when that is not known

; struct Entry
%define E_PC     0        ; 64 bit
%define E_SIZE   8        ; 16 bit, bytes
%define E_ICOUNT 10       ; 16 bit signed, what the count grows by: instructions (or a correction, see Machine._unknown)
%define E_FLAGS  12       ; 16 bit: bit 0 translate anew, bit 1 watched address
%define E_AGE    14       ; 16 bit, how often this block was translated
%define E_COUNT  16       ; 64 bit, how often this block was entered; the sign bit sends code that counts itself to slow_hook
%define E_SLOW_BIT 63
%define E_ORIGIN 24       ; 32 bit, what the log of a block says that runs behind this one: number in the log + 1, or an event
%define ENTRY    32
%define ENTRY_SHIFT 5

%define ENTRIES_SHIFT 18
%define GOLDEN 0x9E3779B97F4A7C15
%define ENV_RSP 32
%define ENV_EFLAGS 136
%define IF_BIT 9
%define ENV_HFLAGS 176
%define CPL_BITS 3
%define CS64_BIT 15
%define PAGE 0x1000
; struct CPUTLBDescFast and CPUTLBEntry (efishim/machine/softtlb.py)
%define F_MASK   0
%define F_TABLE  8
%define F_SIZE   16
%define T_READ   0
%define T_ADDEND 32
%define T_SHIFT  6        ; from an address to its entry's offset
%define INHIBIT_IRQ_BIT 3   ; the instruction after STI or MOV SS
%define ENV_EXIT (-16)      ; icount_decr, which lies in front of CPUX86State: negative when somebody asked for a stop

%define CAUSE_DEADLINE  1
%define CAUSE_INTERRUPT 2
%define CAUSE_FLAGGED   3
%define CAUSE_UNKNOWN   4
%define CAUSE_FULL      5

offsets:
        dq block_hook
        dq edge_hook
        dq slow_hook
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
        mov r8, [rsp]
        cmp qword [rcx + REWRITE], 0
        jne rewrite
enter:
        cmp dword [rbp + ENV_EXIT], 0
        js leave_it                     ; it is looked for behind this call: the block does not run, and is entered again
; r9 entry, rcx State, r8 in the translation: count the block, or stop before it
consider_the_block:
        cmp qword [rcx + LEFT], 0
        jle consider_stopping
        cmp word [r9 + E_FLAGS], 0
        jne flagged
run_the_block:
        movsx rax, word [r9 + E_ICOUNT]
        inc qword [r9 + E_COUNT]
        sub [rcx + LEFT], rax
        mov [rcx + LAST_ENTRY], r9
leave_it:
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
        mov r11, [rcx + TARGET]
        sub r11, [rcx + LEFT]
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
        mov r8, [rsp]
        mov [rcx + UNKNOWN_SIZE], rdx
        mov eax, CAUSE_UNKNOWN
stop:
        mov [rcx + HOST_PC], r8
        mov [rcx + ENV], rbp
        mov [rcx + CAUSE], rax
        mov rax, [rcx + EMU_STOP]
        sub rsp, 8
        call rax
        add rsp, 8
        ret

; Blocks that count themselves
;
; A block begins with two calls: to this hook, and to Unicorn's check for a stop request (gen_tb_start). When every byte of both
; is what is expected, they are replaced by code that does the same without a call, unless something is due:
;
;           mov edx, entry
;           mov ecx, state
;           inc qword [rdx + E_COUNT]
;           js slow                     ; flagged, or the count in this code is not the right one any more
;           sub qword [rcx + LEFT], icount
;           js slow
;           cmp dword [rbp + ENV_EXIT], 0
;           js slow
;           mov [rcx + LAST_ENTRY], edx
;           jmp end
;     slow: call [rcx + SLOW]
;     end:
;
; Registers that a call may change are free there.
%define NEW_CODE_SIZE 37
%define ICOUNT_AT 20
%define SLOW_AT 34

; rdi engine, rsi address, edx size, rcx State, r9 entry, r8 in the translation, behind the call
rewrite:
        cmp dword [rbp + ENV_EXIT], 0
        js enter
        cmp qword [rcx + LEFT], 0
        jle enter
        cmp word [r9 + E_FLAGS], 0
        jne enter
        bt qword [r9 + E_COUNT], E_SLOW_BIT
        jc enter
        movsx eax, word [r9 + E_ICOUNT]
        dec eax
        cmp eax, 126
        ja enter                        ; not an 8-bit immediate, or a correction
        ; Backwards: the call,
        lea r10, [r8 - 5]
        cmp byte [r10], 0xe8            ; call rel32
        je backwards
        dec r10
        cmp word [r10], 0x15ff          ; call [rip + rel32]
        jne refuse
backwards:
        cmp byte [r10 - 5], 0xb9        ; mov ecx, state
        jne refuse
        cmp [r10 - 4], ecx
        jne refuse
        cmp byte [r10 - 10], 0xba       ; mov edx, size
        jne refuse
        cmp [r10 - 9], edx
        jne refuse
        sub r10, 10
        mov eax, esi
        cmp rax, rsi
        jne not_esi
        cmp byte [r10 - 5], 0xbe        ; mov esi, address
        jne refuse
        cmp [r10 - 4], esi
        jne refuse
        sub r10, 5
        jmp first_engine
not_esi:
        movsxd rax, esi
        cmp rax, rsi
        jne not_signed
        mov eax, [r10 - 7]              ; mov rsi, simm32
        and eax, 0xffffff
        cmp eax, 0xc6c748
        jne refuse
        cmp [r10 - 4], esi
        jne refuse
        sub r10, 7
        jmp first_engine
not_signed:
        cmp word [r10 - 10], 0xbe48     ; mov rsi, imm64
        jne refuse
        cmp [r10 - 8], rsi
        jne refuse
        sub r10, 10
first_engine:
        cmp rdi, [rcx + UC]
        jne refuse
        mov eax, edi
        cmp rax, rdi
        jne not_edi
        cmp byte [r10 - 5], 0xbf        ; mov edi, engine
        jne refuse
        cmp [r10 - 4], edi
        jne refuse
        cmp byte [r8], 0xbf
        jne refuse
        cmp [r8 + 1], edi
        jne refuse
        sub r10, 5
        lea r11, [r8 + 5]
        jmp second_call
not_edi:
        cmp word [r10 - 10], 0xbf48     ; mov rdi, imm64
        jne not_imm64
        cmp [r10 - 8], rdi
        jne refuse
        sub r10, 10
        jmp second_engine
not_imm64:
        mov eax, [r10 - 7]              ; lea rdi, [rip + rel32]
        and eax, 0xffffff
        cmp eax, 0x3d8d48
        jne refuse
        movsxd rax, dword [r10 - 4]
        add rax, r10
        cmp rax, rdi
        jne refuse
        sub r10, 7
second_engine:
        lea r11, [r8 + 10]
        cmp word [r8], 0xbf48
        jne second_lea
        cmp [r8 + 2], rdi
        jne refuse
        jmp second_call
second_lea:
        lea r11, [r8 + 7]
        mov eax, [r8]
        and eax, 0xffffff
        cmp eax, 0x3d8d48
        jne refuse
        movsxd rax, dword [r8 + 3]
        add rax, r11
        cmp rax, rdi
        jne refuse
second_call:
        cmp word [r11], 0xf633          ; xor esi, esi
        je have_zero
        cmp word [r11], 0xf631
        jne refuse
have_zero:
        movsxd rax, dword [r11 + 3]
        add r11, 7
        cmp byte [r11 - 5], 0xe8        ; call rel32
        je near_check
        cmp word [r11 - 5], 0x15ff      ; call [rip + rel32]
        jne refuse
        movsxd rax, dword [r11 - 3]
        inc r11
        mov rax, [rax + r11]
        jmp have_check
near_check:
        movsxd rax, dword [r11 - 4]
        add rax, r11
have_check:
        cmp rax, [rcx + CHECK_EXIT]
        jne refuse
        ; From r10 to r11 there is room.
        mov rax, r11
        sub rax, r10
        cmp rax, NEW_CODE_SIZE
        jb refuse
        sub eax, SLOW_AT                ; the jump ends there
        mov byte [r10], 0xba            ; mov edx, entry
        mov [r10 + 1], r9d
        mov byte [r10 + 5], 0xb9        ; mov ecx, state
        mov [r10 + 6], ecx
        mov dword [r10 + 10], 0x1042ff48 ; inc qword [rdx + E_COUNT]
        mov word [r10 + 14], 0x1278     ; js slow
        mov dword [r10 + 16], 0x00698348 ; sub qword [rcx + LEFT], icount
        mov dl, [r9 + E_ICOUNT]
        mov [r10 + ICOUNT_AT], dl
        mov word [r10 + 21], 0x0b78     ; js slow
        mov dword [r10 + 23], 0x00f07d83 ; cmp dword [rbp + ENV_EXIT], 0
        mov word [r10 + 27], 0x0578     ; js slow
        mov word [r10 + 29], 0x5189     ; mov [rcx + LAST_ENTRY], edx
        mov byte [r10 + 31], LAST_ENTRY
        mov byte [r10 + 32], 0xeb       ; jmp end
        mov [r10 + 33], al
        mov word [r10 + 34], 0x51ff     ; slow: call [rcx + SLOW]
        mov byte [r10 + 36], SLOW
        ; Behind the slow path, too, the block goes on at the end.
        sub al, NEW_CODE_SIZE - SLOW_AT
        jz no_room_left
        mov byte [r10 + NEW_CODE_SIZE], 0x90 ; nop
        sub al, 2
        js no_room_left
        mov byte [r10 + NEW_CODE_SIZE], 0xeb ; jmp end
        mov [r10 + NEW_CODE_SIZE + 1], al
no_room_left:
        inc qword [rcx + REWRITTEN]
        mov [rsp], r11
        jmp run_the_block
refuse:
        inc qword [rcx + REFUSED]
        jmp enter

; From a block that counts itself: rdx entry, rcx State
align 16
slow_hook:
        mov r9, rdx
        mov r8, [rsp]
        dec qword [r9 + E_COUNT]
        js as_it_was
        movsx rax, byte [r8 - (NEW_CODE_SIZE - ICOUNT_AT)]
        add [rcx + LEFT], rax
as_it_was:
        push rcx
        cmp dword [rbp + ENV_EXIT], 0
        js stop_asked
        mov rdi, [rcx + UC]
        call consider_the_block
        cmp dword [rbp + ENV_EXIT], 0
        js stop_asked
        pop rcx
        ret
stop_asked:
        pop rcx
        mov rdi, [rcx + UC]
        xor esi, esi
        sub rsp, 8
        call [rcx + CHECK_EXIT]         ; leaves the block
        add rsp, 8
        ret

; void edge_hook(uc_engine *uc, uc_tb *cur, uc_tb *prev, State *state)
; uc_tb is { uint64_t pc; uint16_t icount; uint16_t size }
;
; Enters the block into the table and the log. NEW_BLOCK is asked only about blocks that may matter: ring 3, watched
; addresses, and bytes that look like an instruction which the machine executes itself (efishim/machine/intercepts.py).
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
        ; A block is translated when it is about to run for the first time: the one that began last leads to it.
        xor edx, edx
        mov rcx, [rbx + LAST_ENTRY]
        test rcx, rcx
        jz from_nowhere
        mov edx, [rcx + E_ORIGIN]
from_nowhere:
        mov [r11 + rax + 12], edx
        call top_of_stack
        mov r11, [rbx + STACK_LOG]
        mov rax, [rbx + LOG_USED]
        mov [r11 + 8 * rax], rdx
        inc rax
        mov [rbx + LOG_USED], rax
        mov [r9 + E_ORIGIN], eax
have_slot:
        mov r12, r9
        cmp word [r12 + E_AGE], 0
        je first_translation
        cmp [r12 + E_ICOUNT], r15w
        je first_translation
        bts qword [r12 + E_COUNT], E_SLOW_BIT ; another translation may have the old number in its code
first_translation:
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
        test ax, ax
        jz edge_done
        bts qword [r12 + E_COUNT], E_SLOW_BIT ; another translation may count itself
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

; rbx State. Returns in rdx the word at the guest's RSP, if the kernel runs and the soft TLB knows the page: a block that was
; called has its return address there, which the call just stored. Nothing is looked up, so nothing can fault. May change rax, rcx,
; rsi, rdi and r11.
top_of_stack:
        xor edx, edx
        mov r11, [rbx + FAST]
        test r11, r11
        jz no_stack
        mov rax, [rbx + ENV]
        test rax, rax
        jz no_stack
        test dword [rax + ENV_HFLAGS], CPL_BITS
        jnz no_stack
        mov rdi, [rax + ENV_RSP]
        mov rsi, rdi
        and rsi, -PAGE
        lea rcx, [rdi + 7]
        bt dword [rax + ENV_HFLAGS], CS64_BIT
        jc wide_stack
        lea rcx, [rdi + 3]
wide_stack:
        xor rcx, rsi
        test rcx, -PAGE
        jnz no_stack                    ; it reaches into the next page
        mov eax, [rax + ENV_HFLAGS]     ; CS64_BIT is in AH
        mov al, 3                       ; MMU modes: kernel with SMAP, user, kernel
next_mode:
        mov rcx, rdi
        shr rcx, T_SHIFT
        and rcx, [r11 + F_MASK]
        add rcx, [r11 + F_TABLE]
        cmp [rcx + T_READ], rsi         ; with a flag in it, it is no plain memory
        jne another_mode
        add rdi, [rcx + T_ADDEND]
        mov edx, [rdi]
        bt eax, CS64_BIT
        jnc no_stack
        mov rdx, [rdi]
no_stack:
        ret
another_mode:
        add r11, F_SIZE
        dec al
        jnz next_mode
        ret

align 8
end_of_image:
