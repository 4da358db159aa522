/* The system table and its configuration tables (UEFI 2.10, 4.3 and 4.6). */
#include "boot.h"
#include "runtime.h"

#define FIRMWARE_REVISION 0x10000

static const struct guid ACPI_10 = {0xeb9d2d30, 0x2d88, 0x11d3, {0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};
static const struct guid ACPI_20 = {0x8868e871, 0xe4f1, 0x11d3, {0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};
static const struct guid SMBIOS = {0xeb9d2d31, 0x2d88, 0x11d3, {0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};
static const struct guid SMBIOS3 = {0xf2fd1544, 0x9794, 0x4a2c, {0x99, 0x2e, 0xe5, 0xbb, 0xcf, 0x20, 0xe3, 0x94}};
static const struct guid RT_PROPERTIES = {0xeb66918a, 0x7eef, 0x402a, {0x84, 0x2e, 0x93, 0x1d, 0x21, 0xc3, 0x8a, 0xe9}};
static const struct guid MEMORY_ATTRIBUTES = {0xdcfa911d, 0x26eb, 0x469f, {0xa2, 0x20, 0x38, 0xb7, 0xdc, 0x46, 0x12, 0x20}};

bool put_table(const struct guid *guid, void *table)
{
	if (system_table.table_entries == MAX_TABLES)
		return false;
	configuration_tables[system_table.table_entries++] = (struct configuration_table){*guid, table};
	seal(&system_table.header);
	return true;
}

/* Which runtime services a kernel may call (4.6.2). */
static void put_rt_properties(void)
{
	u32 clock = machine.cmos_clock ? RT_GET_TIME : 0;
	rt_properties = (struct rt_properties){1, sizeof(rt_properties),
					       clock | RT_GET_VARIABLE | RT_GET_NEXT_VARIABLE_NAME | RT_QUERY_VARIABLE_INFO |
						       RT_SET_VIRTUAL_ADDRESS_MAP | RT_RESET_SYSTEM};
	put_table(&RT_PROPERTIES, &rt_properties);
}

/*
 * Which part of runtime memory is code, and is not written, and which is data, and is not executed (4.6.4). The memory map has
 * one range of runtime code for both, since they have to stay together.
 */
static void put_memory_attributes(void)
{
	u64 start = (u64)runtime_start, middle = (u64)runtime_code_end, end = (u64)runtime_end;
	struct memory_attributes_table *table = take_pool(sizeof(*table), BOOT_SERVICES_DATA);
	*table = (struct memory_attributes_table){
		1,
		2,
		sizeof(struct memory_descriptor),
		0,
		{{RUNTIME_SERVICES_CODE, 0, start, 0, (middle - start) / PAGE, MEMORY_RUNTIME | MEMORY_RO},
		 {RUNTIME_SERVICES_CODE, 0, middle, 0, (end - middle) / PAGE, MEMORY_RUNTIME | MEMORY_XP}}};
	put_table(&MEMORY_ATTRIBUTES, table);
}

void tables_init(const struct boot *boot)
{
	static const char vendor[] = "efishim guest shim";
	for (u32 i = 0; i < sizeof(vendor); i++)
		vendor_name[i] = vendor[i];
	system_table.header.signature = SYSTEM_TABLE_SIGNATURE;
	system_table.header.revision = REVISION_2_100;
	system_table.header.header_size = sizeof(system_table);
	system_table.firmware_vendor = vendor_name;
	system_table.firmware_revision = FIRMWARE_REVISION;
	system_table.runtime_services = &runtime_services;
	system_table.configuration_table = configuration_tables;
	if (boot->rsdp) {
		bool extended = ((const u8 *)boot->rsdp)[15] >= 2; /* the revision (ACPI 6.5, 5.2.5.3) */
		if (extended)
			put_table(&ACPI_20, (void *)boot->rsdp);
		put_table(&ACPI_10, (void *)boot->rsdp);
	}
	if (boot->smbios)
		put_table(&SMBIOS, (void *)boot->smbios);
	if (boot->smbios3)
		put_table(&SMBIOS3, (void *)boot->smbios3);
	put_rt_properties();
	put_memory_attributes();
}
