; Process 1 that starts another kernel: the way into an x86-64 kernel's 64-bit entry that real machines use.
;
; The ramdisk around it holds /kernel, /cmdline (its text, without a line end) and, if there is one, /initrd. The running
; kernel's kexec_file_load(2) fills boot_params, and reboot(2) jumps. Nothing is printed unless it fails: then
; "efishim-kexec: failed" and power off.

bits 64
default rel
%include "elf64.inc"

SYS_read        equ 0
SYS_write       equ 1
SYS_open        equ 2
SYS_reboot      equ 169
SYS_kexec_file_load equ 320

KEXEC_FILE_NO_INITRAMFS equ 4
REBOOT_KEXEC    equ 0x45584543
REBOOT_POWER_OFF equ 0x4321fedc
CMDLINE_SIZE    equ 2048

        elf64_header _start

_start:
        sub     rsp, CMDLINE_SIZE
        lea     rdi, [cmdline]
        call    open
        xor     ebx, ebx                        ; length of the command line
        test    eax, eax
        js      .kernel
        mov     edi, eax
        mov     rsi, rsp
        mov     edx, CMDLINE_SIZE - 1
        mov     eax, SYS_read
        syscall
        test    rax, rax
        js      .kernel
        mov     rbx, rax
.kernel:
        mov     byte [rsp + rbx], 0
        lea     rdi, [kernel]
        call    open
        mov     ebp, eax
        lea     rdi, [initrd]
        call    open
        mov     edi, ebp
        xor     r8d, r8d
        mov     esi, eax
        test    eax, eax
        jns     .load
        mov     r8d, KEXEC_FILE_NO_INITRAMFS
.load:  lea     rdx, [rbx + 1]
        mov     r10, rsp
        mov     eax, SYS_kexec_file_load
        syscall
        test    rax, rax
        js      .failed
        mov     edx, REBOOT_KEXEC
        call    reboot
.failed:
        mov     edi, 1
        lea     rsi, [failed]
        mov     edx, failed_end - failed
        mov     eax, SYS_write
        syscall
        mov     edx, REBOOT_POWER_OFF
        call    reboot
        ud2

open:   xor     esi, esi
        mov     eax, SYS_open
        syscall
        ret

reboot: mov     edi, 0xfee1dead
        mov     esi, 672274793
        mov     eax, SYS_reboot
        syscall
        ret

kernel          db "/kernel", 0
initrd          db "/initrd", 0
cmdline         db "/cmdline", 0
failed          db "efishim-kexec: failed", 10
failed_end:

        elf64_end
