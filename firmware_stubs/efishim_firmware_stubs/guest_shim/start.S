/*
 * From the PVH note to C: the way from 32-bit protected mode without paging into long mode.
 *
 * A hypervisor looks for XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h) and jumps there with EBX pointing to
 * hvm_start_info; the state of everything else is that of docs/misc/pvh.pandoc: flat segments, no paging, no stack.
 */
#include "layout.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define CR0_PE (1 << 0)
#define CR0_MP (1 << 1)
#define CR0_NE (1 << 5)
#define CR0_WP (1 << 16)
#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define CR4_OSFXSR (1 << 9)
#define CR4_OSXMMEXCPT (1 << 10)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)
#define CPUID_LM (1 << 29)
#define COM1 0x3f8

	.section .note.pvh, "a", @note
	.balign 4
	.long 2f - 1f, 4f - 3f, XEN_ELFNOTE_PHYS32_ENTRY
1:	.asciz "Xen"
2:	.balign 4
3:	.quad pvh_start
4:	.balign 4

	.section .text.start, "ax"
	.code32
	.globl pvh_start
pvh_start:
	cld
	movl	$stack_top, %esp
	movl	%ebx, %edi

does_the_processor_have_long_mode:
	movl	$0x80000000, %eax
	cpuid
	cmpl	$0x80000001, %eax
	jb	no_long_mode
	movl	$0x80000001, %eax
	cpuid
	testl	$CPUID_LM, %edx
	jz	no_long_mode

map_the_first_4_gib_one_to_one:	/* with 2 MiB pages; paging.c makes the tables that the kernel finds */
	movl	$early_tables + 0x1003, early_tables
	movl	$early_tables + 0x2003, %eax
	xorl	%ecx, %ecx
1:	movl	%eax, early_tables + 0x1000(, %ecx, 8)
	addl	$0x1000, %eax
	incl	%ecx
	cmpl	$4, %ecx
	jb	1b
	movl	$0x83, %eax	/* present, writable, large */
	xorl	%ecx, %ecx
2:	movl	%eax, early_tables + 0x2000(, %ecx, 8)
	addl	$0x200000, %eax
	incl	%ecx
	cmpl	$2048, %ecx
	jb	2b

enter_long_mode:
	movl	$(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	movl	%eax, %cr4
	movl	$early_tables, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$(CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG), %eax
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$CODE_SELECTOR, $in_long_mode

no_long_mode:	/* this early there is nothing but the port */
	movl	$no_long_mode_text, %esi
	movw	$COM1, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	cli
	hlt
	jmp	2b

	.code64
in_long_mode:
	movl	$DATA_SELECTOR, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	/* The floating-point state that UEFI promises: 0x37f and 0x1f80 (UEFI 2.10, 2.3.4). */
	fninit
	ldmxcsr	mxcsr(%rip)
	movl	$stack_top, %esp
	movl	%edi, %edi	/* the upper half of hvm_start_info's address is zero */
	xorl	%ebp, %ebp
	call	shim_main	/* does not return */

/*
 * enter_kernel(entry, image handle, system table): EFI applications are called with the arguments in RCX and RDX, with 32
 * bytes of stack for the callee to use (UEFI 2.10, 2.3.4.2). Interrupts are on, and nothing is there to interrupt.
 */
	.globl enter_kernel
enter_kernel:
	movq	%rdi, %rax
	movq	%rsi, %rcx
	subq	$0x28, %rsp
	sti
	.globl the_jump
the_jump:
	call	*%rax
	cli
	addq	$0x28, %rsp
	ret

/* Exceptions: the stubs of all 32 vectors are 16 bytes apart; the processor pushes an error code for some of them. */
	.globl exception_stubs
	.balign 16
exception_stubs:
	vector = 0
	.rept 32
	.balign 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	vector = vector + 1
	.endr
exception:
	movq	%rsp, %rdi	/* vector, error code, RIP, CS, RFLAGS, RSP, SS */
	call	unexpected_exception

	.section .rodata.start, "a"
no_long_mode_text:
	.asciz "efishim: this processor has no 64-bit mode, and the kernel's EFI entry needs it\r\n"
	.balign 4
mxcsr:	.long 0x1f80
	.balign 8
gdt:	.quad 0
	.quad 0
	.quad 0x00cf93000000ffff	/* data, flat */
	.quad 0x00af9b000000ffff	/* code, 64-bit */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.section .bss.start, "aw", @nobits
	.balign 4096
	.globl early_tables, stack_bottom, stack_top
early_tables:
	.skip 6 * 4096
stack_bottom:
	.skip STACK_SIZE
stack_top:

	.section .note.GNU-stack, "", @progbits
