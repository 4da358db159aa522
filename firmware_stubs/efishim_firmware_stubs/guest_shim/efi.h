/* What the UEFI Specification 2.10 lays out: types, statuses, tables and protocols, as far as the shim has them. */
#ifndef EFI_H
#define EFI_H

#include "types.h"

#define EFIAPI __attribute__((ms_abi)) /* 2.3.4.2: how x64 firmware and its images call each other */

typedef u64 efi_status;
typedef void *efi_handle;

/* Appendix D. */
#define EFI_ERROR_BIT (1ull << 63)
#define EFI_SUCCESS 0
#define EFI_LOAD_ERROR (EFI_ERROR_BIT | 1)
#define EFI_INVALID_PARAMETER (EFI_ERROR_BIT | 2)
#define EFI_UNSUPPORTED (EFI_ERROR_BIT | 3)
#define EFI_BUFFER_TOO_SMALL (EFI_ERROR_BIT | 5)
#define EFI_NOT_READY (EFI_ERROR_BIT | 6)
#define EFI_DEVICE_ERROR (EFI_ERROR_BIT | 7)
#define EFI_WRITE_PROTECTED (EFI_ERROR_BIT | 8)
#define EFI_OUT_OF_RESOURCES (EFI_ERROR_BIT | 9)
#define EFI_NOT_FOUND (EFI_ERROR_BIT | 14)
#define EFI_NO_MAPPING (EFI_ERROR_BIT | 17)
#define EFI_SECURITY_VIOLATION (EFI_ERROR_BIT | 26)
#define EFI_WARN_UNKNOWN_GLYPH 1

struct guid {
	u32 a;
	u16 b, c;
	u8 d[8];
};

/* 4.2. */
struct table_header {
	u64 signature;
	u32 revision, header_size, crc32, reserved;
};

#define SYSTEM_TABLE_SIGNATURE 0x5453595320494249ull /* "IBI SYST" */
#define BOOT_SERVICES_SIGNATURE 0x56524553544f4f42ull /* "BOOTSERV" */
#define RUNTIME_SERVICES_SIGNATURE 0x56524553544e5552ull /* "RUNTSERV" */
#define REVISION_2_100 (2 << 16 | 100)

struct configuration_table {
	struct guid guid;
	void *table;
};

/* 4.3. */
struct system_table {
	struct table_header header;
	u16 *firmware_vendor;
	u32 firmware_revision;
	u32 padding;
	efi_handle console_in_handle;
	void *console_in;
	efi_handle console_out_handle;
	void *console_out;
	efi_handle standard_error_handle;
	void *standard_error;
	struct runtime_services *runtime_services;
	struct boot_services *boot_services;
	u64 table_entries;
	struct configuration_table *configuration_table;
};

/* 7.2.1, 7.2.3. */
enum allocate_type { ANY_PAGES, MAX_ADDRESS, AT_ADDRESS };
enum memory_type {
	RESERVED_MEMORY,
	LOADER_CODE,
	LOADER_DATA,
	BOOT_SERVICES_CODE,
	BOOT_SERVICES_DATA,
	RUNTIME_SERVICES_CODE,
	RUNTIME_SERVICES_DATA,
	CONVENTIONAL_MEMORY,
	UNUSABLE_MEMORY,
	ACPI_RECLAIM_MEMORY,
	ACPI_MEMORY_NVS,
	MEMORY_MAPPED_IO,
	MEMORY_MAPPED_IO_PORT_SPACE,
	PAL_CODE,
	PERSISTENT_MEMORY,
	UNACCEPTED_MEMORY,
};
#define FIRST_OEM_MEMORY_TYPE 0x70000000
#define MEMORY_UC 0x1
#define MEMORY_CACHEABLE 0xf /* UC, WC, WT, WB: what memory can be mapped as */
#define MEMORY_RP 0x2000
#define MEMORY_XP 0x4000
#define MEMORY_RO 0x20000
#define MEMORY_RUNTIME (1ull << 63)
#define DESCRIPTOR_VERSION 1

struct memory_descriptor {
	u32 type;
	u32 padding;
	u64 physical_start, virtual_start, pages, attribute;
};

/* 10.3: a device path is a list of nodes. */
struct device_path {
	u8 type, subtype;
	u8 length[2];
};

/* 9.1. */
struct loaded_image {
	u32 revision, padding;
	efi_handle parent;
	struct system_table *system_table;
	efi_handle device;
	struct device_path *file_path;
	void *reserved;
	u32 load_options_size, padding2;
	void *load_options;
	void *image_base;
	u64 image_size;
	u32 code_type, data_type;
	void *unload;
};
#define LOADED_IMAGE_REVISION 0x1000

/* 8.3. */
struct efi_time {
	u16 year;
	u8 month, day, hour, minute, second, pad1;
	u32 nanosecond;
	i16 timezone;
	u8 daylight, pad2;
};
struct time_capabilities {
	u32 resolution, accuracy;
	u8 sets_to_zero;
};
#define UNSPECIFIED_TIMEZONE 0x7ff

/* 4.4 and 4.5: tables of functions. Slots without a name of their own are those that answer EFI_UNSUPPORTED. */
typedef void *function;

struct boot_services {
	struct table_header header;
	function raise_tpl, restore_tpl;
	function allocate_pages, free_pages, get_memory_map, allocate_pool, free_pool;
	function create_event, set_timer, wait_for_event, signal_event, close_event, check_event;
	function install_protocol_interface, reinstall_protocol_interface, uninstall_protocol_interface;
	function handle_protocol, reserved, register_protocol_notify, locate_handle, locate_device_path;
	function install_configuration_table;
	function load_image, start_image, exit, unload_image, exit_boot_services;
	function get_next_monotonic_count, stall, set_watchdog_timer;
	function connect_controller, disconnect_controller;
	function open_protocol, close_protocol, open_protocol_information;
	function protocols_per_handle, locate_handle_buffer, locate_protocol;
	function install_multiple_protocol_interfaces, uninstall_multiple_protocol_interfaces;
	function calculate_crc32, copy_mem, set_mem, create_event_ex;
};

struct runtime_services {
	struct table_header header;
	function get_time, set_time, get_wakeup_time, set_wakeup_time;
	function set_virtual_address_map, convert_pointer;
	function get_variable, get_next_variable_name, set_variable;
	function get_next_high_monotonic_count, reset_system;
	function update_capsule, query_capsule_capabilities, query_variable_info;
};

/* 4.6.2: bits of RuntimeServicesSupported. */
struct rt_properties {
	u16 version, length;
	u32 supported;
};
#define RT_GET_TIME 0x1
#define RT_GET_VARIABLE 0x10
#define RT_GET_NEXT_VARIABLE_NAME 0x20
#define RT_SET_VIRTUAL_ADDRESS_MAP 0x80
#define RT_RESET_SYSTEM 0x400
#define RT_QUERY_VARIABLE_INFO 0x2000

/* 4.6.4. */
struct memory_attributes_table {
	u32 version, entries, descriptor_size, flags;
	struct memory_descriptor descriptors[2];
};

/* 8.5.1. */
enum reset_type { RESET_COLD, RESET_WARM, RESET_SHUTDOWN, RESET_PLATFORM_SPECIFIC };

#endif
