/* The runtime services table, the system table, and their move to virtual addresses (UEFI 2.10, chapter 8). */
#include "runtime.h"

extern u8 runtime_start[], runtime_end[];

struct system_table system_table;
struct runtime_services runtime_services;
struct configuration_table configuration_tables[MAX_TABLES];
struct machine machine;
struct rt_properties rt_properties;
u16 vendor_name[32];
bool boot_services_over;

static bool virtual;

efi_status EFIAPI get_time(struct efi_time *time, struct time_capabilities *capabilities);
efi_status EFIAPI get_variable(const u16 *name, const struct guid *vendor, u32 *attributes, u64 *size, void *data);
efi_status EFIAPI get_next_variable_name(u64 *size, u16 *name, struct guid *vendor);
efi_status EFIAPI set_variable(const u16 *name, const struct guid *vendor, u32 attributes, u64 size, const void *data);
efi_status EFIAPI query_variable_info(u32 attributes, u64 *storage, u64 *remaining, u64 *largest);
void EFIAPI reset_system(u32 type, efi_status status, u64 size, const void *data);

static efi_status EFIAPI runtime_unsupported(void)
{
	return EFI_UNSUPPORTED;
}

static inline void move(void *pointer, u64 distance)
{
	u64 *value = pointer;
	if (*value)
		*value += distance;
}

/*
 * 8.4. Linux reads the tables anew behind this call, so every pointer in them has to lead to where its target is then. All
 * targets lie in the one piece between runtime_start and runtime_end.
 */
efi_status EFIAPI set_virtual_address_map(u64 size, u64 descriptor_size, u32 version, const u8 *map)
{
	if (!boot_services_over || virtual)
		return EFI_UNSUPPORTED;
	if (version != DESCRIPTOR_VERSION || descriptor_size < sizeof(struct memory_descriptor) || !map)
		return EFI_INVALID_PARAMETER;
	u64 start = (u64)runtime_start, end = (u64)runtime_end;
	const struct memory_descriptor *ours = NULL;
	for (u64 at = 0; at + descriptor_size <= size; at += descriptor_size) {
		const struct memory_descriptor *one = (const void *)(map + at);
		if (one->physical_start <= start && end <= one->physical_start + one->pages * PAGE)
			ours = one;
	}
	if (!ours)
		return EFI_NOT_FOUND;
	u64 distance = ours->virtual_start - ours->physical_start;
	for (function *one = &runtime_services.get_time; one <= &runtime_services.query_variable_info; one++)
		move(one, distance);
	move(&system_table.firmware_vendor, distance);
	move(&system_table.runtime_services, distance);
	move(&system_table.configuration_table, distance);
	seal(&runtime_services.header);
	seal(&system_table.header);
	virtual = true;
	return EFI_SUCCESS;
}

void runtime_services_init(void)
{
	struct runtime_services *table = &runtime_services;
	for (function *one = &table->get_time; one <= &table->query_variable_info; one++)
		*one = runtime_unsupported;
	/* ConvertPointer (8.4.2) works inside of SetVirtualAddressMap only, where no code but ours runs. */
	table->get_time = get_time;
	table->set_virtual_address_map = set_virtual_address_map;
	table->get_variable = get_variable;
	table->get_next_variable_name = get_next_variable_name;
	table->set_variable = set_variable;
	table->reset_system = reset_system;
	table->query_variable_info = query_variable_info;
	table->header.signature = RUNTIME_SERVICES_SIGNATURE;
	table->header.revision = REVISION_2_100;
	table->header.header_size = sizeof(*table);
	seal(&table->header);
}
