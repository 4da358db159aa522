/*
 * The shim from its first line of C to the kernel's EFI entry. start.S comes before, with EBX in `start_info`.
 */
#include "boot.h"
#include "runtime.h"

static struct boot boot; /* zero, but for what is read */

/* A hypervisor that gives one module only has the ramdisk in it, behind the kernel (`cat vmlinuz initrd.img`). */
static void divide_module(void)
{
	u64 length = pe_file_size((const u8 *)boot.kernel.start, boot.kernel.size);
	if (!boot.ramdisk_count && length < boot.kernel.size) {
		boot.ramdisks[0] = (struct range){boot.kernel.start + length, boot.kernel.size - length};
		boot.ramdisk_count = 1;
	}
}

_Noreturn void shim_main(u64 start_info);

void shim_main(u64 start_info)
{
	exceptions_init();
	xen_init();
	console_init();

	read_start_info(start_info, &boot);
	find_tables(&boot);
	memory_map_init(&boot);
	paging_init();
	divide_module();
	read_acpi(boot.rsdp);

	struct image image;
	if (pe_wants_strict((const u8 *)boot.kernel.start))
		be_strict();
	load_kernel(&boot, &image);

	runtime_services_init();
	boot_services_init();
	tables_init(&boot);
	install_loaded_image(&boot, &image);
	install_load_file2(&boot);
	install_text_console();
	install_rng();
	install_memory_attribute();
	seal(&system_table.header);

	efi_status status = enter_kernel(image.entry, &image_handle, &system_table);
	wrong_number("the kernel's EFI stub returned, with the status", status);
}
