/*
 * The identity map that the kernel finds: 2 MiB pages, split where rights differ within one (SDM volume 3, 4.5).
 *
 * A kernel whose image says that it can do with that is run strictly: nothing is executable but the shim's code and the
 * image's, and code is not writable. It moves its own borders with EFI_MEMORY_ATTRIBUTE_PROTOCOL. Other kernels can
 * write and execute everything.
 */
#include "boot.h"
#include "cpu.h"
#include "runtime.h"

#define PRESENT 0x1ull
#define WRITABLE 0x2ull
#define LARGE 0x80ull
#define NO_EXECUTE (1ull << 63)
#define ADDRESS 0x000ffffffffff000ull
#define LARGE_PAGE 0x200000ull
#define ENTRIES 512ull
#define SPLITS 64 /* how many large pages can be split: two for each border within the kernel, and its allocations */

#define EXTENDED_FEATURES 0x80000001
#define HAS_NX (1 << 20)
#define MSR_EFER 0xc0000080
#define EFER_NXE (1 << 11)

bool strict;

static u64 *directories; /* all page directories, one behind the other: entry n maps the nth 2 MiB */
static u64 mapped;	 /* [0, mapped) is there */
static u64 spare;	 /* tables for splitting, [spare, spare_end) */
static u64 spare_end;

static u64 flags_of(u64 rights)
{
	return (rights & MEMORY_RP ? 0 : PRESENT) | (rights & MEMORY_RO ? 0 : WRITABLE) | (rights & MEMORY_XP ? NO_EXECUTE : 0);
}

static u64 rights_in(u64 entry)
{
	return (entry & PRESENT ? 0 : MEMORY_RP) | (entry & WRITABLE ? 0 : MEMORY_RO) | (entry & NO_EXECUTE ? MEMORY_XP : 0);
}

void paging_init(void)
{
	mapped = (top_of_memory() + (1 << 30) - 1) & ~((1ull << 30) - 1);
	u64 directory_count = mapped >> 30, pointer_count = (directory_count + ENTRIES - 1) / ENTRIES;
	u64 pages = 1 + pointer_count + directory_count + SPLITS;
	u64 *root = (u64 *)take_pages(pages, BOOT_SERVICES_DATA);
	if (!root || pointer_count > ENTRIES)
		wrong("there is no memory for page tables");
	memset(root, 0, pages * PAGE);
	u64 *pointers = root + ENTRIES;
	directories = pointers + pointer_count * ENTRIES;
	spare = (u64)(directories + directory_count * ENTRIES);
	spare_end = spare + SPLITS * PAGE;
	for (u64 i = 0; i < pointer_count; i++)
		root[i] = (u64)(pointers + i * ENTRIES) | PRESENT | WRITABLE;
	for (u64 i = 0; i < directory_count; i++)
		pointers[i] = (u64)(directories + i * ENTRIES) | PRESENT | WRITABLE;
	for (u64 i = 0; i < directory_count * ENTRIES; i++)
		directories[i] = i * LARGE_PAGE | LARGE | flags_of(0);
	load_page_tables((u64)root);
}

void be_strict(void)
{
	if (!(cpuid(EXTENDED_FEATURES).edx & HAS_NX))
		return;
	strict = true;
	write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
	set_rights(0, (u64)shim_start, MEMORY_XP);
	set_rights((u64)shim_start, (u64)runtime_code_end, MEMORY_RO);
	set_rights((u64)runtime_code_end, mapped, MEMORY_XP);
}

/* The entry that maps an address; `pages` is how much it maps. */
static u64 *entry_at(u64 address, u64 *size)
{
	u64 *entry = directories + address / LARGE_PAGE;
	if (*entry & LARGE) {
		*size = LARGE_PAGE;
		return entry;
	}
	*size = PAGE;
	return (u64 *)(*entry & ADDRESS) + address / PAGE % ENTRIES;
}

static bool split(u64 address)
{
	u64 *entry = directories + address / LARGE_PAGE;
	if (!(*entry & LARGE))
		return true;
	if (spare == spare_end)
		return false;
	u64 *table = (u64 *)spare;
	spare += PAGE;
	for (u64 i = 0; i < ENTRIES; i++)
		table[i] = (*entry & ~LARGE) + i * PAGE;
	*entry = (u64)table | PRESENT | WRITABLE;
	return true;
}

bool change_rights(u64 start, u64 end, u64 set, u64 clear)
{
	if (end > mapped)
		return false;
	for (u64 at = start; at < end;) {
		u64 size, *entry = entry_at(at, &size);
		if (size == LARGE_PAGE && (at % LARGE_PAGE || end - at < LARGE_PAGE)) {
			u64 rights = (rights_in(*entry) & ~clear) | set;
			if (rights == rights_in(*entry)) { /* the part is as it should be already */
				at = (at / LARGE_PAGE + 1) * LARGE_PAGE;
				continue;
			}
			if (!split(at))
				return false;
			entry = entry_at(at, &size);
		}
		u64 rights = (rights_in(*entry) & ~clear) | set;
		*entry = (*entry & (ADDRESS | LARGE)) | flags_of(rights);
		forget_translation(at);
		at += size;
	}
	return true;
}

void set_rights(u64 start, u64 end, u64 rights)
{
	if (!change_rights(start, end, rights, MEMORY_RP | MEMORY_RO | MEMORY_XP))
		wrong_number("there are no page tables left for the memory at", start);
}

bool rights_of(u64 start, u64 end, u64 *rights)
{
	u64 size;
	if (end > mapped)
		return false;
	*rights = rights_in(*entry_at(start, &size));
	for (u64 at = start; at < end; at = (at / size + 1) * size)
		if (rights_in(*entry_at(at, &size)) != *rights)
			return false;
	return true;
}
