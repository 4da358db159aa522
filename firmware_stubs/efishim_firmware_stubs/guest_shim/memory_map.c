/*
 * The memory map: sorted ranges without overlaps, in whole pages, and the services that give memory away
 * (UEFI 2.10, 7.2). Pool is given in whole pages: a kernel asks for it a dozen times.
 */
#include "boot.h"
#include "memory_services.h"
#include "runtime.h"

#define MAX_DESCRIPTORS 512
#define SPARE 3		    /* the most that one change adds */
#define DESCRIPTOR_SIZE 48  /* larger than the structure, as in EDK II, so that nobody gets away with its size */
#define LOWEST_PAGE PAGE    /* page 0 is nobody's, so that NULL is never the address of anything */
#define POOL_SIGNATURE 0x6c6f6f70

static struct memory_descriptor map[MAX_DESCRIPTORS];
static u32 count;
static u64 key;

static inline u64 end_of(const struct memory_descriptor *one) { return one->physical_start + one->pages * PAGE; }

static void insert(u32 index, struct memory_descriptor one)
{
	memmove(map + index + 1, map + index, (count - index) * sizeof(*map));
	map[index] = one;
	count++;
}

static void drop(u32 first, u32 number)
{
	memmove(map + first, map + first + number, (count - first - number) * sizeof(*map));
	count -= number;
}

/* Index of the first range that ends above an address. */
static u32 index_at(u64 address)
{
	u32 index = 0;
	while (index < count && end_of(map + index) <= address)
		index++;
	return index;
}

static void split_at(u64 address)
{
	u32 index = index_at(address);
	if (index == count || map[index].physical_start >= address)
		return;
	struct memory_descriptor upper = map[index];
	u64 below = (address - upper.physical_start) / PAGE;
	map[index].pages = below;
	upper.physical_start = address;
	upper.pages -= below;
	insert(index + 1, upper);
}

static void merge(u32 index)
{
	struct memory_descriptor *low = map + index, *high = low + 1;
	if (index + 1 >= count || low->type != high->type || low->attribute != high->attribute || end_of(low) != high->physical_start)
		return;
	low->pages += high->pages;
	drop(index + 1, 1);
}

static u64 attribute_of(u32 type)
{
	if (type == RESERVED_MEMORY) /* it may be anything, and uncached is always right */
		return MEMORY_UC;
	bool runtime = type == RUNTIME_SERVICES_CODE || type == RUNTIME_SERVICES_DATA;
	return MEMORY_CACHEABLE | (runtime ? MEMORY_RUNTIME : 0);
}

/* [start, end) becomes one range of a type, whatever was there. */
static bool set_range(u64 start, u64 end, u32 type)
{
	if (count + SPARE > MAX_DESCRIPTORS)
		return false;
	split_at(start);
	split_at(end);
	u32 first = index_at(start), last = first;
	while (last < count && map[last].physical_start < end)
		last++;
	drop(first, last - first);
	insert(first, (struct memory_descriptor){type, 0, start, 0, (end - start) / PAGE, attribute_of(type)});
	merge(first);
	if (first)
		merge(first - 1);
	key++;
	return true;
}

bool take_range(u64 start, u64 end, enum memory_type type)
{
	start &= ~(PAGE - 1);
	end = (end + PAGE - 1) & ~(PAGE - 1);
	u32 index = index_at(start);
	if (index == count || map[index].type != CONVENTIONAL_MEMORY || start < map[index].physical_start || end > end_of(map + index))
		return false;
	return set_range(start, end, type);
}

static u32 efi_type(u32 e820) /* ACPI 6.5, table 15.4 and its right-hand neighbour */
{
	switch (e820) {
	case 1: return CONVENTIONAL_MEMORY;
	case 3: return ACPI_RECLAIM_MEMORY;
	case 4: return ACPI_MEMORY_NVS;
	case 5: return UNUSABLE_MEMORY;
	case 7: return PERSISTENT_MEMORY;
	default: return RESERVED_MEMORY;
	}
}

/* Free memory is cut to whole pages, everything else grows to whole pages, and where ranges overlap the later one wins. */
static void add_regions(const struct boot *boot, u32 type)
{
	for (u32 i = 0; i < boot->region_count; i++) {
		u64 start = boot->regions[i].start, end = boot->regions[i].end;
		if (efi_type(boot->regions[i].type) != type)
			continue;
		u64 up = PAGE - 1, low_up = type == CONVENTIONAL_MEMORY ? up : 0, high_up = up - low_up;
		start = (start + low_up) & ~up;
		end = (end + high_up) & ~up;
		if (start < end && !set_range(start, end, type))
			wrong("the memory map has too many ranges");
	}
}

static void keep(u64 start, u64 end, enum memory_type type)
{
	start &= ~(PAGE - 1);
	end = (end + PAGE - 1) & ~(PAGE - 1);
	while (start < end) { /* a module may lie in several ranges of RAM that are one behind the other */
		u32 index = index_at(start);
		u64 stop_at = index < count && end_of(map + index) < end ? end_of(map + index) : end;
		if (!take_range(start, stop_at, type))
			wrong_number("the memory map has no room for what lies at", start);
		start = stop_at;
	}
}

void memory_map_init(const struct boot *boot)
{
	static const u32 order[] = {CONVENTIONAL_MEMORY, RESERVED_MEMORY,   UNUSABLE_MEMORY,
				    ACPI_RECLAIM_MEMORY, ACPI_MEMORY_NVS,   PERSISTENT_MEMORY};
	for (u32 i = 0; i < COUNT(order); i++)
		add_regions(boot, order[i]);
	take_range(0, LOWEST_PAGE, BOOT_SERVICES_CODE);
	keep((u64)shim_start, (u64)runtime_start, BOOT_SERVICES_CODE);
	keep((u64)runtime_start, (u64)runtime_end, RUNTIME_SERVICES_CODE);
	keep((u64)runtime_end, (u64)shim_end, BOOT_SERVICES_DATA);
	keep(boot->kernel.start, boot->kernel.start + boot->kernel.size, LOADER_DATA);
	for (u32 i = 0; i < boot->ramdisk_count; i++)
		keep(boot->ramdisks[i].start, boot->ramdisks[i].start + boot->ramdisks[i].size, LOADER_DATA);
	u64 line = (u64)boot->command_line, end = line;
	while (*(const char *)end++)
		;
	take_range(line, end, LOADER_DATA); /* refused where it is not free memory, and then nobody else gets it either */
}

u64 top_of_memory(void)
{
	u64 top = FOUR_GIB;
	for (u32 i = 0; i < count; i++)
		if (map[i].attribute & MEMORY_CACHEABLE & ~MEMORY_UC && end_of(map + i) > top)
			top = end_of(map + i);
	return top;
}

/* The highest free pages that end at or below a limit; 0 when there are none. */
static u64 find_free(u64 pages, u64 limit)
{
	for (u32 i = count; i--;) {
		u64 end = end_of(map + i) < limit ? end_of(map + i) : limit & ~(PAGE - 1);
		if (map[i].type == CONVENTIONAL_MEMORY && end > map[i].physical_start && pages <= (end - map[i].physical_start) / PAGE)
			return end - pages * PAGE;
	}
	return 0;
}

u64 take_pages(u64 pages, enum memory_type type)
{
	u64 start = pages ? find_free(pages, FOUR_GIB) : 0;
	if (!start && pages)
		start = find_free(pages, ~0ull);
	return start && set_range(start, start + pages * PAGE, type) ? start : 0;
}

struct pool {
	u32 signature, reserved;
	u64 pages;
};

void *take_pool(u64 size, enum memory_type type)
{
	if (size > 1ull << 52)
		return NULL;
	u64 pages = (size + sizeof(struct pool) + PAGE - 1) / PAGE;
	struct pool *pool = (void *)take_pages(pages, type);
	if (!pool)
		return NULL;
	*pool = (struct pool){POOL_SIGNATURE, 0, pages};
	return pool + 1;
}

bool map_key_is_current(u64 candidate)
{
	return candidate == key;
}

static bool can_be_allocated(u32 type)
{
	if (type >= FIRST_OEM_MEMORY_TYPE)
		return true;
	return type < PERSISTENT_MEMORY && type != CONVENTIONAL_MEMORY;
}

efi_status EFIAPI allocate_pages(u32 how, u32 type, u64 pages, u64 *memory)
{
	if (how > AT_ADDRESS || !can_be_allocated(type) || !memory)
		return EFI_INVALID_PARAMETER;
	if (!pages || pages >> 40)
		return EFI_OUT_OF_RESOURCES;
	u64 start = *memory;
	if (how == AT_ADDRESS) {
		if (start & (PAGE - 1) || start >> 52 || !take_range(start, start + pages * PAGE, type))
			return EFI_NOT_FOUND;
		return EFI_SUCCESS;
	}
	if (how == ANY_PAGES) {
		start = take_pages(pages, type);
	} else {
		start = find_free(pages, start == ~0ull ? start : start + 1);
		if (start && !set_range(start, start + pages * PAGE, type))
			start = 0;
	}
	if (!start)
		return EFI_OUT_OF_RESOURCES;
	*memory = start;
	return EFI_SUCCESS;
}

efi_status EFIAPI free_pages(u64 start, u64 pages)
{
	if (start & (PAGE - 1) || !pages || pages >> 40)
		return EFI_INVALID_PARAMETER;
	u64 end = start + pages * PAGE;
	for (u64 at = start; at < end;) {
		u32 index = index_at(at);
		if (index == count || map[index].physical_start > at || !can_be_allocated(map[index].type))
			return EFI_NOT_FOUND;
		at = end_of(map + index);
	}
	if (!set_range(start, end, CONVENTIONAL_MEMORY))
		return EFI_OUT_OF_RESOURCES;
	if (strict)
		change_rights(start, end, MEMORY_XP, MEMORY_RO | MEMORY_RP);
	return EFI_SUCCESS;
}

efi_status EFIAPI get_memory_map(u64 *size, u8 *buffer, u64 *map_key, u64 *descriptor_size, u32 *version)
{
	if (!size)
		return EFI_INVALID_PARAMETER;
	u64 room = *size, needed = count * DESCRIPTOR_SIZE;
	*size = needed;
	if (descriptor_size)
		*descriptor_size = DESCRIPTOR_SIZE;
	if (version)
		*version = DESCRIPTOR_VERSION;
	if (room < needed)
		return EFI_BUFFER_TOO_SMALL;
	if (!buffer)
		return EFI_INVALID_PARAMETER;
	memset(buffer, 0, needed);
	for (u32 i = 0; i < count; i++)
		memcpy(buffer + i * DESCRIPTOR_SIZE, map + i, sizeof(*map));
	if (map_key)
		*map_key = key;
	return EFI_SUCCESS;
}

efi_status EFIAPI allocate_pool(u32 type, u64 size, void **buffer)
{
	if (!buffer || !can_be_allocated(type))
		return EFI_INVALID_PARAMETER;
	*buffer = take_pool(size, type);
	return *buffer ? EFI_SUCCESS : EFI_OUT_OF_RESOURCES;
}

efi_status EFIAPI free_pool(void *buffer)
{
	struct pool *pool = (struct pool *)buffer - 1;
	u64 start = (u64)pool;
	u32 index = index_at(start);
	if (!buffer || start & (PAGE - 1) || index == count || map[index].physical_start > start || !can_be_allocated(map[index].type) ||
	    pool->signature != POOL_SIGNATURE)
		return EFI_INVALID_PARAMETER;
	pool->signature = 0;
	return free_pages(start, pool->pages);
}
