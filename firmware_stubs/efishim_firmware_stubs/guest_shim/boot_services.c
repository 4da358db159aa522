/* The boot services table (UEFI 2.10, 4.4), the services of no other file, and the end of all of them. */
#include "boot.h"
#include "handles.h"
#include "memory_services.h"
#include "runtime.h"

#define TPL_APPLICATION 4
#define TPL_HIGH_LEVEL 31

static struct boot_services table;

/* What kernels do not use. A pointer has to be there, and this status is what the specification has for such functions. */
static efi_status EFIAPI unsupported(void)
{
	return EFI_UNSUPPORTED;
}

static u64 tpl = TPL_APPLICATION;

/* No event exists that a level could hold back, so the levels are only remembered (7.1.8). */
static u64 EFIAPI raise_tpl(u64 level)
{
	u64 before = tpl;
	tpl = level;
	return before;
}

static void EFIAPI restore_tpl(u64 level)
{
	tpl = level;
}

static efi_status EFIAPI install_configuration_table(const struct guid *guid, void *configuration)
{
	if (!guid)
		return EFI_INVALID_PARAMETER;
	u64 entries = system_table.table_entries;
	for (u64 i = 0; i < entries; i++) {
		if (memcmp(&configuration_tables[i].guid, guid, sizeof(*guid)))
			continue;
		if (configuration) {
			configuration_tables[i].table = configuration;
		} else {
			memmove(configuration_tables + i, configuration_tables + i + 1, (entries - i - 1) * sizeof(*configuration_tables));
			system_table.table_entries--;
		}
		seal(&system_table.header);
		return EFI_SUCCESS;
	}
	if (!configuration)
		return EFI_NOT_FOUND;
	return put_table(guid, configuration) ? EFI_SUCCESS : EFI_OUT_OF_RESOURCES;
}

/* The image gives up, and there is nothing else that could be started. */
static efi_status EFIAPI exit_image(efi_handle image, efi_status status, u64 size, const u16 *data)
{
	(void)size, (void)data;
	if (image != &image_handle)
		return EFI_INVALID_PARAMETER;
	wrong_number("the kernel's EFI stub gave up, with the status", status);
}

static efi_status EFIAPI exit_boot_services(efi_handle image, u64 map_key)
{
	if (image != &image_handle || !map_key_is_current(map_key))
		return EFI_INVALID_PARAMETER;
	boot_services_over = true;
	system_table.console_in_handle = system_table.console_out_handle = system_table.standard_error_handle = NULL;
	system_table.console_in = system_table.console_out = system_table.standard_error = NULL;
	system_table.boot_services = NULL;
	seal(&system_table.header);
	return EFI_SUCCESS;
}

/* There is no watchdog, so none can be set, and none bites (7.5.1: EFI_UNSUPPORTED). */

static efi_status EFIAPI calculate_crc32(const void *data, u64 size, u32 *crc)
{
	if (!data || !size || !crc)
		return EFI_INVALID_PARAMETER;
	*crc = crc32(data, size);
	return EFI_SUCCESS;
}

static void EFIAPI copy_mem(void *to, const void *from, u64 size)
{
	memmove(to, from, size);
}

static void EFIAPI set_mem(void *to, u64 size, u8 value)
{
	memset(to, value, size);
}

void boot_services_init(void)
{
	for (function *one = &table.raise_tpl; one <= &table.create_event_ex; one++)
		*one = unsupported;
	table.raise_tpl = raise_tpl;
	table.restore_tpl = restore_tpl;
	table.allocate_pages = allocate_pages;
	table.free_pages = free_pages;
	table.get_memory_map = get_memory_map;
	table.allocate_pool = allocate_pool;
	table.free_pool = free_pool;
	table.handle_protocol = handle_protocol;
	table.open_protocol = open_protocol;
	table.locate_handle = locate_handle;
	table.locate_handle_buffer = locate_handle_buffer;
	table.locate_protocol = locate_protocol;
	table.locate_device_path = locate_device_path;
	table.install_configuration_table = install_configuration_table;
	table.exit = exit_image;
	table.exit_boot_services = exit_boot_services;
	table.calculate_crc32 = calculate_crc32;
	table.copy_mem = copy_mem;
	table.set_mem = set_mem;
	table.header.signature = BOOT_SERVICES_SIGNATURE;
	table.header.revision = REVISION_2_100;
	table.header.header_size = sizeof(table);
	seal(&table.header);
	system_table.boot_services = &table;
}
