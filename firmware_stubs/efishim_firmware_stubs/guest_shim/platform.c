/*
 * What hvm_start_info does not say and a boot loader may look for: the anchors of ACPI and SMBIOS in the BIOS area
 * (ACPI 6.5, 5.2.5.1; SMBIOS 3.0, 5.2).
 */
#include "boot.h"
#include "runtime.h"

#define BIOS_AREA 0xe0000
#define UPPER_HALF 0xf0000
#define BIOS_END 0x100000
#define PARAGRAPH 16
#define RSDP_SIZE 20
#define SMBIOS_SIZE 31
#define SMBIOS3_SIZE 24

static u64 search(u64 start, const char *anchor, u64 length, u64 size)
{
	for (u64 at = start; at + size <= BIOS_END; at += PARAGRAPH) {
		const u8 *bytes = (const u8 *)at;
		u8 sum = 0;
		if (memcmp(bytes, anchor, length))
			continue;
		for (u64 i = 0; i < size; i++)
			sum += bytes[i];
		if (!sum)
			return at;
	}
	return 0;
}

void find_tables(struct boot *boot)
{
	if (!boot->rsdp)
		boot->rsdp = search(BIOS_AREA, "RSD PTR ", 8, RSDP_SIZE);
	boot->smbios3 = search(UPPER_HALF, "_SM3_", 5, SMBIOS3_SIZE);
	boot->smbios = search(UPPER_HALF, "_SM_", 4, SMBIOS_SIZE);
}
