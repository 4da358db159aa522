; A program for 32-bit EFI firmware that does what a 64-bit kernel in mixed mode does: it goes to long mode with a timer
; running, calls GetTime from compatibility mode, and comes back to wait for the timer.
;
; It lies at 0x400000. When WRONG is not zero it calls GetTime from 64-bit code instead, which 32-bit firmware cannot serve.

bits 32
org 0x401000

%define EVENT 0x402000
%define STATUS 0x402004         ; of GetTime
%define COUNT 0x402008          ; notifications
%define STACK 0x402010
%define SEEN 0x402014           ; notifications until the end of long mode
%define WRONG 0x402018
%define TIME 0x402040
%define TABLES 0x500000         ; three pages: an identity map of 1 GiB
%define EFER 0xC0000080
%define LME 0x100
%define CODE32 0x10             ; selectors of the firmware's GDT
%define CODE64 0x38

    push ebx
    push esi
    push edi
    push ebp
    mov ebp, [esp+24]
    mov [STACK], esp
    mov ebx, [ebp+60]
    push EVENT                 ; CreateEvent(TIMER | NOTIFY_SIGNAL, 8, notify, 0, &event)
    push 0
    push notify
    push 8
    push 0x80000200
    call [ebx+24+4*7]
    add esp, 20
    push 0                   ; SetTimer(event, TimerPeriodic, 10000)
    push 10000
    push 1
    push dword [EVENT]
    call [ebx+24+4*8]
    add esp, 16
    cli
    mov eax, cr0             ; the firmware's paging ends
    and eax, 0x7FFFFFFF
    mov cr0, eax
    mov edi, TABLES
    mov dword [edi], TABLES+0x1003
    mov dword [edi+0x1000], TABLES+0x2003
    xor ecx, ecx
    mov eax, 0x83
fill:
    mov [edi+0x2000+ecx*8], eax
    add eax, 0x200000
    inc ecx
    cmp ecx, 512
    jb fill
    mov cr3, edi
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov ecx, EFER
    rdmsr
    or eax, LME
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp CODE64:long_mode
bits 64
long_mode:
    sti
    mov ecx, 2500000
spin:
    dec ecx
    jnz spin
    mov eax, [abs COUNT]
    mov [abs SEEN], eax  ; notifications seen in long mode
    cli
    cmp dword [abs WRONG], 0
    je by_the_rules
    mov ebx, [rbp+56]
    mov eax, [rbx+24]
    call rax                 ; GetTime from 64-bit code
by_the_rules:
    push CODE32
    mov eax, compatibility
    push rax
    retfq
bits 32
compatibility:
    push 0
    push TIME
    mov ebx, [ebp+56]
    call [ebx+24]            ; GetTime
    add esp, 8
    mov [STATUS], eax
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax
    mov ecx, EFER
    rdmsr
    and eax, ~LME
    wrmsr
    sti
back:
    cmp dword [COUNT], 2
    jb back
    mov esp, [STACK]
    xor eax, eax
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret
notify:
    inc dword [COUNT]
    ret
