; The CPU self-test: small guest programs that compare what the processor did with what the manuals say.
;
; One flat image. It is a multiboot kernel for a real machine (or QEMU), where it runs every case and prints what was
; found on COM1; entered with RUN_ONE in EAX it runs the one case whose number is in EBX, leaves the log in memory and
; halts. Either way a case writes records of (source line, value got, value wanted), so that the two can be compared.
;
; Cases come in three modes: 16 (real mode), 32 (protected, flat, no paging), 64 (long mode). Each starts from the same
; state, made anew by the code in here: going there and coming back is part of what is tested.

%include "selftest_macros.inc"

%define RUN_ONE    0x1D0C7E57
%define MULTIBOOT  0x2BADB002

        org IMAGE
        section .text align=16
        section .real follows=.text align=16 vstart=REAL_CODE
        section .user follows=.real align=16 vstart=USER_CODE
        section .cases follows=.user align=16
        section .strings follows=.cases align=16
        section .data follows=.strings align=16

        section .text
        bits 32
multiboot_header:
        dd 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)
        dd multiboot_header, IMAGE, 0, 0, start
        align 64
directory:                              ; efishim/machine/selftest reads this
        dd 0x74736665                   ; "efst"
        dd first_case, (end_of_cases - first_case) / 28
        dd LOG, v_logged

        align 16
start:  cli
        cld
        lgdt [gdt32_pointer]
        mov esp, STACK_TOP
        mov [v_argument], ebx
        mov [v_magic], eax
        jmp KCODE32:.flat
.flat:  mov eax, KDATA
        mov ds, eax
        mov es, eax
        mov ss, eax
        xor eax, eax
        mov fs, eax
        mov gs, eax
        mov esi, section..real.start
        mov edi, REAL_CODE
        mov ecx, REAL_SIZE
        rep movsb
        mov esi, section..user.start
        mov edi, USER_CODE
        mov ecx, USER_SIZE
        rep movsb
        cmp dword [v_magic], MULTIBOOT
        je run_all
        mov eax, [v_argument]
        call run_case
stay:   cli
        hlt
        jmp stay

; EAX: number of the case.
run_case:
        imul ebx, eax, 28
        add ebx, first_case
        mov [v_case], ebx
        mov edi, VARIABLES_RESET
        mov ecx, VARIABLES_RESET_SIZE
        xor eax, eax
        rep stosb
        mov dword [v_log], LOG
        call reset_tables
        mov ebx, [v_case]
        mov [v_esp], esp
        mov esp, STACK_TOP - 0x1000     ; the same wherever this was called from
        mov eax, [ebx + CASE_ENTRY]
        mov [v_entry], eax
        mov eax, [ebx + CASE_MODE]
        cmp eax, 16
        je enter16
        cmp eax, 64
        je enter64
        lidt [idt32_pointer]
        mov eax, 0x23                   ; PE, MP, NE
        mov cr0, eax
        mov ax, TSS32_SELECTOR
        ltr ax
        call [ebx + CASE_ENTRY]
case_over:                              ; 32-bit protected mode again, whatever the case did
        mov eax, KDATA
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov esp, [v_esp]
        lgdt [gdt32_pointer]
        xor eax, eax
        mov fs, eax
        mov gs, eax
        mov cr4, eax
        lldt ax
        mov eax, 0x23
        mov cr0, eax
        cld
        ret

%include "selftest_tables.inc"
%include "selftest_handlers.inc"
%include "selftest_print.inc"

%include "selftest_modes.inc"
%include "selftest_faults.inc"
%include "selftest_paging.inc"
%include "selftest_ring3.inc"
%include "selftest_protected.inc"
%include "selftest_devices.inc"
%include "selftest_code.inc"
%include "selftest_ends.inc"

        section .real
REAL_SIZE equ $ - $$
        section .user
USER_SIZE equ $ - $$
        section .cases
end_of_cases:
