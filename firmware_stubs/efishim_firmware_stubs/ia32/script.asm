; A program for 32-bit EFI firmware that makes the calls a test has written into its memory, one after the other.
;
; It lies at 0x400000. The image's data starts at STATE; the script at SCRIPT is a list of records, each of dwords:
;
;     cell, offset, count, mask, result, arguments...    call [[cell] + offset] with `count` arguments of four bytes, by cdecl;
;                                                        for every set bit of `mask` the argument is the address of its value.
;                                                        EAX goes to `result`
;     1, number                                          wait until `notify` was called `number` times, with a pattern in EBX,
;                                                        EDI, XMM3 and the direction flag; STATE.kept says that all survived
;     0                                                  return EFI_SUCCESS
;
; `notify` and `load_file` are functions that firmware may call: an event's, and EFI_LOAD_FILE2_PROTOCOL.LoadFile over the
; FILE_SIZE bytes at FILE.

bits 32
org 0x401000

%define STATE 0x402000
%define SCRIPT 0x403000
%define FILE 0x408000
%define FILE_SIZE 0x600
%define BUFFER_TOO_SMALL 0x80000005
%define PATTERN 0x55667788

struc state
.handle: resd 1
.system_table: resd 1
.boot_services: resd 1
.runtime_services: resd 1
.con_out: resd 1
.stack: resd 1
        resd 2
.count: resd 1
.event: resd 1
.context: resd 1
.kept: resd 1
endstruc

%define HELD(field) STATE + state. %+ field

    push ebx
    push esi
    push edi
    push ebp
    mov eax, [esp+20]
    mov edx, [esp+24]
    mov [HELD(handle)], eax
    mov [HELD(system_table)], edx
    mov eax, [edx+60]           ; BootServices of the 32-bit EFI_SYSTEM_TABLE
    mov [HELD(boot_services)], eax
    mov eax, [edx+56]           ; RuntimeServices
    mov [HELD(runtime_services)], eax
    mov eax, [edx+44]           ; ConOut
    mov [HELD(con_out)], eax
    mov [HELD(stack)], esp
    mov esi, SCRIPT
next:
    mov ecx, [esi]
    test ecx, ecx
    jz near done
    cmp ecx, 1
    je wait_for
    mov ebx, [ecx]
    mov edx, [esi+4]
    mov ebx, [ebx+edx]
    mov ecx, [esi+8]
    mov ebp, esp
    and esp, -16
argument:
    jecxz call_it
    dec ecx
    mov eax, [esi+20+ecx*4]
    bt dword [esi+12], ecx
    jnc direct
    mov eax, [eax]
direct:
    push eax
    jmp argument
call_it:
    call ebx
    mov esp, ebp
    mov [esi+16], eax
    mov ecx, [esi+8]
    lea esi, [esi+ecx*4+20]
    jmp next
wait_for:
    mov edx, HELD(count)
    mov ebx, PATTERN
    mov edi, ~PATTERN
    movd xmm3, ebx
    std
again:
    mov eax, [esi+4]
    cmp [edx], eax
    jb again
    pushf
    pop eax
    cld
    movd ecx, xmm3
    cmp ecx, PATTERN
    jne lost
    cmp ebx, ecx
    jne lost
    cmp edi, ~PATTERN
    jne lost
    test eax, 0x400
    jz lost
    mov dword [HELD(kept)], 1
lost:
    add esi, 8
    jmp next
done:
    xor eax, eax
    pop ebp
    pop edi
    pop esi
    pop ebx
    ret
times 0x100-($-$$) db 0xcc

notify:                         ; 0x401100: VOID (Event, Context)
    mov eax, [esp+4]
    mov [HELD(event)], eax
    mov eax, [esp+8]
    mov [HELD(context)], eax
    inc dword [HELD(count)]
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    pxor xmm3, xmm3
    cld
    ret
times 0x140-($-$$) db 0xcc

load_file:                      ; 0x401140: EFI_STATUS (This, FilePath, BootPolicy, *BufferSize, Buffer)
    mov edx, [esp+16]
    mov eax, [edx]
    mov dword [edx], FILE_SIZE
    cmp eax, FILE_SIZE
    jb small
    push esi
    push edi
    mov esi, FILE
    mov edi, [esp+28]
    mov ecx, FILE_SIZE
    rep movsb
    pop edi
    pop esi
    xor eax, eax
    ret
small:
    mov eax, BUFFER_TOO_SMALL
    ret
