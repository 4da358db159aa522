; The reporting init: process 1 of a run that brought no ramdisk of its own.
;
; It prints what userspace can see of the way the kernel was booted, between the lines "efishim-init: begin" and
; "efishim-init: end", and powers the machine off. Raw system calls, no library, no relocation: one read-only segment of
; code and constants, and one anonymous mapping for everything that is written.
;
; Form of the report, one line each:
;     efishim-init: [NAME]                a section; for a file NAME is its path
;     efishim-init: [NAME] error=-2       the section could not be read: a negated errno(3)
;     | text                              a line of the section (control bytes as '?')
;
; What would differ between two equal boots (uptime, time stamps, free memory) is kept out. The report is written at once:
; a kernel pays for each write to its console.
;
; System call numbers: arch/x86/entry/syscalls/syscall_64.tbl.

bits 64
default rel
%include "elf64.inc"

SYS_read        equ 0
SYS_write       equ 1
SYS_open        equ 2
SYS_close       equ 3
SYS_lstat       equ 6
SYS_mmap        equ 9
SYS_sigaction   equ 13
SYS_ioctl       equ 16
SYS_pause       equ 34
SYS_nanosleep   equ 35
SYS_alarm       equ 37
SYS_exit        equ 60
SYS_uname       equ 63
SYS_mkdir       equ 83
SYS_syslog      equ 103
SYS_mount       equ 165
SYS_reboot      equ 169
SYS_getdents64  equ 217
SYS_openat      equ 257

O_RDWR_NOCTTY   equ 0x102
O_DIRECTORY     equ 0x10000
TCSBRK          equ 0x5409              ; with argument 1: tcdrain(3)
SYSLOG_READ_ALL equ 3
SYSLOG_CONSOLE_OFF equ 6
SYSLOG_CONSOLE_ON  equ 7
WARNING         equ 4                   ; the least severe level that is reported
PATIENCE        equ 20                  ; seconds until the machine goes off whatever this program waits for

; The anonymous mapping, in its order: a path under construction, the report, input, directory entries. Less than 2 MiB, so
; that no huge page is zeroed for it.
PATH_SIZE       equ 0x1000
OUT_SIZE        equ 256 << 10
IN_SIZE         equ 1 << 20             ; at least a kernel log
NAMES_SIZE      equ 32 << 10
AREA_SIZE       equ PATH_SIZE + OUT_SIZE + IN_SIZE + NAMES_SIZE
PATH            equ -OUT_SIZE - PATH_SIZE                               ; from r13

; Registers that keep their meaning everywhere:
;     r12 stack at start (argc, argv, envp)   r13 input buffer   r14 end of output buffer   r15 next output byte
; Routines may use rax, rcx, rdx, rsi, rdi, r8 to r11 freely, and keep rbx and rbp.

%macro sys 1
        mov     eax, SYS_%1
        syscall
%endmacro

%macro say 1
        lea     rsi, [%1]
        call    put_text
%endmacro

        elf64_header _start

_start:
        mov     r12, rsp
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
        add     r14, 256
        say     end_line
        call    flush
power_off:
        mov     edi, 1
        mov     esi, TCSBRK
        mov     edx, 1
        sys     ioctl
        xor     esi, esi
        mov     edi, SYSLOG_CONSOLE_ON
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

take_memory:
        xor     edi, edi
        mov     esi, AREA_SIZE
        mov     edx, 3                  ; readable, writable
        mov     r10d, 0x22              ; private, anonymous
        mov     r8, -1
        xor     r9d, r9d
        sys     mmap
        cmp     rax, -4096
        ja      power_off_now
        lea     r15, [rax + PATH_SIZE]
        lea     r13, [r15 + OUT_SIZE]
        lea     r14, [r13 - 256]        ; room for the end line after a report that is too long
        ret

; Whatever blocks (a console that takes no byte), a signal ends it. Process 1 gets only signals that it handles.
arm_alarm:
        mov     edi, 14                 ; SIGALRM
        lea     rsi, [alarm_action]
        xor     edx, edx
        mov     r10d, 8
        sys     sigaction
        mov     edi, PATIENCE
        sys     alarm
        ret

mount_filesystems:
        push    rbx
        lea     rbx, [mounts]
.next:  mov     rdi, [rbx]
        test    rdi, rdi
        jz      .done
        mov     esi, 0o755
        sys     mkdir                   ; a ramdisk of the user's may lack the directory
        mov     rdi, [rbx + 8]
        mov     rsi, [rbx]
        mov     rdx, rdi
        xor     r10d, r10d
        xor     r8d, r8d
        sys     mount
        mov     rdi, [rbx]
        add     rbx, 16
        test    rax, rax
        jns     .next
        mov     rsi, rax
        call    heading
        jmp     .next
.done:  pop     rbx
        ret

; The kernel opened /dev/console as 0, 1 and 2 when it found the node. Where it did not, the first of these that opens is
; used.
open_console:
        push    rbx
        mov     edi, 1
        mov     esi, TCSBRK
        mov     edx, 1
        sys     ioctl
        test    eax, eax
        jns     .done
        lea     rbx, [console_paths]
.next:  mov     rdi, [rbx]
        test    rdi, rdi
        jz      .done
        add     rbx, 8
        mov     esi, O_RDWR_NOCTTY
        sys     open
        test    eax, eax
        js      .next
        cmp     eax, 1
        je      .done
        mov     edi, eax
        mov     esi, 1
        mov     eax, 33                 ; dup2
        syscall
.done:  pop     rbx
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

; Sets the zero flag where a console may be printed to by a thread: it has the flag N (CON_NBCON; fs/proc/consoles.c has the
; flags in parentheses), or the kernel is a PREEMPT_RT one, whose patches had such threads before there was the flag.
threads_print:
        lea     rdi, [path_consoles]
        xor     esi, esi
        sys     open
        call    slurp
        mov     rdi, r13
        lea     rdx, [r13 + rax]
        xor     ecx, ecx                ; '(' among the flags
.flag:  cmp     rdi, rdx
        jge     .version                ; also for an error
        mov     al, [rdi]
        inc     rdi
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
        mov     rdi, r13
        sys     uname
        mov     rcx, r13
        lea     rdx, [r13 + 61]
.scan:  mov     eax, [rcx + 195]        ; utsname.version follows three fields of 65 bytes
        cmp     eax, 'T_RT'             ; of PREEMPT_RT
        je      .done
        inc     rcx
        cmp     rcx, rdx
        jb      .scan
        test    rcx, rcx                ; not zero
.done:  ret

; Waits for each thread whose name is "pr/" and a console's (kernel/printk/nbcon.c) until it sleeps: it has printed all.
await_printers:
        push    rbx
        push    rbp
        lea     rdi, [path_proc]
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        test    eax, eax
        js      .done
.more:  lea     rsi, [r13 + IN_SIZE]
        mov     edi, ebx
        mov     edx, NAMES_SIZE
        sys     getdents64
        test    rax, rax
        jle     .close
        lea     rbp, [r13 + IN_SIZE]
        add     rax, rbp
        push    rax                     ; end of the entries
.entry: mov     al, [rbp + 19]          ; d_name
        sub     al, '1'
        cmp     al, 8
        ja      .skip
        lea     rdx, [name_comm]
        call    read_of_task
        cmp     rax, 3
        jl      .skip
        mov     eax, [r13]
        and     eax, 0xffffff
        cmp     eax, 'pr/'
        jne     .skip
.awake: lea     rdi, [moment]
        xor     esi, esi
        sys     nanosleep
        lea     rdx, [name_stat]
        call    read_of_task
        lea     rdx, [r13 + rax - 2]
        mov     rcx, r13
.state: cmp     rcx, rdx
        jge     .skip                   ; the thread is gone
        inc     rcx
        cmp     byte [rcx - 1], ')'     ; "PID (NAME) STATE ..."
        jne     .state
        cmp     byte [rcx + 1], 'S'
        jne     .awake
.skip:  movzx   eax, word [rbp + 16]    ; d_reclen
        test    eax, eax
        jz      .last
        add     rbp, rax
        cmp     rbp, [rsp]
        jb      .entry
        pop     rax
        jmp     .more
.last:  pop     rax
.close: mov     edi, ebx
        sys     close
.done:  pop     rbp
        pop     rbx
        ret

; ebx = /proc, rbp = directory entry in it, rdx = name: reads that file to r13. Returns its length or an errno in rax.
read_of_task:
        lea     rdi, [rbp + 19]
        call    join_path
        mov     edi, ebx
        mov     rsi, r13
        xor     edx, edx
        xor     r10d, r10d
        sys     openat
        jmp     slurp

; --- sections ---------------------------------------------------------------------------------------------------------

; argv and envp: the kernel hands on every parameter that it did not know.
report_arguments:
        lea     rdi, [name_argv]
        xor     esi, esi
        call    heading
        lea     rbx, [r12 + 8]
        call    .list
        lea     rdi, [name_envp]
        xor     esi, esi
        call    heading
.list:  mov     rsi, [rbx]
        add     rbx, 8
        test    rsi, rsi
        jz      .done
        mov     rdi, rsi
        call    length
        call    put_lines
        jmp     .list
.done:  ret

; Some sections open files below a directory that is open, where the firmware left such directories. The kernel's code for
; that runs on every boot, so that it is no difference between them.
open_below:
        push    rbx
        lea     rdi, [path_root]
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        test    eax, eax
        js      .done
        mov     edi, ebx
        lea     rsi, [path_proc + 1]
        mov     edx, O_DIRECTORY
        xor     r10d, r10d
        sys     openat
        mov     edi, eax
        sys     close
        mov     edi, ebx
        sys     close
.done:  pop     rbx
        ret

report_table:
        push    rbx
        lea     rbx, [sections]
.next:  mov     rax, [rbx]
        test    rax, rax
        jz      .done
        mov     rdi, [rbx + 8]
        call    rax
        add     rbx, 16
        jmp     .next
.done:  pop     rbx
        ret

; rdi = path: every line.
whole_file:
        call    read_section
        test    rax, rax
        js      .done
        mov     rsi, r13
        mov     rcx, rax
        call    put_lines
.done:  ret

; rdi = path: the first line.
first_line:
        call    read_section
        test    rax, rax
        jle     .done
        mov     rsi, r13
        mov     rcx, rax
        call    line_length
        mov     rcx, rax
        call    put_lines
.done:  ret

; rdi = path: the lines whose numbers are not all zero. A line is "name: number number ... words".
busy_lines:
        call    read_section
        test    rax, rax
        js      .done
        push    rbx
        push    rbp
        mov     rbx, r13
        lea     rbp, [r13 + rax]
.line:  mov     rsi, rbx
        mov     rcx, rbp
        sub     rcx, rbx
        jbe     .end
        call    line_length
        mov     r8, rax                 ; length
        mov     rdi, rbx
        lea     rdx, [rbx + r8]
.colon: cmp     rdi, rdx
        jae     .keep                   ; the heading has no colon
        inc     rdi
        cmp     byte [rdi - 1], ':'
        jne     .colon
.digit: cmp     rdi, rdx
        jae     .drop
        movzx   eax, byte [rdi]
        inc     rdi
        cmp     al, ' '
        je      .digit
        cmp     al, '0'
        je      .digit
        jb      .drop
        cmp     al, '9'
        ja      .drop
.keep:  mov     rsi, rbx
        mov     rcx, r8
        push    r8
        call    put_lines
        pop     r8
.drop:  lea     rbx, [rbx + r8 + 1]
        jmp     .line
.end:   pop     rbp
        pop     rbx
.done:  ret

; rdi = directory: its names in the kernel's order, with type and, for regular files, size.
listing:
        push    rbx
        push    rbp
        mov     rbp, rdi
        mov     esi, O_DIRECTORY
        sys     open
        mov     rbx, rax
        mov     rdi, rbp
        mov     rsi, rax
        call    heading
        test    ebx, ebx
        js      .done
        lea     rsi, [r13 + IN_SIZE]
        mov     edi, ebx
        mov     edx, NAMES_SIZE
        sys     getdents64
        mov     edi, ebx
        mov     rbx, rax
        sys     close
        test    rbx, rbx
        jle     .done
        lea     rcx, [r13 + IN_SIZE]
        add     rbx, rcx                ; end of the entries
        mov     r9, rcx
.entry: cmp     r9, rbx
        jae     .done
        lea     rsi, [r9 + 19]          ; d_name
        cmp     word [rsi], '.'
        je      .skip
        cmp     word [rsi], '..'
        jne     .show
        cmp     byte [rsi + 2], 0
        je      .skip
.show:  push    r9
        say     bar
        mov     rsi, [rsp]
        lea     rdi, [rsi + 19]
        call    length
        mov     rsi, rdi
        call    put_printable
        mov     rsi, [rsp]
        cmp     byte [rsi + 18], 4      ; DT_DIR
        jne     .file
        mov     al, '/'
        call    put_byte
.file:  mov     rsi, [rsp]
        cmp     byte [rsi + 18], 8      ; DT_REG
        jne     .line
        mov     rdi, rbp
        lea     rdx, [rsi + 19]
        call    join_path
        mov     rdi, r13
        lea     rsi, [r13 + 0x1000]
        sys     lstat
        test    eax, eax
        js      .line
        say     size_key
        mov     rax, [r13 + 0x1000 + 48]
        call    put_decimal
.line:  call    put_newline
        pop     r9
.skip:  movzx   eax, word [r9 + 16]     ; d_reclen
        add     r9, rax
        test    eax, eax
        jnz     .entry
.done:  pop     rbp
        pop     rbx
        ret

; rdi = directory with the subdirectories 0, 1, 2, ...: a line for each, made of some of the files in it.
runtime_map:
        lea     rdx, [runtime_map_files]
        jmp     numbered
setup_data:
        lea     rdx, [setup_data_files]
numbered:
        push    rbx
        push    rbp
        push    rdx
        push    rdi
        mov     esi, O_DIRECTORY
        sys     open
        mov     ebx, eax
        mov     rdi, [rsp]
        movsxd  rsi, eax
        call    heading
        xor     ebp, ebp                ; number of the subdirectory
        test    ebx, ebx
        js      .done
.entry: mov     [rsp], r15              ; where the line starts, to take it back
        say     bar
        mov     eax, ebp
        call    put_decimal
        mov     r9, [rsp + 8]           ; file names
        xor     r8d, r8d                ; files read
.file:  cmp     byte [r9], 0
        je      .line
        push    r8
        mov     al, ' '
        call    put_byte
        mov     rsi, r9
        call    put_text
        mov     al, '='
        call    put_byte
        push    r15
        lea     r15, [r13 + PATH]       ; the path is written with the same routines: number, slash, name
        mov     eax, ebp
        call    put_decimal
        mov     al, '/'
        call    put_byte
        mov     rsi, r9
        call    put_text
        mov     byte [r15], 0
        pop     r15
        mov     edi, ebx
        lea     rsi, [r13 + PATH]
        xor     edx, edx
        xor     r10d, r10d
        sys     openat
        call    slurp
        pop     r8
        test    rax, rax
        jle     .after
        inc     r8d
        mov     rsi, r13
        mov     rcx, rax
        push    r8
        call    line_length
        mov     rcx, rax
        call    put_printable
        pop     r8
.after: mov     rdi, r9
        call    length
        lea     r9, [r9 + rcx + 1]
        jmp     .file
.line:  call    put_newline
        inc     ebp
        test    r8d, r8d
        jz      .gone
        cmp     ebp, 256
        jb      .entry
.gone:  test    r8d, r8d
        jnz     .close
        mov     r15, [rsp]
.close: mov     edi, ebx
        sys     close
.done:  pop     rdi
        pop     rdx
        pop     rbp
        pop     rbx
        ret

; The kernel's log, the severe part of it: "<level> text" without its time stamps.
report_warnings:
        push    rbx
        push    rbp
        mov     edi, SYSLOG_READ_ALL
        mov     rsi, r13
        mov     edx, IN_SIZE
        sys     syslog
        mov     rbx, r13
        lea     rbp, [r13 + rax]
        lea     rdi, [name_warnings]
        mov     rsi, rax
        call    heading
        cmp     rbp, rbx
        jb      .done
.line:  mov     rsi, rbx
        mov     rcx, rbp
        sub     rcx, rbx
        jbe     .done
        call    line_length
        mov     r8, rax
        lea     rdx, [rbx + r8]         ; end of line
        cmp     byte [rbx], '<'
        jne     .next
        xor     eax, eax
        lea     rdi, [rbx + 1]
.level: cmp     rdi, rdx
        jae     .next
        movzx   ecx, byte [rdi]
        inc     rdi
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
.stamp: cmp     rdi, rdx
        jae     .show
        cmp     byte [rdi], '['
        jne     .space
.skip:  inc     rdi
        cmp     rdi, rdx
        jae     .show
        cmp     byte [rdi - 1], ']'
        jne     .skip
        jmp     .stamp
.space: cmp     byte [rdi], ' '
        jne     .show
        inc     rdi
.show:  push    r8
        push    rdi
        push    rdx
        push    rax
        say     bar
        mov     al, '<'
        call    put_byte
        pop     rax
        call    put_decimal
        say     level_end
        pop     rcx
        pop     rsi
        sub     rcx, rsi
        call    put_printable
        call    put_newline
        pop     r8
.next:  lea     rbx, [rbx + r8 + 1]
        jmp     .line
.done:  pop     rbp
        pop     rbx
        ret

; --- files ------------------------------------------------------------------------------------------------------------

; rdi = path. Starts the section and reads the file to r13. Returns its length or a negated errno in rax.
read_section:
        push    rbx
        mov     rbx, rdi
        xor     esi, esi
        sys     open
        call    slurp
        mov     rdi, rbx
        mov     rbx, rax
        mov     rsi, rax
        call    heading
        mov     rax, rbx
        pop     rbx
        ret

; eax = descriptor or a negated errno. Reads to r13 until the end and closes. Returns the length or an errno in rax.
slurp:
        movsxd  rax, eax
        test    eax, eax
        js      .out
        push    rbx
        push    rbp
        mov     ebx, eax
        xor     ebp, ebp
.more:  mov     edi, ebx
        lea     rsi, [r13 + rbp]
        mov     edx, IN_SIZE
        sub     rdx, rbp
        jz      .close
        sys     read
        test    rax, rax
        jz      .close
        js      .error
        add     rbp, rax
        jmp     .more
.error: test    rbp, rbp
        cmovz   rbp, rax
.close: mov     edi, ebx
        sys     close
        mov     rax, rbp
        pop     rbp
        pop     rbx
.out:   ret

; rdi = directory, rdx = name: "directory/name" at r13, cut to a page.
join_path:
        lea     rsi, [r13 + 0xfff]
        mov     r8, r13
.dir:   mov     al, [rdi]
        test    al, al
        jz      .slash
        mov     [r8], al
        inc     rdi
        inc     r8
        cmp     r8, rsi
        jb      .dir
.slash: mov     byte [r8], '/'
        inc     r8
.name:  mov     al, [rdx]
        cmp     r8, rsi
        jae     .end
        mov     [r8], al
        inc     rdx
        inc     r8
        test    al, al
        jnz     .name
.end:   mov     byte [rsi], 0
        ret

; --- text -------------------------------------------------------------------------------------------------------------

; rdi = name, rsi = errno or anything not negative.
heading:
        push    rsi
        push    rdi
        say     head
        pop     rsi
        call    put_text
        mov     al, ']'
        call    put_byte
        pop     rax
        test    rax, rax
        jns     put_newline
        push    rax
        say     error_key
        pop     rax
        neg     rax
        call    put_decimal
put_newline:
        mov     al, 10
put_byte:
        cmp     r15, r14
        jae     .full
        mov     [r15], al
        inc     r15
.full:  ret

; rsi = text with a zero at its end.
put_text:
        mov     al, [rsi]
        test    al, al
        jz      .done
        call    put_byte
        inc     rsi
        jmp     put_text
.done:  ret

; rsi, rcx = text that may hold line feeds. Each line gets a bar.
put_lines:
        push    rbx
        push    rbp
        mov     rbx, rsi
        lea     rbp, [rsi + rcx]
.line:  mov     rcx, rbp
        sub     rcx, rbx
        jbe     .done
        say     bar
        mov     rsi, rbx
        mov     rcx, rbp
        sub     rcx, rbx
        call    line_length
        mov     rcx, rax
        mov     rsi, rbx
        lea     rbx, [rbx + rax + 1]
        call    put_printable
        call    put_newline
        jmp     .line
.done:  pop     rbp
        pop     rbx
        ret

; rsi, rcx = text. Control bytes become '?'.
put_printable:
        test    rcx, rcx
        jz      .done
        mov     al, [rsi]
        cmp     al, 9
        je      .put
        cmp     al, 127
        je      .bad
        cmp     al, ' '
        jae     .put
.bad:   mov     al, '?'
.put:   call    put_byte
        inc     rsi
        dec     rcx
        jmp     put_printable
.done:  ret

; rax = number.
put_decimal:
        push    rbx
        mov     ebx, 10
        push    rbx                     ; no digit
.split: xor     edx, edx
        div     rbx
        push    rdx
        test    rax, rax
        jnz     .split
.show:  pop     rax
        cmp     eax, 10
        je      .done
        add     al, '0'
        call    put_byte
        jmp     .show
.done:  pop     rbx
        ret

; rdi = text. Returns its length in rcx.
length:
        xor     ecx, ecx
.next:  cmp     byte [rdi + rcx], 0
        je      .done
        inc     rcx
        jmp     .next
.done:  ret

; rsi, rcx = text. Returns in rax the bytes before the first line feed, or all of them.
line_length:
        xor     eax, eax
.next:  cmp     rax, rcx
        jae     .done
        cmp     byte [rsi + rax], 10
        je      .done
        inc     rax
        jmp     .next
.done:  ret

; Writes the report to the console; and to the first serial port when that is not a console, for nobody would see it.
flush:
        push    rbx
        mov     ebx, 1
        call    .all
        lea     rdi, [active_consoles]
        xor     esi, esi
        sys     open
        call    slurp
        mov     rcx, r13
.scan:  cmp     dword [rcx], 'ttyS'
        je      .done
        inc     rcx
        dec     rax
        jg      .scan
        lea     rdi, [serial]
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
.done:  pop     rbx
        ret
.all:   lea     r8, [r13 - OUT_SIZE]
.more:  mov     rdx, r15
        sub     rdx, r8
        jbe     .written
        mov     edi, ebx
        mov     rsi, r8
        sys     write
        test    rax, rax
        jle     .written
        add     r8, rax
        jmp     .more
.written:
        ret

; --- constants --------------------------------------------------------------------------------------------------------

align 8
alarm_action:                           ; struct kernel_sigaction
        dq      power_off_now, 0x04000000, power_off_now, 0
moment: dq      0, 10000000             ; struct timespec
mounts: dq      path_proc, type_proc, path_sys, type_sys, path_dev, type_dev, 0
console_paths:
        dq      path_console, serial, 0

sections:
        dq      whole_file, path_version
        dq      whole_file, path_cmdline
        dq      first_line, path_meminfo
        dq      whole_file, path_iomem
        dq      busy_lines, path_interrupts
        dq      whole_file, path_consoles
        dq      whole_file, path_clocksource
        dq      whole_file, path_clocksources
        dq      whole_file, path_tainted
        dq      whole_file, path_boot_version
        dq      setup_data, path_setup_data
        dq      listing, path_acpi
        dq      listing, path_efi
        dq      whole_file, path_efi_size
        dq      whole_file, path_efi_systab
        dq      runtime_map, path_efi_map
        dq      listing, path_root
        dq      0

%include "texts.inc"

        elf64_end
