; The reporting init of 32-bit kernels: init.elf.asm for i386. The form of the report, its sections and what is kept out of
; it are described there; tests hold the two against each other.
;
; Raw system calls, no library, no relocation: one read-only segment of code and constants, and one anonymous mapping at a
; fixed address for everything that is written.
;
; System call numbers: arch/x86/entry/syscalls/syscall_32.tbl.

bits 32
%include "elf32.inc"

SYS_exit        equ 1
SYS_read        equ 3
SYS_write       equ 4
SYS_open        equ 5
SYS_close       equ 6
SYS_mount       equ 21
SYS_alarm       equ 27
SYS_mkdir       equ 39
SYS_ioctl       equ 54
SYS_dup2        equ 63
SYS_reboot      equ 88
SYS_syslog      equ 103
SYS_uname       equ 122
SYS_nanosleep   equ 162
SYS_sigaction   equ 174                 ; rt_sigaction
SYS_mmap2       equ 192
SYS_lstat64     equ 196
SYS_getdents64  equ 220
SYS_openat      equ 295

O_RDWR_NOCTTY   equ 0x102
O_DIRECTORY     equ 0x10000
TCSBRK          equ 0x5409              ; with argument 1: tcdrain(3)
SYSLOG_READ_ALL equ 3
SYSLOG_CONSOLE_OFF equ 6
SYSLOG_CONSOLE_ON  equ 7
WARNING         equ 4                   ; the least severe level that is reported
PATIENCE        equ 20                  ; seconds until the machine goes off whatever this program waits for
END_ROOM        equ 256                 ; for the end line after a report that is too long

; The anonymous mapping. It lies above what brk(2) may get behind the program and below what mmap(2) gives out, in every
; split of the address space. Less than 2 MiB, as for x86-64.
AREA            equ 0x10000000
PATH_SIZE       equ 0x1000
OUT_SIZE        equ 256 << 10
IN_SIZE         equ 1 << 20             ; at least a kernel log
NAMES_SIZE      equ 32 << 10

absolute AREA
first_stack     resd 1                  ; stack at start (argc, argv, envp)
next_byte       resd 1                  ; where output goes on
output_end      resd 1
line_start      resd 1                  ; of `numbered`, as are the next three
directory       resd 1
file_names      resd 1
files_read      resd 1
                resb 0x1000 - ($ - AREA)
path            resb PATH_SIZE          ; under construction
output          resb OUT_SIZE
input           resb IN_SIZE
names           resb NAMES_SIZE         ; directory entries
area_end:
section .text

; Routines may use eax, ecx, edx, esi and edi freely, and keep ebx and ebp. The first three arguments of a system call are
; in edi, esi and edx, as on x86-64.

%macro sys 1
        mov     eax, SYS_%1
        call    system_call
%endmacro

%macro say 1
        mov     esi, %1
        call    put_text
%endmacro

        elf32_header _start

_start:
        mov     ebp, esp
        call    take_memory
        call    arm_alarm
        say     begin_line
        call    mount_filesystems
        call    open_console
        call    quiet_kernel
        call    open_below
        call    report_arguments
        call    report_table
        call    report_warnings
        add     dword [output_end], END_ROOM
        say     end_line
        call    flush
power_off:
        mov     edi, 1
        mov     esi, TCSBRK
        mov     edx, 1
        sys     ioctl
        mov     edi, SYSLOG_CONSOLE_ON
        xor     esi, esi
        xor     edx, edx
        sys     syslog                  ; so that the kernel's own last words are seen
power_off_now:
        mov     edi, 0xfee1dead
        mov     esi, 672274793
        mov     edx, 0x4321fedc         ; LINUX_REBOOT_CMD_POWER_OFF
        sys     reboot
        mov     edi, 0xfee1dead
        mov     esi, 672274793
        mov     edx, 0xcdef0123         ; LINUX_REBOOT_CMD_HALT
        sys     reboot
        mov     edi, 1
        sys     exit                    ; the kernel panics: an end as well

; eax = number; edi, esi, edx = arguments. The result is in eax, ecx is lost.
system_call:
        push    ebx
        mov     ebx, edi
        mov     ecx, esi
        int     0x80
        pop     ebx
        ret

; ebp = stack at start.
take_memory:
        push    ebp
        mov     ebx, AREA
        mov     ecx, area_end - AREA
        mov     edx, 3                  ; readable, writable
        mov     esi, 0x32               ; private, anonymous, at this address
        mov     edi, -1
        xor     ebp, ebp
        mov     eax, SYS_mmap2
        int     0x80
        pop     ebp
        cmp     eax, AREA
        jne     power_off_now
        mov     [first_stack], ebp
        mov     dword [next_byte], output
        mov     dword [output_end], output + OUT_SIZE - END_ROOM
        ret

; Whatever blocks (a console that takes no byte), a signal ends it. Process 1 gets only signals that it handles.
arm_alarm:
        mov     ebx, 14                 ; SIGALRM
        mov     ecx, alarm_action
        xor     edx, edx
        mov     esi, 8
        mov     eax, SYS_sigaction
        int     0x80
        mov     edi, PATIENCE
        sys     alarm
        ret

mount_filesystems:
        push    ebx
        push    ebp
        mov     ebp, mounts
.next:  mov     edi, [ebp]
        test    edi, edi
        jz      .done
        mov     esi, 0o755
        sys     mkdir                   ; a ramdisk of the user's may lack the directory
        mov     ebx, [ebp + 4]
        mov     ecx, [ebp]
        mov     edx, ebx
        xor     esi, esi
        xor     edi, edi
        mov     eax, SYS_mount
        int     0x80
        mov     edi, [ebp]
        add     ebp, 8
        test    eax, eax
        jns     .next
        mov     esi, eax
        call    heading
        jmp     .next
.done:  pop     ebp
        pop     ebx
        ret

; The kernel opened /dev/console as 0, 1 and 2 when it found the node. Where it did not, the first of these that opens is
; used.
open_console:
        push    ebx
        mov     edi, 1
        mov     esi, TCSBRK
        mov     edx, 1
        sys     ioctl
        test    eax, eax
        jns     .done
        mov     ebx, console_paths
.next:  mov     edi, [ebx]
        test    edi, edi
        jz      .done
        add     ebx, 4
        mov     esi, O_RDWR_NOCTTY
        sys     open
        test    eax, eax
        js      .next
        cmp     eax, 1
        je      .done
        mov     edi, eax
        mov     esi, 1
        sys     dup2
.done:  pop     ebx
        ret

; Messages that the kernel prints in the middle of a line would spoil both, so its console is turned off. What it has said
; until then is printed first: where threads print, the console is behind the log.
quiet_kernel:
        call    threads_print
        jne     .off
        call    await_printers
.off:   mov     edi, SYSLOG_CONSOLE_OFF
        xor     esi, esi
        xor     edx, edx
        sys     syslog
        ret

; Sets the zero flag where a console may be printed to by a thread, as init.elf.asm has it.
threads_print:
        mov     edi, path_consoles
        xor     esi, esi
        sys     open
        call    slurp
        mov     edi, input
        lea     edx, [input + eax]
        xor     ecx, ecx                ; '(' among the flags
.flag:  cmp     edi, edx
        jge     .version                ; also for an error
        mov     al, [edi]
        inc     edi
        cmp     al, '('
        je      .inside
        cmp     al, ')'
        je      .inside
        cmp     ecx, '('
        jne     .flag
        cmp     al, 'N'
        jne     .flag
        ret
.inside:
        movzx   ecx, al
        jmp     .flag
.version:
        mov     edi, input
        sys     uname
        mov     ecx, input + 195        ; utsname.version follows three fields of 65 bytes
.scan:  cmp     dword [ecx], 'T_RT'     ; of PREEMPT_RT
        je      .done
        inc     ecx
        cmp     ecx, input + 195 + 61
        jb      .scan
        test    ecx, ecx                ; not zero
.done:  ret

; Waits for each thread whose name is "pr/" and a console's until it sleeps: it has printed all.
await_printers:
        push    ebx
        push    ebp
        mov     edi, path_proc
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        test    eax, eax
        js      .done
.more:  mov     edi, ebx
        mov     esi, names
        mov     edx, NAMES_SIZE
        sys     getdents64
        test    eax, eax
        jle     .close
        mov     ebp, names
        add     eax, ebp
        push    eax                     ; end of the entries
.entry: mov     al, [ebp + 19]          ; d_name
        sub     al, '1'
        cmp     al, 8
        ja      .skip
        mov     edx, name_comm
        call    read_of_task
        cmp     eax, 3
        jl      .skip
        mov     eax, [input]
        and     eax, 0xffffff
        cmp     eax, 'pr/'
        jne     .skip
.awake: mov     edi, moment
        xor     esi, esi
        sys     nanosleep
        mov     edx, name_stat
        call    read_of_task
        lea     edx, [input + eax - 2]
        mov     ecx, input
.state: cmp     ecx, edx
        jge     .skip                   ; the thread is gone
        inc     ecx
        cmp     byte [ecx - 1], ')'     ; "PID (NAME) STATE ..."
        jne     .state
        cmp     byte [ecx + 1], 'S'
        jne     .awake
.skip:  movzx   eax, word [ebp + 16]    ; d_reclen
        test    eax, eax
        jz      .last
        add     ebp, eax
        cmp     ebp, [esp]
        jb      .entry
        pop     eax
        jmp     .more
.last:  pop     eax
.close: mov     edi, ebx
        sys     close
.done:  pop     ebp
        pop     ebx
        ret

; ebx = /proc, ebp = directory entry in it, edx = name: reads that file to `input`. Returns its length or an errno in eax.
read_of_task:
        lea     edi, [ebp + 19]
        call    join_path
        mov     edi, ebx
        mov     esi, input
        xor     edx, edx
        sys     openat
        jmp     slurp

; --- sections ---------------------------------------------------------------------------------------------------------

; argv and envp: the kernel hands on every parameter that it did not know.
report_arguments:
        mov     edi, name_argv
        xor     esi, esi
        call    heading
        mov     ebx, [first_stack]
        add     ebx, 4
        call    .list
        mov     edi, name_envp
        xor     esi, esi
        call    heading
.list:  mov     esi, [ebx]
        add     ebx, 4
        test    esi, esi
        jz      .done
        mov     edi, esi
        call    length
        call    put_lines
        jmp     .list
.done:  ret

; Opens a file below a directory, as init.elf.asm does.
open_below:
        push    ebx
        mov     edi, path_root
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        test    eax, eax
        js      .done
        mov     edi, ebx
        mov     esi, path_proc + 1
        mov     edx, O_DIRECTORY
        sys     openat
        mov     edi, eax
        sys     close
        mov     edi, ebx
        sys     close
.done:  pop     ebx
        ret

report_table:
        push    ebx
        mov     ebx, sections
.next:  mov     eax, [ebx]
        test    eax, eax
        jz      .done
        mov     edi, [ebx + 4]
        call    eax
        add     ebx, 8
        jmp     .next
.done:  pop     ebx
        ret

; edi = path: every line.
whole_file:
        call    read_section
        test    eax, eax
        js      .done
        mov     esi, input
        mov     ecx, eax
        call    put_lines
.done:  ret

; edi = path: the first line.
first_line:
        call    read_section
        test    eax, eax
        jle     .done
        mov     esi, input
        mov     ecx, eax
        call    line_length
        mov     ecx, eax
        call    put_lines
.done:  ret

; edi = path: the lines whose numbers are not all zero. A line is "name: number number ... words".
busy_lines:
        call    read_section
        test    eax, eax
        js      .done
        push    ebx
        push    ebp
        mov     ebx, input
        lea     ebp, [ebx + eax]
.line:  mov     esi, ebx
        mov     ecx, ebp
        sub     ecx, ebx
        jbe     .end
        call    line_length
        mov     edi, ebx
        lea     edx, [ebx + eax]        ; end of line
.colon: cmp     edi, edx
        jae     .keep                   ; the heading has no colon
        inc     edi
        cmp     byte [edi - 1], ':'
        jne     .colon
.digit: cmp     edi, edx
        jae     .drop
        movzx   eax, byte [edi]
        inc     edi
        cmp     al, ' '
        je      .digit
        cmp     al, '0'
        je      .digit
        jb      .drop
        cmp     al, '9'
        ja      .drop
.keep:  mov     esi, ebx
        mov     ecx, edx
        sub     ecx, ebx
        push    edx
        call    put_lines
        pop     edx
.drop:  lea     ebx, [edx + 1]
        jmp     .line
.end:   pop     ebp
        pop     ebx
.done:  ret

; edi = directory: its names in the kernel's order, with type and, for regular files, size.
listing:
        push    ebx
        push    ebp
        push    edi
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        mov     edi, [esp]
        mov     esi, eax
        call    heading
        test    ebx, ebx
        js      .done
        mov     edi, ebx
        mov     esi, names
        mov     edx, NAMES_SIZE
        sys     getdents64
        mov     edi, ebx
        mov     ebp, eax
        sys     close
        test    ebp, ebp
        jle     .done
        mov     ebx, names
        add     ebp, ebx                ; end of the entries
.entry: cmp     ebx, ebp
        jae     .done
        lea     esi, [ebx + 19]         ; d_name
        cmp     word [esi], '.'
        je      .skip
        cmp     word [esi], '..'
        jne     .show
        cmp     byte [esi + 2], 0
        je      .skip
.show:  say     bar
        lea     edi, [ebx + 19]
        call    length
        mov     esi, edi
        call    put_printable
        cmp     byte [ebx + 18], 4      ; DT_DIR
        jne     .file
        mov     al, '/'
        call    put_byte
.file:  cmp     byte [ebx + 18], 8      ; DT_REG
        jne     .line
        mov     edi, [esp]
        lea     edx, [ebx + 19]
        call    join_path
        mov     edi, input
        mov     esi, input + 0x1000
        sys     lstat64
        test    eax, eax
        js      .line
        say     size_key
        mov     eax, [input + 0x1000 + 44]      ; the lower half: no file of a ramdisk, /sys or ACPI has 4 GiB
        call    put_decimal
.line:  call    put_newline
.skip:  movzx   eax, word [ebx + 16]    ; d_reclen
        add     ebx, eax
        test    eax, eax
        jnz     .entry
.done:  pop     edi
        pop     ebp
        pop     ebx
        ret

; edi = directory with the subdirectories 0, 1, 2, ...: a line for each, made of some of the files in it.
runtime_map:
        mov     edx, runtime_map_files
        jmp     numbered
setup_data:
        mov     edx, setup_data_files
numbered:
        push    ebx
        push    ebp
        mov     [file_names], edx
        mov     ebx, edi
        mov     esi, O_DIRECTORY
        sys     open
        mov     [directory], eax
        mov     edi, ebx
        mov     esi, eax
        call    heading
        xor     ebp, ebp                ; number of the subdirectory
        cmp     dword [directory], 0
        jl      .done
.entry: mov     eax, [next_byte]
        mov     [line_start], eax       ; to take the line back
        say     bar
        mov     eax, ebp
        call    put_decimal
        mov     ebx, [file_names]
        mov     dword [files_read], 0
.file:  cmp     byte [ebx], 0
        je      .line
        mov     al, ' '
        call    put_byte
        mov     esi, ebx
        call    put_text
        mov     al, '='
        call    put_byte
        push    dword [next_byte]
        mov     dword [next_byte], path ; written with the same routines: number, slash, name
        mov     eax, ebp
        call    put_decimal
        mov     al, '/'
        call    put_byte
        mov     esi, ebx
        call    put_text
        mov     al, 0
        call    put_byte
        pop     dword [next_byte]
        mov     edi, [directory]
        mov     esi, path
        xor     edx, edx
        sys     openat
        call    slurp
        test    eax, eax
        jle     .after
        inc     dword [files_read]
        mov     esi, input
        mov     ecx, eax
        call    line_length
        mov     ecx, eax
        call    put_printable
.after: mov     edi, ebx
        call    length
        lea     ebx, [ebx + ecx + 1]
        jmp     .file
.line:  call    put_newline
        inc     ebp
        cmp     dword [files_read], 0
        je      .gone
        cmp     ebp, 256
        jb      .entry
        jmp     .close
.gone:  mov     eax, [line_start]
        mov     [next_byte], eax
.close: mov     edi, [directory]
        sys     close
.done:  pop     ebp
        pop     ebx
        ret

; The kernel's log, the severe part of it: "<level> text" without its time stamps.
report_warnings:
        push    ebx
        push    ebp
        mov     edi, SYSLOG_READ_ALL
        mov     esi, input
        mov     edx, IN_SIZE
        sys     syslog
        mov     ebx, input
        lea     ebp, [ebx + eax]
        mov     edi, name_warnings
        mov     esi, eax
        call    heading
        cmp     ebp, ebx
        jb      .done
.line:  mov     esi, ebx
        mov     ecx, ebp
        sub     ecx, ebx
        jbe     .done
        call    line_length
        lea     edx, [ebx + eax]        ; end of line
        cmp     byte [ebx], '<'
        jne     .next
        xor     eax, eax
        lea     edi, [ebx + 1]
.level: cmp     edi, edx
        jae     .next
        movzx   ecx, byte [edi]
        inc     edi
        sub     ecx, '0'
        cmp     ecx, 9
        ja      .known
        imul    eax, eax, 10
        add     eax, ecx
        jmp     .level
.known: and     eax, 7                  ; above: the facility
        cmp     eax, WARNING
        ja      .next
        ; [ 0.123456] and, where callers are recorded, [ T1]
.stamp: cmp     edi, edx
        jae     .show
        cmp     byte [edi], '['
        jne     .space
.skip:  inc     edi
        cmp     edi, edx
        jae     .show
        cmp     byte [edi - 1], ']'
        jne     .skip
        jmp     .stamp
.space: cmp     byte [edi], ' '
        jne     .show
        inc     edi
.show:  push    edx
        push    edi
        push    eax
        say     bar
        mov     al, '<'
        call    put_byte
        pop     eax
        call    put_decimal
        say     level_end
        pop     esi
        mov     ecx, [esp]
        sub     ecx, esi
        call    put_printable
        call    put_newline
        pop     edx
.next:  lea     ebx, [edx + 1]
        jmp     .line
.done:  pop     ebp
        pop     ebx
        ret

; --- files ------------------------------------------------------------------------------------------------------------

; edi = path. Starts the section and reads the file to `input`. Returns its length or a negated errno in eax.
read_section:
        push    ebx
        mov     ebx, edi
        xor     esi, esi
        sys     open
        call    slurp
        mov     edi, ebx
        mov     ebx, eax
        mov     esi, eax
        call    heading
        mov     eax, ebx
        pop     ebx
        ret

; eax = descriptor or a negated errno. Reads to `input` until the end and closes. Returns the length or an errno in eax.
slurp:
        test    eax, eax
        js      .out
        push    ebx
        push    ebp
        mov     ebx, eax
        xor     ebp, ebp
.more:  mov     edi, ebx
        lea     esi, [input + ebp]
        mov     edx, IN_SIZE
        sub     edx, ebp
        jz      .close
        sys     read
        test    eax, eax
        jz      .close
        js      .error
        add     ebp, eax
        jmp     .more
.error: test    ebp, ebp
        jnz     .close
        mov     ebp, eax
.close: mov     edi, ebx
        sys     close
        mov     eax, ebp
        pop     ebp
        pop     ebx
.out:   ret

; edi = directory, edx = name: "directory/name" at `input`, cut to a page.
join_path:
        mov     ecx, input
.dir:   mov     al, [edi]
        test    al, al
        jz      .slash
        mov     [ecx], al
        inc     edi
        inc     ecx
        cmp     ecx, input + 0xfff
        jb      .dir
.slash: mov     byte [ecx], '/'
        inc     ecx
.name:  mov     al, [edx]
        cmp     ecx, input + 0xfff
        jae     .end
        mov     [ecx], al
        inc     edx
        inc     ecx
        test    al, al
        jnz     .name
.end:   mov     byte [input + 0xfff], 0
        ret

; --- text -------------------------------------------------------------------------------------------------------------

; edi = name, esi = errno or anything not negative.
heading:
        push    esi
        say     head
        mov     esi, edi
        call    put_text
        mov     al, ']'
        call    put_byte
        pop     eax
        test    eax, eax
        jns     put_newline
        push    eax
        say     error_key
        pop     eax
        neg     eax
        call    put_decimal
put_newline:
        mov     al, 10
; al = byte. Keeps every register.
put_byte:
        push    edi
        mov     edi, [next_byte]
        cmp     edi, [output_end]
        jae     .full
        mov     [edi], al
        inc     dword [next_byte]
.full:  pop     edi
        ret

; esi = text with a zero at its end.
put_text:
        mov     al, [esi]
        test    al, al
        jz      .done
        call    put_byte
        inc     esi
        jmp     put_text
.done:  ret

; esi, ecx = text that may hold line feeds. Each line gets a bar.
put_lines:
        push    ebx
        push    ebp
        mov     ebx, esi
        lea     ebp, [esi + ecx]
.line:  mov     ecx, ebp
        sub     ecx, ebx
        jbe     .done
        say     bar
        mov     esi, ebx
        mov     ecx, ebp
        sub     ecx, ebx
        call    line_length
        mov     ecx, eax
        mov     esi, ebx
        lea     ebx, [ebx + eax + 1]
        call    put_printable
        call    put_newline
        jmp     .line
.done:  pop     ebp
        pop     ebx
        ret

; esi, ecx = text. Control bytes become '?'.
put_printable:
        test    ecx, ecx
        jz      .done
        mov     al, [esi]
        cmp     al, 9
        je      .put
        cmp     al, 127
        je      .bad
        cmp     al, ' '
        jae     .put
.bad:   mov     al, '?'
.put:   call    put_byte
        inc     esi
        dec     ecx
        jmp     put_printable
.done:  ret

; eax = number.
put_decimal:
        mov     ecx, 10
        push    ecx                     ; no digit
.split: xor     edx, edx
        div     ecx
        push    edx
        test    eax, eax
        jnz     .split
.show:  pop     eax
        cmp     eax, 10
        je      .done
        add     al, '0'
        call    put_byte
        jmp     .show
.done:  ret

; edi = text. Returns its length in ecx.
length:
        xor     ecx, ecx
.next:  cmp     byte [edi + ecx], 0
        je      .done
        inc     ecx
        jmp     .next
.done:  ret

; esi, ecx = text. Returns in eax the bytes before the first line feed, or all of them.
line_length:
        xor     eax, eax
.next:  cmp     eax, ecx
        jae     .done
        cmp     byte [esi + eax], 10
        je      .done
        inc     eax
        jmp     .next
.done:  ret

; Writes the report to the console; and to the first serial port when that is not a console, for nobody would see it.
flush:
        push    ebx
        push    ebp
        mov     ebx, 1
        call    .all
        mov     edi, active_consoles
        xor     esi, esi
        sys     open
        call    slurp
        mov     ecx, input
.scan:  cmp     dword [ecx], 'ttyS'
        je      .done
        inc     ecx
        dec     eax
        jg      .scan
        mov     edi, serial
        mov     esi, O_RDWR_NOCTTY
        sys     open
        mov     ebx, eax
        test    eax, eax
        js      .done
        call    .all
        mov     edi, ebx
        mov     esi, TCSBRK
        mov     edx, 1
        sys     ioctl
.done:  pop     ebp
        pop     ebx
        ret
.all:   mov     ebp, output
.more:  mov     edx, [next_byte]
        sub     edx, ebp
        jbe     .written
        mov     edi, ebx
        mov     esi, ebp
        sys     write
        test    eax, eax
        jle     .written
        add     ebp, eax
        jmp     .more
.written:
        ret

; --- constants --------------------------------------------------------------------------------------------------------

align 4
alarm_action:                           ; struct kernel_sigaction
        dd      power_off_now, 0, 0, 0, 0
moment: dd      0, 10000000             ; struct old_timespec32
mounts: dd      path_proc, type_proc, path_sys, type_sys, path_dev, type_dev, 0
console_paths:
        dd      path_console, serial, 0

sections:
        dd      whole_file, path_version
        dd      whole_file, path_cmdline
        dd      first_line, path_meminfo
        dd      whole_file, path_iomem
        dd      busy_lines, path_interrupts
        dd      whole_file, path_consoles
        dd      whole_file, path_clocksource
        dd      whole_file, path_clocksources
        dd      whole_file, path_tainted
        dd      whole_file, path_boot_version
        dd      setup_data, path_setup_data
        dd      listing, path_acpi
        dd      listing, path_efi
        dd      whole_file, path_efi_size
        dd      whole_file, path_efi_systab
        dd      runtime_map, path_efi_map
        dd      listing, path_root
        dd      0

%include "texts.inc"

        elf32_end
