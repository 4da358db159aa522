; Watching guest-physical memory under Unicorn on x86-64 hosts (System V ABI).
;
; Unicorn looks up a translation for each load and store in a table (the soft TLB), and asks CPUClass.tlb_fill when it finds
; none. `fill` stands in for that function. After the original has made the entry, an entry of a watched page is marked
; invalid again: the access in flight goes through, and the next one comes here, too. QEMU does the same to regions
; smaller than a page. All other pages run as they always do.
;
; The file is a flat binary; it starts with a table of offsets. Each observer has its own copy in memory, so that the
; variables can lie in it. efishim/machine/access_observer.py has the same layout.

bits 64
default rel
org 0

; struct State of host_x86_64.asm
%define LEFT       0x00   ; TARGET - LEFT instructions were executed
%define TARGET     0x08
%define LAST_ENTRY 0x28   ; begins with the address of the block

; CPUX86State (QEMU 5.0.1, target/i386/cpu.h)
%define ENV_EIP     128
%define ENV_CC_OP   168
%define ENV_HFLAGS  176
%define ENV_CS_BASE 216
%define CS64_BIT    15

; CPUTLBEntry (accel/tcg, exec/cpu-defs.h); six bits of size
%define TLB_READ   0
%define TLB_WRITE  8
%define TLB_PADDR  24
%define TLB_INVALID 0x800
%define MMU_DATA_STORE 1

; struct Range, 24 bytes, sorted by address, closed by a range that starts at the end of the address space
%define R_START  0
%define R_END    8        ; first address behind it
%define R_MASK   16       ; and-mask for the address that is noted
%define R_SIZE   24

; struct Row, 64 bytes
%define W_ADDRESS 0       ; guest-physical, after R_MASK
%define W_PC      8       ; linear address of the instruction
%define W_WHAT    16      ; size in bytes; bit 32 says store
%define W_BLOCK   24      ; linear address of the block
%define W_LINEAR  32      ; linear address of the first access
%define W_COUNT   40
%define W_FIRST   48      ; instruction counts
%define W_LAST    56

offsets:
        dq fill
        dq variables
        dq end_of_image

align 8
variables:
original:     dq 0        ; bool (*)(CPUState *, vaddr, int size, int type, int mmu_idx, bool probe, uintptr_t retaddr)
restore:      dq 0        ; bool cpu_restore_state(CPUState *, uintptr_t host_pc, bool will_exit)
env:          dq 0        ; CPUX86State
fast:         dq 0        ; CPUTLBDescFast[3]: mask, table
state:        dq 0        ; struct State
map:          dq 0        ; 16 bit a page: 0, or 1 + index of the first range that reaches into it
map_pages:    dq 0
ranges:       dq 0
rows:         dq 0
rows_used:    dq 0
rows_limit:   dq 0
index:        dq 0        ; 32 bit a slot: 0, or 1 + index of a row
index_mask:   dq 0        ; slots - 1
dropped:      dq 0        ; accesses without a row
mismatch:     dq 0        ; entries that were not where they should be
whole_ra:     dq 0        ; the access noted last: what is unaligned comes again, in two or more parts with the same
whole_insns:  dq 0        ; return address
whole_addr:   dq 0
whole_end:    dq 0
second_done:  dq 0        ; its bytes in the second page have been noted, too

; rbx CPUState, r12 address, r13 size, r14 type, r15 mmu index, rbp probe, later the return address
align 16
fill:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov rbx, rdi
        mov r12, rsi
        mov r13d, edx
        mov r14d, ecx
        mov r15d, r8d
        movzx ebp, r9b
        push qword [rsp + 56]           ; the return address, the seventh argument
        call [original]
        add rsp, 8
        test al, al
        jz done
        shl r15d, 4
        mov rax, [fast]
        mov rdx, r12
        shr rdx, 6
        and rdx, [rax + r15]
        add rdx, [rax + r15 + 8]        ; the entry
        ; The type says which of the three addresses must be this page's.
        mov rax, [rdx + 8 * r14]
        xor rax, r12
        shr rax, 12
        jnz not_the_entry
        mov r9, [rdx + TLB_PADDR]
        mov rax, r9
        shr rax, 12
        cmp rax, [map_pages]
        jae succeeded
        mov rcx, [map]
        movzx r8d, word [rcx + 2 * rax]
        test r8d, r8d
        jnz watched_page
succeeded:
        mov eax, 1
done:
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

watched_page:
        or qword [rdx + TLB_READ], TLB_INVALID
        or qword [rdx + TLB_WRITE], TLB_INVALID
        cmp r14d, MMU_DATA_STORE
        ja succeeded
        test ebp, ebp
        jnz succeeded
        test r13d, r13d
        jz succeeded
        mov rbp, [rsp + 56]
        mov r11, [state]
        mov r10, [r11 + TARGET]
        sub r10, [r11 + LEFT]
        cmp rbp, [whole_ra]
        jne not_a_part
        cmp r10, [whole_insns]
        jne not_a_part
        mov rax, [whole_addr]
        mov rcx, r12
        xor rcx, rax
        shr rcx, 12
        jz same_page
        or rax, 0xfff
        inc rax                         ; the second page
        mov rcx, r12
        xor rcx, rax
        shr rcx, 12
        jnz not_a_part
        cmp rax, [whole_end]
        jae not_a_part
        cmp qword [second_done], 0
        jne succeeded
        mov qword [second_done], 1
        mov r12, rax
        mov r13, [whole_end]
        sub r13, rax
        jmp locate
same_page:
        and rax, ~7                     ; loads begin at the boundary before
        cmp r12, rax
        jb before_it
        cmp r12, [whole_end]
        jb succeeded                    ; noted as a whole
        jmp not_a_part
before_it:
        lea rcx, [r12 + r13]            ; an unaligned store looks at the page of its end as if that were another
        cmp rcx, [whole_end]
        je succeeded
not_a_part:
        mov [whole_ra], rbp
        mov [whole_insns], r10
        mov [whole_addr], r12
        lea rcx, [r12 + r13]
        mov [whole_end], rcx
        mov qword [second_done], 0
        mov rax, r12
        and eax, 0xfff
        add rax, r13
        sub rax, 0x1000
        jbe locate
        sub r13, rax

; r9 physical page, r12 linear address, r13 bytes within this page, r8 range index + 1
locate:
        mov rax, r12
        and eax, 0xfff
        or r9, rax
        lea rcx, [r9 + r13]
        lea r8, [r8 + 2 * r8]
        shl r8, 3
        add r8, [ranges]
        sub r8, R_SIZE
next_range:
        cmp [r8 + R_START], rcx
        jae succeeded
        cmp [r8 + R_END], r9
        ja in_range
        add r8, R_SIZE
        jmp next_range
in_range:
        and r9, [r8 + R_MASK]
        mov r15, r9                     ; address
        shl r14, 32
        or r13, r14                     ; what
        ; Whose access? The processor's own fields are stored per block; the emulator knows the instruction.
        mov r14, [env]
        push qword [r14 + ENV_EIP]
        mov eax, [r14 + ENV_CC_OP]
        push rax
        sub rsp, 8
        mov rdi, rbx
        mov rsi, rbp
        xor edx, edx
        call [restore]
        add rsp, 8
        mov rcx, [r14 + ENV_EIP]
        pop rdx
        mov [r14 + ENV_CC_OP], edx
        pop qword [r14 + ENV_EIP]
        mov r11, [state]
        test al, al
        jz of_the_block
        add rcx, [r14 + ENV_CS_BASE]
        bt dword [r14 + ENV_HFLAGS], CS64_BIT
        jc have_pc
        mov ecx, ecx
        jmp have_pc
of_the_block:
        mov rcx, [r11 + LAST_ENTRY]
        mov rcx, [rcx]
have_pc:
        ; r15 address, rcx pc, r13 what: find the row
        mov rax, r15
        mov rdx, 0x9E3779B97F4A7C15
        imul rax, rdx
        add rax, rcx
        imul rax, rdx
        add rax, r13
        imul rax, rdx
        shr rax, 32
        mov rbp, [rows]
        mov rsi, [index]
probe_slot:
        and rax, [index_mask]
        mov edi, [rsi + 4 * rax]
        test edi, edi
        jz new_row
        dec edi
        shl rdi, 6
        add rdi, rbp
        cmp [rdi + W_ADDRESS], r15
        jne next_slot
        cmp [rdi + W_PC], rcx
        jne next_slot
        cmp [rdi + W_WHAT], r13
        je have_row
next_slot:
        inc rax
        jmp probe_slot
new_row:
        mov rdx, [rows_used]
        cmp rdx, [rows_limit]
        jae full
        inc rdx
        mov [rows_used], rdx
        mov [rsi + 4 * rax], edx
        lea rdi, [rdx - 1]
        shl rdi, 6
        add rdi, rbp
        mov [rdi + W_ADDRESS], r15
        mov [rdi + W_PC], rcx
        mov [rdi + W_WHAT], r13
        mov [rdi + W_LINEAR], r12
        mov rax, [r11 + LAST_ENTRY]
        mov rax, [rax]
        mov [rdi + W_BLOCK], rax
        mov rax, [r11 + TARGET]
        sub rax, [r11 + LEFT]
        mov [rdi + W_FIRST], rax
have_row:
        inc qword [rdi + W_COUNT]
        mov rax, [r11 + TARGET]
        sub rax, [r11 + LEFT]
        mov [rdi + W_LAST], rax
        jmp succeeded
full:
        inc qword [dropped]
        jmp succeeded

not_the_entry:
        inc qword [mismatch]
        jmp succeeded

align 8
end_of_image:
