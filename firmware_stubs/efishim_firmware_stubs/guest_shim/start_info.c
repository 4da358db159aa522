/*
 * hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h): the raw structures, and their way into the one record.
 *
 * Nothing in them is believed. What is wrong is said, with the field's name and its value, and is the end.
 */
#include "boot.h"
#include "runtime.h"

#define START_MAGIC 0x336ec578
#define LOW_MEMORY 0x100000 /* below, hypervisors put what no memory map mentions */
#define MOST_MODULES MAX_RAMDISKS + 1
#define LONGEST_COMMAND_LINE 0x10000
#define ADDRESS_BITS 52 /* of physical addresses (SDM volume 3, 4.1.4) */

struct start_info {
	u32 magic, version, flags, module_count;
	u64 modules, command_line, rsdp;
	/* since version 1 */
	u64 memory_map;
	u32 memory_map_entries, reserved;
};

struct module {
	u64 start, size, command_line, reserved;
};

struct memory_map_entry {
	u64 start, size;
	u32 type, reserved;
};

/* The early tables map the first 4 GiB, and what lies there can be read, be it memory or not. */
static const void *readable(u64 address, u64 size, const char *what)
{
	if (!address || address >= FOUR_GIB || size > FOUR_GIB - address)
		wrong_number(what, address);
	return (const void *)address;
}

/* Now that the memory map is known: is it memory? */
static void demand_memory(const struct boot *boot, u64 address, u64 size, const char *what)
{
	if (address + size <= LOW_MEMORY)
		return;
	for (u32 i = 0; i < boot->region_count; i++)
		if (boot->regions[i].start <= address && address + size <= boot->regions[i].end)
			return;
	wrong_number(what, address);
}

static bool overlap(struct range a, struct range b)
{
	return a.start < b.start + b.size && b.start < a.start + a.size;
}

static struct range own_range(void)
{
	return (struct range){(u64)shim_start, (u64)(shim_end - shim_start)};
}

/* All of it in ranges of RAM, which may follow each other without a gap. */
static bool in_ram(const struct boot *boot, struct range range)
{
	u64 at = range.start, end = range.start + range.size;
	for (bool moved = true; at < end && moved;) {
		moved = false;
		for (u32 i = 0; i < boot->region_count; i++) {
			const struct region *one = &boot->regions[i];
			if (one->type == REGION_RAM && one->start <= at && at < one->end) {
				at = one->end;
				moved = true;
			}
		}
	}
	return at >= end;
}

static void read_memory_map(const struct start_info *info, struct boot *boot)
{
	if (info->version >= 1 && info->memory_map_entries) { /* later versions only add fields */
		if (info->memory_map_entries > MAX_REGIONS)
			wrong_number("hvm_start_info: memmap_entries is too large:", info->memory_map_entries);
		const struct memory_map_entry *entries =
			readable(info->memory_map, info->memory_map_entries * sizeof(*entries),
				 "hvm_start_info: memmap_paddr leads nowhere:");
		for (u32 i = 0; i < info->memory_map_entries; i++)
			boot->regions[i] = (struct region){entries[i].start, entries[i].start + entries[i].size, entries[i].type};
		boot->region_count = info->memory_map_entries;
	} else if (!xen_memory_map(boot)) {
		wrong("hvm_start_info has no memory map, and there is no Xen to ask for one");
	}
	bool ram = false;
	for (u32 i = 0; i < boot->region_count; i++) {
		const struct region *one = &boot->regions[i];
		if (one->end < one->start)
			wrong_number("the memory map has a range that does not end, it begins at", one->start);
		if (one->end >> ADDRESS_BITS)
			wrong_number("the memory map has a range that no processor can address, it begins at", one->start);
		ram |= one->type == REGION_RAM && one->end > one->start;
	}
	if (!ram)
		wrong("the memory map has no RAM");
	if (!in_ram(boot, own_range()))
		wrong_number("the memory map has no RAM where the shim was put, at", own_range().start);
}

static void check_module(const struct boot *boot, struct range module)
{
	if (!module.size)
		wrong("hvm_start_info: a module is empty");
	if (module.start + module.size < module.start)
		wrong_number("hvm_start_info: a module does not end, it begins at", module.start);
	if (!in_ram(boot, module))
		wrong_number("hvm_start_info: a module lies outside of RAM, at", module.start);
	if (overlap(module, own_range()))
		wrong_number("hvm_start_info: a module overlaps the shim, at", module.start);
}

static void read_modules(const struct start_info *info, struct boot *boot)
{
	if (!info->module_count)
		wrong("hvm_start_info has no modules, and the first one must be the kernel");
	if (info->module_count > MOST_MODULES)
		wrong_number("hvm_start_info: nr_modules is too large:", info->module_count);
	u64 size = info->module_count * sizeof(struct module);
	const struct module *modules = readable(info->modules, size, "hvm_start_info: modlist_paddr leads nowhere:");
	demand_memory(boot, info->modules, size, "hvm_start_info: modlist_paddr does not lead to memory:");
	for (u32 i = 0; i < info->module_count; i++) {
		struct range module = {modules[i].start, modules[i].size};
		check_module(boot, module);
		for (u32 j = 0; j < i; j++)
			if (overlap(module, (struct range){modules[j].start, modules[j].size}))
				wrong_number("hvm_start_info: two modules overlap, at", module.start);
		if (i)
			boot->ramdisks[i - 1] = module;
		else
			boot->kernel = module;
	}
	boot->ramdisk_count = info->module_count - 1;
}

static void read_command_line(const struct start_info *info, struct boot *boot)
{
	boot->command_line = "";
	if (!info->command_line)
		return;
	const char *text = readable(info->command_line, 1, "hvm_start_info: cmdline_paddr leads nowhere:");
	u64 length = 0;
	while (length < LONGEST_COMMAND_LINE && info->command_line + length < FOUR_GIB && text[length])
		length++;
	if (length == LONGEST_COMMAND_LINE || info->command_line + length >= FOUR_GIB)
		wrong_number("hvm_start_info: the command line does not end, it begins at", info->command_line);
	demand_memory(boot, info->command_line, length + 1, "hvm_start_info: cmdline_paddr does not lead to memory:");
	boot->command_line = text;
}

void read_start_info(u64 address, struct boot *boot)
{
	const struct start_info *info = readable(address, sizeof(*info), "EBX does not point to hvm_start_info, it is");
	if (info->magic != START_MAGIC)
		wrong_number("hvm_start_info: the magic should be 0x336ec578, it is", info->magic);
	if (overlap((struct range){address, sizeof(*info)}, own_range()))
		wrong_number("hvm_start_info overlaps the shim, at", address);
	read_memory_map(info, boot);
	demand_memory(boot, address, sizeof(*info), "hvm_start_info does not lie in memory, but at");
	if (info->version >= 1 && info->memory_map_entries)
		demand_memory(boot, info->memory_map, info->memory_map_entries * sizeof(struct memory_map_entry),
			      "hvm_start_info: memmap_paddr does not lead to memory:");
	read_modules(info, boot);
	read_command_line(info, boot);
	if (info->rsdp) {
		readable(info->rsdp, 36, "hvm_start_info: rsdp_paddr leads nowhere:");
		if (memcmp((const void *)info->rsdp, "RSD PTR ", 8))
			wrong_number("hvm_start_info: rsdp_paddr does not point to an RSDP:", info->rsdp);
		boot->rsdp = info->rsdp;
	}
}
