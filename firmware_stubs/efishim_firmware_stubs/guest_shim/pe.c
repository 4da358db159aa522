/* Loading the kernel, a PE32+ image (PE/COFF specification 11; UEFI 2.10, 2.1.1), from the module that it came in. */
#include "boot.h"
#include "runtime.h"

#define MZ 0x5a4d
#define PE_SIGNATURE 0x4550
#define MACHINE_X64 0x8664
#define PE32_PLUS 0x20b
#define EFI_APPLICATION 10
#define NX_COMPAT 0x100
#define CERTIFICATES 4
#define RELOCATIONS 5
#define SECTION_EXECUTE 0x20000000
#define SECTION_WRITE 0x80000000
#define RELOCATION_ABSOLUTE 0
#define RELOCATION_DIR64 10
#define MOST_SECTIONS 96 /* the limit of Windows, and of EDK II's good will */
#define LARGEST_IMAGE 0x40000000

struct data_directory {
	u32 address, size;
} __attribute__((packed));

struct pe_header { /* Linux 5.10 has it at 0x82, so nothing in it is aligned */
	u32 signature;
	u16 machine, section_count;
	u32 time, symbols, symbol_count;
	u16 optional_size, characteristics;
	/* optional header */
	u16 magic;
	u8 linker_major, linker_minor;
	u32 code_size, data_size, bss_size, entry, code_base;
	u64 image_base;
	u32 section_alignment, file_alignment;
	u16 versions[6];
	u32 win32_version, image_size, headers_size, checksum;
	u16 subsystem, dll_characteristics;
	u64 stack_reserve, stack_commit, heap_reserve, heap_commit;
	u32 loader_flags, directory_count;
	struct data_directory directories[];
} __attribute__((packed));
#define OPTIONAL_HEADER 24 /* where it begins */

struct section {
	char name[8];
	u32 virtual_size, address, raw_size, raw_offset;
	u32 relocations, line_numbers;
	u16 relocation_count, line_number_count;
	u32 characteristics;
} __attribute__((packed));

static const struct pe_header *header_of(const u8 *file)
{
	return (const void *)(file + *(const u32 *)(file + 0x3c));
}

static const struct section *sections_of(const struct pe_header *pe)
{
	return (const void *)((const u8 *)pe + OPTIONAL_HEADER + pe->optional_size);
}

static struct data_directory directory(const struct pe_header *pe, u32 index)
{
	u64 there = (pe->optional_size - (sizeof(*pe) - OPTIONAL_HEADER)) / sizeof(struct data_directory);
	if (index >= pe->directory_count || index >= there)
		return (struct data_directory){0, 0};
	return pe->directories[index];
}

static u64 up(u64 value, u64 alignment) { return (value + alignment - 1) & ~(alignment - 1); }

/* Everything that later code relies on is checked here. */
static const struct pe_header *check(const u8 *file, u64 size)
{
	if (size < 0x40 || *(const u16 *)file != MZ)
		wrong("the first module is not a PE image: it does not begin with MZ, so it is no kernel with an EFI entry");
	u64 at = *(const u32 *)(file + 0x3c);
	if (at + sizeof(struct pe_header) > size)
		wrong_number("the kernel: there is no PE header where its first page says, at", at);
	const struct pe_header *pe = header_of(file);
	if (pe->signature != PE_SIGNATURE)
		wrong_number("the kernel: the signature of its PE header is", pe->signature);
	if (pe->machine != MACHINE_X64 || pe->magic != PE32_PLUS)
		wrong_number("the kernel is not for 64-bit processors, its PE machine is", pe->machine);
	if (pe->subsystem != EFI_APPLICATION)
		wrong_number("the kernel is not an EFI application, its PE subsystem is", pe->subsystem);
	if (pe->optional_size < sizeof(*pe) - OPTIONAL_HEADER || pe->section_count > MOST_SECTIONS ||
	    at + OPTIONAL_HEADER + pe->optional_size + pe->section_count * sizeof(struct section) > size)
		wrong("the kernel: its PE section table is not in the file");
	u64 alignment = pe->section_alignment;
	if (!alignment || alignment & (alignment - 1) || alignment > LARGEST_IMAGE)
		wrong_number("the kernel: the alignment of its PE sections is", alignment);
	if (!pe->image_size || pe->image_size > LARGEST_IMAGE || pe->headers_size > size || pe->headers_size > pe->image_size)
		wrong_number("the kernel: it cannot be loaded with a PE image size of", pe->image_size);
	if (!pe->entry || pe->entry >= pe->image_size)
		wrong_number("the kernel: its PE entry point lies outside of the image, at", pe->entry);
	const struct section *sections = sections_of(pe);
	for (u32 i = 0; i < pe->section_count; i++) {
		const struct section *one = sections + i;
		if (one->raw_size && (u64)one->raw_offset + one->raw_size > size)
			wrong_number("the kernel is cut off: a PE section lies behind the end of the module, at", one->raw_offset);
		if ((u64)one->address + one->virtual_size > pe->image_size || (u64)one->address + one->raw_size > up(pe->image_size, PAGE))
			wrong_number("the kernel: a PE section lies outside of the image, at", one->address);
	}
	return pe;
}

/* How long the file is, by what it says itself: its sections, and the signatures behind them. */
u64 pe_file_size(const u8 *file, u64 size)
{
	const struct pe_header *pe = check(file, size);
	const struct section *sections = sections_of(pe);
	struct data_directory certificates = directory(pe, CERTIFICATES); /* of which `address` is an offset in the file */
	u64 end = certificates.size ? (u64)certificates.address + certificates.size : 0;
	for (u32 i = 0; i < pe->section_count; i++)
		if (sections[i].raw_size && (u64)sections[i].raw_offset + sections[i].raw_size > end)
			end = (u64)sections[i].raw_offset + sections[i].raw_size;
	return end > size ? size : end;
}

bool pe_wants_strict(const u8 *file)
{
	const struct pe_header *pe = header_of(file);
	return pe->dll_characteristics & NX_COMPAT && !(pe->section_alignment & (PAGE - 1));
}

/* Base relocations (PE/COFF, 6.6), if there are any but those that do nothing. */
static void relocate(const struct pe_header *pe, u64 base)
{
	struct data_directory found = directory(pe, RELOCATIONS);
	if ((u64)found.address + found.size > pe->image_size)
		wrong_number("the kernel: its PE relocations lie outside of the image, at", found.address);
	u64 at = base + found.address, end = at + found.size;
	while (at + 8 <= end) {
		u32 page = *(const u32 *)at, size = *(const u32 *)(at + 4);
		if (size < 8 || size > end - at)
			return;
		for (u64 entry = at + 8; entry + 2 <= at + size; entry += 2) {
			u32 type = *(const u16 *)entry >> 12, target = page + (*(const u16 *)entry & 0xfff);
			if (type == RELOCATION_ABSOLUTE)
				continue;
			if (type != RELOCATION_DIR64 || (u64)target + 8 > pe->image_size)
				wrong_number("the kernel: a PE relocation that x64 images do not have, of type", type);
			*(u64 *)(base + target) += base - pe->image_base;
		}
		at += size;
	}
}

void load_kernel(const struct boot *boot, struct image *image)
{
	const u8 *file = (const u8 *)boot->kernel.start;
	const struct pe_header *pe = check(file, boot->kernel.size);
	const struct section *sections = sections_of(pe);
	u64 size = up(pe->image_size, PAGE), alignment = up(pe->section_alignment, PAGE);
	u64 room = take_pages((size + alignment - PAGE) / PAGE, LOADER_CODE);
	if (!room)
		wrong_number("there is no memory for the kernel, it needs", size);
	u64 base = up(room, alignment);
	memset((void *)base, 0, size);
	memcpy((void *)base, file, pe->headers_size);
	for (u32 i = 0; i < pe->section_count; i++) {
		u64 bytes = sections[i].raw_size;
		if (sections[i].virtual_size && bytes > sections[i].virtual_size)
			bytes = sections[i].virtual_size;
		memcpy((void *)(base + sections[i].address), file + sections[i].raw_offset, bytes);
	}
	relocate(pe, base);
	if (strict) {
		set_rights(base, base + up(pe->headers_size, PAGE), MEMORY_RO | MEMORY_XP);
		for (u32 i = 0; i < pe->section_count; i++) {
			u32 flags = sections[i].characteristics;
			u64 rights = (flags & SECTION_EXECUTE ? 0 : MEMORY_XP) | (flags & SECTION_WRITE ? 0 : MEMORY_RO);
			u64 start = base + sections[i].address;
			set_rights(start & ~(PAGE - 1), up(start + sections[i].virtual_size, PAGE), rights);
		}
	}
	*image = (struct image){base, size, base + pe->entry};
}
