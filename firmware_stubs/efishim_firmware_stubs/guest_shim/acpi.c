/* What the runtime services need of the ACPI tables: how to switch off, how to reset, and is there a clock (ACPI 6.5). */
#include "boot.h"
#include "runtime.h"
#include "cpu.h"

#define LARGEST_TABLE 0x400000
#define NO_CMOS_CLOCK (1 << 5) /* IAPC_BOOT_ARCH, table 5.11 */
#define HAS_8042 (1 << 1)
#define RESET_REGISTER (1 << 10)   /* flags, table 5.10 */
#define HARDWARE_REDUCED (1 << 20)
#define SYSTEM_IO 1 /* address space of a generic address structure, table 5.1 */
#define PCAT_COMPAT 1 /* MADT flags, table 5.20: there is a pair of 8259 */
#define PIC_MASKS {0x21, 0xa1}
#define NAME_OP 0x08
#define PACKAGE_OP 0x12
#define BYTE_PREFIX 0x0a
#define ONE_OP 0x01

struct table {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char rest[26];
};

struct generic_address {
	u8 space, width, offset, access;
	u64 address;
} __attribute__((packed));

struct fadt {
	struct table header;
	u32 facs, dsdt;
	u8 reserved[12];
	u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control;
	u8 reserved2[36];
	u8 century;
	u16 boot_architecture;
	u8 reserved3;
	u32 flags;
	struct generic_address reset;
	u8 reset_value, reserved4[3];
	u64 x_facs, x_dsdt;
	struct generic_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control;
	u8 reserved5[48];
	struct generic_address sleep_control;
} __attribute__((packed));

static const struct table *table_at(u64 address)
{
	const struct table *table = (const void *)address;
	if (!address || address >= FOUR_GIB - sizeof(*table))
		return NULL;
	if (table->length < sizeof(*table) || table->length > LARGEST_TABLE || table->length > FOUR_GIB - address)
		return NULL;
	return table;
}

static const struct table *find_table(u64 rsdp, const char *signature)
{
	const u8 *bytes = (const u8 *)rsdp;
	u64 xsdt = bytes[15] >= 2 ? *(const u64 *)(bytes + 24) : 0;
	u64 width = table_at(xsdt) ? 8 : 4;
	const struct table *root = width == 8 ? table_at(xsdt) : table_at(*(const u32 *)(bytes + 16));
	if (!root)
		return NULL;
	for (u64 at = sizeof(*root); at + width <= root->length; at += width) {
		u64 address = *(const u32 *)((const u8 *)root + at);
		if (width == 8)
			address |= (u64) * (const u32 *)((const u8 *)root + at + 4) << 32;
		const struct table *found = table_at(address);
		if (found && !memcmp(found->signature, signature, 4))
			return found;
	}
	return NULL;
}

static bool byte_constant(const u8 **at, const u8 *end, u8 *value)
{
	if (*at < end && **at <= ONE_OP) {
		*value = *(*at)++;
		return true;
	}
	if (*at + 1 < end && **at == BYTE_PREFIX) {
		*value = (*at)[1];
		*at += 2;
		return true;
	}
	return false;
}

/* Name (\_S5, Package () {type a, type b, ...}) in the DSDT's byte code (20.2.5.1, 20.2.5.4). */
static void read_sleep_types(const struct table *dsdt)
{
	const u8 *at = (const u8 *)(dsdt + 1), *end = (const u8 *)dsdt + dsdt->length;
	for (; at + 8 < end; at++) {
		if (memcmp(at, "_S5_", 4) || at[4] != PACKAGE_OP || (at[-1] != NAME_OP && at[-1] != '\\'))
			continue;
		const u8 *element = at + 5 + 1 + (at[5] >> 6) + 1; /* PkgLength of 1 to 4 bytes, NumElements */
		if (byte_constant(&element, end, &machine.sleep_type_a)) {
			if (!byte_constant(&element, end, &machine.sleep_type_b))
				machine.sleep_type_b = machine.sleep_type_a;
			machine.soft_off = true;
		}
		return;
	}
}

/* The extended field of a newer table if it has one, else the old one. */
static struct io_register control(const struct fadt *fadt, const struct generic_address *extended, u32 port)
{
	if ((const u8 *)(extended + 1) <= (const u8 *)fadt + fadt->header.length && extended->space == SYSTEM_IO &&
	    extended->address && extended->address < 0x10000)
		return (struct io_register){extended->address, 2};
	return (struct io_register){port < 0x10000 ? port : 0, 2};
}

static void mask_interrupt_controller(u64 rsdp)
{
	const struct table *madt = find_table(rsdp, "APIC");
	if (!madt || madt->length < sizeof(*madt) + 8 || !(*(const u32 *)((const u8 *)(madt + 1) + 4) & PCAT_COMPAT))
		return;
	static const u16 masks[] = PIC_MASKS;
	for (u64 i = 0; i < COUNT(masks); i++)
		out8(masks[i], 0xff);
}

void read_acpi(u64 rsdp)
{
	if (!rsdp)
		return;
	mask_interrupt_controller(rsdp);
	const struct fadt *fadt = (const void *)find_table(rsdp, "FACP");
	if (!fadt || fadt->header.length < __builtin_offsetof(struct fadt, reset))
		return;
	u32 length = fadt->header.length;
	machine.cmos_clock = !(fadt->boot_architecture & NO_CMOS_CLOCK);
	machine.century = fadt->century < 0x80 ? fadt->century : 0;
	machine.keyboard_controller = fadt->boot_architecture & HAS_8042;
	if (length >= __builtin_offsetof(struct fadt, x_facs) && fadt->flags & RESET_REGISTER && fadt->reset.space == SYSTEM_IO &&
	    fadt->reset.address < 0x10000) {
		machine.reset = (struct io_register){fadt->reset.address, 1};
		machine.reset_value = fadt->reset_value;
	}
	if (fadt->flags & HARDWARE_REDUCED) {
		if (length >= sizeof(*fadt) && fadt->sleep_control.space == SYSTEM_IO && fadt->sleep_control.address < 0x10000)
			machine.sleep_control = (struct io_register){fadt->sleep_control.address, 1};
	} else {
		machine.pm1a = control(fadt, &fadt->x_pm1a_control, fadt->pm1a_control);
		machine.pm1b = control(fadt, &fadt->x_pm1b_control, fadt->pm1b_control);
	}
	u64 x_dsdt = length >= __builtin_offsetof(struct fadt, x_pm1a_event) ? fadt->x_dsdt : 0;
	const struct table *dsdt = table_at(x_dsdt) ? table_at(x_dsdt) : table_at(fadt->dsdt);
	if (dsdt)
		read_sleep_types(dsdt);
}
