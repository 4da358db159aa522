/*
 * ResetSystem (UEFI 2.10, 8.5.1) by what the machine declares: the hypervisor's own call on Xen, else the registers of the
 * FADT (ACPI 6.5, 4.8.3), and at the very end what every x86 processor does without an IDT.
 */
#include "cpu.h"
#include "runtime.h"

#define SCHEDOP_SHUTDOWN 2
#define SHUTDOWN_POWEROFF 0
#define SHUTDOWN_REBOOT 1
#define SLEEP_ENABLE (1 << 13)
#define SLEEP_TYPE_SHIFT 10
#define KEEP_IN_CONTROL 0x203 /* SCI_EN, BM_RLD and bit 9 of PM1 control stay as they are */
#define HW_REDUCED_ENABLE (1 << 5)
#define HW_REDUCED_TYPE_SHIFT 2
#define KEYBOARD_COMMAND 0x64
#define PULSE_RESET 0xfe

static void sleep_by(struct io_register control, u8 type)
{
	if (control.port)
		out16(control.port, (in16(control.port) & KEEP_IN_CONTROL) | type << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
}

static void switch_off(void)
{
	if (!machine.soft_off)
		return;
	if (machine.sleep_control.port)
		out8(machine.sleep_control.port, machine.sleep_type_a << HW_REDUCED_TYPE_SHIFT | HW_REDUCED_ENABLE);
	sleep_by(machine.pm1a, machine.sleep_type_a);
	sleep_by(machine.pm1b, machine.sleep_type_b);
}

static void restart(void)
{
	if (machine.reset.port)
		out8(machine.reset.port, machine.reset_value);
	if (machine.keyboard_controller)
		out8(KEYBOARD_COMMAND, PULSE_RESET);
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) nothing = {0, 0};
	__asm__ volatile("lidt %0; int3" : : "m"(nothing)); /* a triple fault */
}

void EFIAPI reset_system(u32 type, efi_status status, u64 size, const void *data)
{
	(void)status, (void)size, (void)data;
	if (type > RESET_PLATFORM_SPECIFIC)
		return;
	u32 reason = type == RESET_SHUTDOWN ? SHUTDOWN_POWEROFF : SHUTDOWN_REBOOT;
	hypercall(XEN_SCHED_OP, SCHEDOP_SHUTDOWN, (u64)&reason, 0);
	if (type == RESET_SHUTDOWN)
		switch_off();
	else
		restart();
	halt(); /* the call does not return */
}
