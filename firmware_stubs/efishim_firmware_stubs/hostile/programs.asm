; EFI programs that misuse the processor, the devices and the firmware, each in its own way. What becomes of them stands in
; tests/hostile/test_programs.py, which puts this file into a PE image whose entry point is the program.
;
; The file begins with its directory: 32 bytes for each program, its name padded with zeroes to 24 and its offset. An entry
; without a name ends it. A program is entered with ImageHandle in RCX and the system table in RDX (UEFI 2.10, 4.1).

bits 64
default rel
org 0

%macro PROGRAM 1
        align 16
%1:
%endmacro

%macro ENTRY 1
%defstr ENTRY_NAME %1
%%start:
        db ENTRY_NAME
        times 24 - ($ - %%start) db 0
        dq %1
%endmacro

        ENTRY returns
        ENTRY jump_self_masked
        ENTRY two_blocks_masked
        ENTRY pauses
        ENTRY halt_masked
        ENTRY halts
        ENTRY jump_zero
        ENTRY jump_mmio
        ENTRY jump_hole
        ENTRY jump_rom
        ENTRY jump_noncanonical
        ENTRY jump_top
        ENTRY grow_stack
        ENTRY stack_noncanonical
        ENTRY stack_mmio
        ENTRY stack_rom
        ENTRY idt_empty
        ENTRY idt_mmio
        ENTRY idt_noncanonical
        ENTRY idt_wraps
        ENTRY gdt_noncanonical
        ENTRY gdt_mmio
        ENTRY cr3_zero
        ENTRY cr3_mmio
        ENTRY cr3_high
        ENTRY paging_off
        ENTRY protection_off
        ENTRY efer_zero
        ENTRY cr4_ones
        ENTRY debug_registers
        ENTRY iret_garbage
        ENTRY faults_for_ever
        ENTRY million_blocks
        ENTRY self_modifying
        ENTRY apic_rearmed
        ENTRY apic_storm
        ENTRY cpuid_flood
        ENTRY mmio_flood
        ENTRY lstar_wild
        ENTRY rom_written
        ENTRY rom_written_with_sites
        ENTRY locked_mmio
        ENTRY stall_for_ever
        ENTRY pool_exhausted
        ENTRY variables
        ENTRY events
        ENTRY tables
        ENTRY timer_storm
        ENTRY exit_nonsense
        ENTRY stubs_overwritten
        ENTRY tables_overwritten
        ENTRY memory_filled
        ENTRY page_tables_zeroed
        ENTRY traps_after_exit
        ENTRY services_after_exit
        ENTRY traps_compat
        ENTRY into_a_stub
        ENTRY stub_noncanonical
        ENTRY stub_mmio
        ENTRY wild_calls
        ENTRY all_ports
        ENTRY all_msrs
        times 32 db 0

; returns at once
PROGRAM returns
        xor eax, eax
        ret

; a jump to itself, interrupts off
PROGRAM jump_self_masked
        cli
        jmp $

; two blocks without an end, interrupts off
PROGRAM two_blocks_masked
        cli
.a:
        nop
        test eax, eax
        jz .b
.b:
        jmp .a

; PAUSE for ever
PROGRAM pauses
.a:
        pause
        jmp .a

; HLT with interrupts off
PROGRAM halt_masked
        cli
.a:
        hlt
        jmp .a

; HLT for ever
PROGRAM halts
.a:
        hlt
        jmp .a

; a call through a null pointer
PROGRAM jump_zero
        xor eax, eax
        jmp rax

; runs the local APIC
PROGRAM jump_mmio
        mov eax, 0xfee00000
        jmp rax

; runs an address without memory
PROGRAM jump_hole
        mov eax, 0xd0000000
        jmp rax

; runs the ROM, which is all ones
PROGRAM jump_rom
        mov eax, 0xf0000
        jmp rax

; runs a non-canonical address
PROGRAM jump_noncanonical
        mov rax, 0x8000000000000000
        jmp rax

; runs the last byte of the address space
PROGRAM jump_top
        mov rax, -1
        jmp rax

; recursion without an end
PROGRAM grow_stack
.a:
        call .a

; a non-canonical stack
PROGRAM stack_noncanonical
        mov rsp, 0x8000000000000000
        push rax

; a stack in a hole, and then an exception
PROGRAM stack_mmio
        mov rsp, 0xd0001000
        push rax
        ud2

; a stack in ROM
PROGRAM stack_rom
        mov rsp, 0xf1000
        push rax
        ud2

; an IDT without a gate
PROGRAM idt_empty
        lidt [.z]
        ud2
.z:
        dw 0
        dq 0

; an IDT in device registers
PROGRAM idt_mmio
        lidt [.z]
        ud2
.z:
        dw 0xfff
        dq 0xfee00000

; an IDT of the full size at a non-canonical address
PROGRAM idt_noncanonical
        lidt [.z]
        int 0x80
.z:
        dw 0xffff
        dq 0x8000000000000000

; an IDT that wraps around
PROGRAM idt_wraps
        lidt [.z]
        ud2
.z:
        dw 0xffff
        dq -0x60

; a GDT at a non-canonical address
PROGRAM gdt_noncanonical
        lgdt [.z]
        mov ax, 8
        mov ds, ax
        ud2
.z:
        dw 0xffff
        dq 0x8000000000000000

; a GDT in device registers
PROGRAM gdt_mmio
        lgdt [.z]
        mov ax, 8
        mov ds, ax
        ud2
.z:
        dw 0xffff
        dq 0xfee00000

; page tables at zero
PROGRAM cr3_zero
        xor eax, eax
        mov cr3, rax
        nop
        ud2

; page tables in device registers
PROGRAM cr3_mmio
        mov eax, 0xfee00000
        mov cr3, rax
        nop
        ud2

; page tables above all memory
PROGRAM cr3_high
        mov rax, 0x000ffffffffff000
        mov cr3, rax
        nop
        ud2

; no paging any more
PROGRAM paging_off
        mov rax, cr0
        btr rax, 31
        mov cr0, rax
        nop
        ud2

; no protected mode, but paging
PROGRAM protection_off
        mov rax, cr0
        btr rax, 0
        mov cr0, rax
        nop
        ud2

; no EFER
PROGRAM efer_zero
        mov ecx, 0xc0000080
        xor eax, eax
        xor edx, edx
        wrmsr
        nop
        ud2

; all bits of CR4
PROGRAM cr4_ones
        mov rax, -1
        mov cr4, rax
        nop
        ud2

; all bits of the debug registers
PROGRAM debug_registers
        mov rax, -1
        mov dr7, rax
        mov dr0, rax
        mov dr6, rax
        nop
        ud2

; IRET to nothing that exists
PROGRAM iret_garbage
        push -1
        push -1
        push -1
        push -1
        push -1
        iretq

; a page fault handler that page-faults on a stack of its own
PROGRAM faults_for_ever
        cli
        lea rdi, [.tss]
        lea rax, [.stk+4000]
        mov [rdi+0x24], rax
        lea rax, [.gdt]
        mov [.gdtr+2], rax
        lgdt [.gdtr]
        sidt [rsp-16]
        mov rbx, [rsp-14]
        lea rax, [.gdt+16]
        lea rcx, [.tss]
        mov word [rax], 0x67
        mov [rax+2], cx
        shr rcx, 16
        mov [rax+4], cl
        mov byte [rax+5], 0x89
        mov byte [rax+6], 0
        shr rcx, 8
        mov [rax+7], cl
        mov ax, 16
        ltr ax
        add rbx, 14*16
        mov word [rbx], 0
        mov byte [rbx+4], 1
        mov word [rbx+6], 0
        mov dword [rbx+8], 0x7000
        mov rax, 0x700000000000
        jmp rax
        align 16
.gdtr:
        dw 0x7f
        dq 0
        align 16
.gdt:
        dq 0, 0, 0, 0, 0, 0, 0x00CF93000000FFFF, 0x00AF9A000000FFFF
        dq 0, 0
.tss:
        times 128 db 0
        align 16
.stk:
        times 4096 db 0

; half a million blocks, more than the block table holds, made where the file ends
PROGRAM million_blocks
        mov ebx, 2
.again:
        lea rdi, [end_of_file]
        mov rdx, rdi
        mov ecx, 250000
        mov eax, 0x00eb                 ; jmp to the next instruction
        rep stosw
        mov byte [rdi], 0xc3
        call rdx
        dec ebx
        jnz .again
        xor eax, eax
        ret

; changes an instruction before each run
PROGRAM self_modifying
        mov ecx, 200000
.a:
        lea rax, [.p]
        inc dword [rax+1]
        call .p
        loop .a
        ret
.p:
        mov eax, 0
        ret

; plans and cancels timers
PROGRAM apic_rearmed
        cli
        mov ebx, 300000
        mov edx, 0xfee00000
        mov dword [rdx+0x3e0], 0
        mov dword [rdx+0x320], 0x40
.a:
        mov dword [rdx+0x380], -1
        dec ebx
        jnz .a
        ret

; a timer interrupt every nanosecond
PROGRAM apic_storm
        mov edx, 0xfee00000
        sidt [rsp-16]
        mov rdi, [rsp-14]
        lea rax, [.h]
        add rdi, 0x400
        mov [rdi], ax
        shr rax, 16
        mov [rdi+6], ax
        shr rax, 16
        mov [rdi+8], eax
        mov dword [rdx+0xf0], 0x1ff
        mov dword [rdx+0x3e0], 0xb
        mov dword [rdx+0x320], 0x20040
        mov dword [rdx+0x380], 1
.a:
        inc rbx
        jmp .a
.h:
        mov dword [rdx+0xb0], 0
        iretq

; 400,000 CPUID leaves
PROGRAM cpuid_flood
        mov esi, 400000
.a:
        mov eax, esi
        mov ecx, esi
        cpuid
        dec esi
        jnz .a
        ret

; 400,000 addresses without a device
PROGRAM mmio_flood
        mov esi, 400000
        mov edi, 0xd0000000
.a:
        mov al, [rdi]
        add rdi, 9
        dec esi
        jnz .a
        ret

; SYSCALL to a non-canonical address
PROGRAM lstar_wild
        mov ecx, 0xc0000082
        mov eax, 1
        mov edx, 0x80000000
        wrmsr
        mov ecx, 0xc0000080
        rdmsr
        or eax, 1
        wrmsr
        mov ecx, 0xc0000081
        mov edx, 0xffff
        wrmsr
        syscall

; fills ROM and reads it
PROGRAM rom_written
        mov edi, 0xe0000
        mov ecx, 0x2000
        mov al, 0x90
        rep stosb
        mov eax, [abs 0xe0000]
        ret

; stores to ROM next to RDTSC
PROGRAM rom_written_with_sites
        mov edi, 0xe0000
        xor ecx, ecx
        xor ebx, ebx
.a:
        inc ebx
        mov [rdi], eax
        add ebx, 2
        rdtsc
        mov [rdi+8], rax
        add ebx, 4
        add rdi, 16
        inc ecx
        cmp ecx, 1000
        jb .a
        mov eax, ebx
        ret

; locked instructions on device registers
PROGRAM locked_mmio
        mov edi, 0xfee00080
        lock xadd [rdi], eax
        lock cmpxchg16b [rdi]
        ret

; Stall for 2**64 us
PROGRAM stall_for_ever
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rcx, -1
        call [rbx+248]
        ret

; takes all memory
PROGRAM pool_exhausted
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
.a:
        mov ecx, 2
        mov edx, 0x100000
        lea r8, [rsp+0x40]
        call [rbx+64]
        test rax, rax
        jz .a
        add rsp, 0x58
        ret

; sets variables until it may not
PROGRAM variables
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rsi, [r13+88]
        mov edi, 0
.a:
        inc edi
        lea rcx, [.nm]
        mov eax, edi
        and eax, 0xfff
        or eax, 0x1000
        mov [.nm], ax
        mov eax, edi
        shr eax, 12
        or eax, 0x1000
        mov [.nm+2], ax
        lea rdx, [.gd]
        mov r8d, 7
        mov r9d, 1024
        lea rax, [.nm]
        mov [rsp+32], rax
        call [rsi+88]
        test rax, rax
        jz .a
        add rsp, 0x58
        ret
        align 8
.nm:
        dw 0, 0, 0, 0
.gd:
        dq 1, 2
        times 1100 db 0

; a notification that signals its own event
PROGRAM events
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov ecx, 0x200
        mov edx, 8
        lea r8, [.h]
        xor r9d, r9d
        lea rax, [.ev]
        mov [rsp+32], rax
        mov [.bsp], rbx
        call [rbx+80]
        mov rcx, [.ev]
        call [rbx+104]
        add rsp, 0x58
        ret
.h:
        sub rsp, 0x28
        mov rbx, [.bsp]
        mov rcx, [.ev]
        call [rbx+104]
        add rsp, 0x28
        ret
        align 8
.ev:
        dq 0
.bsp:
        dq 0

; installs configuration tables until it may not
PROGRAM tables
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
.a:
        lea rcx, [.gd]
        inc qword [.gd]
        mov edx, 0x1234
        call [rbx+192]
        test rax, rax
        jz .a
        add rsp, 0x58
        ret
        align 8
.gd:
        dq 1, 2

; a firmware timer every 100 ns
PROGRAM timer_storm
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov ecx, 0x80000200
        mov edx, 8
        lea r8, [.h]
        xor r9d, r9d
        lea rax, [.ev]
        mov [rsp+32], rax
        call [rbx+80]
        mov rcx, [.ev]
        mov edx, 1
        mov r8d, 1
        call [rbx+88]
        mov ecx, 1000000
        call [rbx+248]
        mov eax, [.cnt]
        add rsp, 0x58
        ret
.h:
        inc dword [.cnt]
        ret
        align 8
.cnt:
        dq 0
.ev:
        dq 0

; Exit with wild data
PROGRAM exit_nonsense
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rcx, r12
        mov rdx, -1
        mov r8, -1
        mov r9, -1
        call [rbx+216]
        ret

; overwrites the firmware's code
PROGRAM stubs_overwritten
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rdi, [rbx+248]
        mov ecx, 0x800
        mov al, 0x90
        sub rdi, 0x400
        rep stosb
        call [rbx+248]
        ret

; overwrites the system table
PROGRAM tables_overwritten
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rdi, r13
        mov ecx, 0x400
        mov rax, -1
        rep stosb
        mov rdi, rbx
        mov ecx, 0x178
        rep stosb
        add rsp, 0x58
        ret

; fills all memory with HLT
PROGRAM memory_filled
        cli
        mov edi, 0x1000
        mov ecx, 0x7000000
        mov al, 0xf4
        rep stosb
        ret

; zeroes the page tables
PROGRAM page_tables_zeroed
        mov rdi, cr3
        mov ecx, 0x8000
        xor eax, eax
        rep stosb
        mov rax, cr3
        mov cr3, rax
        ret

; the trap port after ExitBootServices, with bogus stacks
PROGRAM traps_after_exit
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rdi, rsp
        sub rsp, 0x8000
        lea rcx, [rsp+0x100]
        mov qword [rsp+0x40], 0x7000
        lea rcx, [rsp+0x40]
        lea rdx, [rsp+0x100]
        lea r8, [rsp+0x48]
        lea r9, [rsp+0x50]
        lea rax, [rsp+0x58]
        mov [rsp+32], rax
        call [rbx+56]
        mov rcx, r12
        mov rdx, [rsp+0x48]
        call [rbx+232]
        mov ecx, 100
        call [rbx+248]
        out 0xe4, al
        mov rsp, 1
        out 0xe4, al
        mov rsp, 0x8000000000000000
        out 0xe4, al
        hlt

; a boot service after ExitBootServices
PROGRAM services_after_exit
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        sub rsp, 0x8000
        mov qword [rsp+0x40], 0x7000
        lea rcx, [rsp+0x40]
        lea rdx, [rsp+0x100]
        lea r8, [rsp+0x48]
        lea r9, [rsp+0x50]
        lea rax, [rsp+0x58]
        mov [rsp+32], rax
        mov r14, [rbx+248]
        call [rbx+56]
        mov rcx, r12
        mov rdx, [rsp+0x48]
        call [rbx+232]
        mov ecx, 100
        call r14
        mov rsp, 1
        call r14
        ret

; the trap port in compatibility mode
PROGRAM traps_compat
        lea rax, [.p]
        push 0x20
        push rax
        retfq
        bits 32
.p:
        mov eax, 0
        out 0xe4, al
        mov esp, 0x1000
        out 0xe4, al
        ud2
        bits 64

; jumps into the middle of the firmware's code
PROGRAM into_a_stub
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rsi, [rbx+248]
        mov rsp, 1
        lea rax, [rsi+5]
        jmp rax

; calls a service on a non-canonical stack
PROGRAM stub_noncanonical
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rsi, [rbx+248]
        mov rsp, 0x8000000000000000
        jmp rsi

; calls a service on a stack in a hole
PROGRAM stub_mmio
        mov rbx, [rdx+96]
        mov r12, rcx
        mov r13, rdx
        sub rsp, 0x58
        mov rsi, [rbx+248]
        mov rsp, 0xd0000000
        jmp rsi

; Every boot and runtime service with the same wild value in all of ten arguments, for each of nine values. Left out are those
; that do as they are told with any value: ResetSystem, Stall, SetMem, and Exit, which ends the program.
PROGRAM wild_calls
        sub rsp, 0x78
        mov r12, rcx
        mov r13, [rdx + 96]             ; BootServices
        mov r14, [rdx + 88]             ; RuntimeServices
        lea rax, [.scratch]
        mov [.own], rax
        lea rbx, [.values]
.next_value:
        mov esi, 24
.next_boot_service:
        mov rdi, [rbx]
        cmp esi, 24 + 8 * 28            ; Stall
        je .skip_boot_service
        cmp esi, 24 + 8 * 24            ; Exit is the end of this program, below
        je .skip_boot_service
        cmp esi, 24 + 8 * 42            ; SetMem
        je .skip_boot_service
        cmp esi, 24 + 8 * 17            ; Reserved
        je .skip_boot_service
        mov rax, [r13 + rsi]
        call .with_wild_arguments
.skip_boot_service:
        add esi, 8
        cmp esi, 24 + 8 * 44            ; Reserved is one of them
        jb .next_boot_service
        mov esi, 24
.next_runtime_service:
        cmp esi, 24 + 8 * 10            ; ResetSystem
        je .skip_runtime_service
        mov rdi, [rbx]
        mov rax, [r14 + rsi]
        call .with_wild_arguments
.skip_runtime_service:
        add esi, 8
        cmp esi, 24 + 8 * 14
        jb .next_runtime_service
        add rbx, 8
        lea rax, [.values_end]
        cmp rbx, rax
        jb .next_value
        mov rcx, r12
        xor edx, edx
        xor r8d, r8d
        xor r9d, r9d
        call [r13 + 24 + 8 * 24]        ; Exit
        ud2
.with_wild_arguments:
        mov rcx, rdi
        mov rdx, rdi
        mov r8, rdi
        mov r9, rdi
        sub rsp, 0x58
        mov [rsp + 0x20], rdi
        mov [rsp + 0x28], rdi
        mov [rsp + 0x30], rdi
        mov [rsp + 0x38], rdi
        mov [rsp + 0x40], rdi
        mov [rsp + 0x48], rdi
        call rax
        add rsp, 0x58
        ret
        align 8
.values:
        dq 0, 1, 0xf0000, 0xfee00000, 0xd0000000, 0x7ffffffff000, 0x800000000000, -8
.own:
        dq 0
.values_end:
.scratch:
        times 256 db 0

; IN and OUT of every size at every port but those that stop the machine.
PROGRAM all_ports
        cli
        xor ebx, ebx
.next:
        mov edx, ebx
        cmp edx, 0x64                   ; keyboard controller: reset
        je .skip
        cmp edx, 0x92                   ; port 92: reset
        je .skip
        cmp edx, 0xcf0
        jb .ask
        cmp edx, 0xd00
        jb .skip                        ; PCI configuration and reset
.ask:
        in al, dx
        in ax, dx
        in eax, dx
        cmp edx, 0x600
        jb .tell
        cmp edx, 0x700
        jb .skip                        ; ACPI: power-off
.tell:
        mov eax, ebx
        imul eax, eax, 0x9E3779B1
        out dx, al
        out dx, ax
        out dx, eax
.skip:
        inc ebx
        cmp ebx, 0x10000
        jb .next
        xor eax, eax
        ret

; RDMSR and WRMSR of all ones for every number around which there are registers; a #GP handler steps over both.
PROGRAM all_msrs
        sidt [rsp - 16]
        mov rdi, [rsp - 14]
        lea rax, [.step_over]
        mov [rdi + 13 * 16], ax
        shr rax, 16
        mov [rdi + 13 * 16 + 6], ax
        shr rax, 16
        mov [rdi + 13 * 16 + 8], eax
        xor esi, esi
.next:
        mov ecx, esi
        rdmsr
        mov ecx, esi
        mov eax, -1
        mov edx, eax
        cmp ecx, 0xc0000080             ; EFER: the program would not go on in long mode
        je .skip
        wrmsr
.skip:
        inc esi
        cmp esi, 0x400
        jne .further
        mov esi, 0xc0000000
.further:
        cmp esi, 0xc0000200
        jb .next
        xor eax, eax
        ret
.step_over:
        add rsp, 8
        add qword [rsp], 2
        iretq

        align 16
end_of_file:                            ; the section has 2 MiB, zeroed
