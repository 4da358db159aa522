/*
 * The one record that hvm_start_info becomes, and what the parts of the shim have for each other.
 *
 * main.c fills the record and passes it on; nothing behind it knows which structure it came from.
 */
#ifndef BOOT_H
#define BOOT_H

#include "efi.h"

#define MAX_REGIONS 256
#define MAX_RAMDISKS 16

struct range {
	u64 start, size;
};

struct region { /* of the memory map; type as in ACPI 6.5, table 15.4 */
	u64 start, end;
	u32 type;
};
#define REGION_RAM 1

struct boot {
	const char *command_line; /* never NULL */
	struct range kernel;
	struct range ramdisks[MAX_RAMDISKS]; /* one behind the other they are what the kernel gets */
	u32 ramdisk_count;
	u64 rsdp;    /* 0 without one */
	u64 smbios;  /* the 32-bit entry point, 0 without one */
	u64 smbios3; /* the 64-bit entry point, 0 without one */
	struct region regions[MAX_REGIONS];
	u32 region_count;
};

/* Names of the linker script. */
extern u8 shim_start[], shim_end[], runtime_start[], runtime_code_end[], runtime_end[];
extern u8 stack_bottom[], stack_top[], exception_stubs[];

/* start.S */
efi_status enter_kernel(u64 entry, efi_handle image, struct system_table *system_table);

/* console.c */
void console_init(void);
void say(const char *text);
void say_hex(u64 number);
_Noreturn void stop(void);
_Noreturn void wrong(const char *what); /* says it and stops */
_Noreturn void wrong_number(const char *what, u64 number);

/* exceptions.c */
void exceptions_init(void);

/* start_info.c, platform.c, xen.c: filling the record */
void read_start_info(u64 address, struct boot *boot);
void find_tables(struct boot *boot);
void xen_init(void);
u32 xen_memory_map(struct boot *boot);

/* acpi.c */
void read_acpi(u64 rsdp);

/* memory_map.c */
void memory_map_init(const struct boot *boot);
bool take_range(u64 start, u64 end, enum memory_type type);
u64 take_pages(u64 pages, enum memory_type type);
void *take_pool(u64 size, enum memory_type type);
bool map_key_is_current(u64 key);
u64 top_of_memory(void);

/* paging.c: rights are of EFI_MEMORY_RP, _RO and _XP, what is not set is allowed */
void paging_init(void);
void set_rights(u64 start, u64 end, u64 rights);
bool change_rights(u64 start, u64 end, u64 set, u64 clear);
bool rights_of(u64 start, u64 end, u64 *rights);
void be_strict(void); /* where the processor can */
extern bool strict; /* nothing but code can be executed, and code not written */

/* pe.c */
struct image {
	u64 base, size, entry;
};
void load_kernel(const struct boot *boot, struct image *image);
u64 pe_file_size(const u8 *file, u64 size);
bool pe_wants_strict(const u8 *file);

/* handles.c */
struct handle;
extern struct handle image_handle, ramdisk_handle, console_handle, processor_handle;
void install_protocol(struct handle *handle, const struct guid *guid, void *interface);

/* boot_services.c, runtime_services.c */
void boot_services_init(void);
void runtime_services_init(void);

/* Protocols: each installs itself. */
void install_loaded_image(const struct boot *boot, const struct image *image);
void install_load_file2(const struct boot *boot);
void install_text_console(void);
void install_rng(void);
void install_memory_attribute(void);

/* tables.c */
void tables_init(const struct boot *boot);
bool put_table(const struct guid *guid, void *table);
#endif
