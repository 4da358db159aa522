/*
 * Variables (UEFI 2.10, 8.2) in one page of memory. There is no store that survives a reset, so variables that ask for one are
 * refused for lack of room, and QueryVariableInfo says that there is none. What is here can be read at run time and not written.
 */
#include "runtime.h"

#define NON_VOLATILE 0x1
#define BOOTSERVICE_ACCESS 0x2
#define RUNTIME_ACCESS 0x4
#define HARDWARE_ERROR_RECORD 0x8
#define AUTHENTICATED_WRITE_ACCESS 0x10
#define TIME_BASED_AUTHENTICATED_WRITE_ACCESS 0x20
#define APPEND_WRITE 0x40
#define ENHANCED_AUTHENTICATED_ACCESS 0x80
#define KNOWN_ATTRIBUTES 0xff

#define STORE_SIZE 0x1000
#define LONGEST_NAME 512 /* characters */

struct variable { /* name and data follow */
	struct guid vendor;
	u32 attributes, name_size, data_size, size;
};

static u8 store[STORE_SIZE] __attribute__((aligned(8)));
static u64 used;

static inline struct variable *at(u64 offset) { return (struct variable *)(store + offset); }
static inline u8 *name_of(struct variable *one) { return (u8 *)(one + 1); }
static inline u8 *data_of(struct variable *one) { return name_of(one) + one->name_size; }
static inline bool visible(const struct variable *one) { return !boot_services_over || one->attributes & RUNTIME_ACCESS; }

/* Bytes of a name with its terminating zero; 0 for one that does not end within a limit of characters. */
static u64 size_of_name(const u16 *name, u64 limit)
{
	for (u64 length = 0; length < limit; length++)
		if (!name[length])
			return 2 * (length + 1);
	return 0;
}

static struct variable *find(const u16 *name, const struct guid *vendor)
{
	u64 size = size_of_name(name, LONGEST_NAME);
	for (u64 offset = 0; offset < used; offset += at(offset)->size) {
		struct variable *one = at(offset);
		if (one->name_size == size && !memcmp(&one->vendor, vendor, sizeof(*vendor)) && !memcmp(name_of(one), name, size))
			return one;
	}
	return NULL;
}

static void forget(struct variable *one)
{
	u64 size = one->size;
	u8 *next = (u8 *)one + size;
	memmove(one, next, store + used - next);
	used -= size;
}

efi_status EFIAPI get_variable(const u16 *name, const struct guid *vendor, u32 *attributes, u64 *size, void *data)
{
	if (!name || !vendor || !size)
		return EFI_INVALID_PARAMETER;
	struct variable *one = find(name, vendor);
	if (!one || !visible(one))
		return EFI_NOT_FOUND;
	u64 room = *size;
	if (room >= one->data_size && !data)
		return EFI_INVALID_PARAMETER;
	*size = one->data_size;
	if (attributes)
		*attributes = one->attributes;
	if (room < one->data_size)
		return EFI_BUFFER_TOO_SMALL;
	memcpy(data, data_of(one), one->data_size);
	return EFI_SUCCESS;
}

efi_status EFIAPI get_next_variable_name(u64 *size, u16 *name, struct guid *vendor)
{
	if (!size || !name || !vendor || !size_of_name(name, *size / 2))
		return EFI_INVALID_PARAMETER;
	u64 offset = 0;
	if (*name) {
		struct variable *before = find(name, vendor);
		if (!before || !visible(before))
			return EFI_INVALID_PARAMETER;
		offset = (u8 *)before - store + before->size;
	}
	while (offset < used && !visible(at(offset)))
		offset += at(offset)->size;
	if (offset >= used)
		return EFI_NOT_FOUND;
	struct variable *next = at(offset);
	u64 room = *size;
	*size = next->name_size;
	if (room < next->name_size)
		return EFI_BUFFER_TOO_SMALL;
	memcpy(name, name_of(next), next->name_size);
	*vendor = next->vendor;
	return EFI_SUCCESS;
}

efi_status EFIAPI set_variable(const u16 *name, const struct guid *vendor, u32 attributes, u64 size, const void *data)
{
	/* Only non-volatile variables can be set then (8.2.3), and the properties table does not announce the service. */
	if (boot_services_over)
		return EFI_UNSUPPORTED;
	if (!name || !*name || !vendor || (size && !data) || attributes & ~KNOWN_ATTRIBUTES)
		return EFI_INVALID_PARAMETER;
	u32 access = attributes & (BOOTSERVICE_ACCESS | RUNTIME_ACCESS);
	if (access == RUNTIME_ACCESS || attributes & HARDWARE_ERROR_RECORD)
		return EFI_INVALID_PARAMETER;
	if (attributes & (AUTHENTICATED_WRITE_ACCESS | ENHANCED_AUTHENTICATED_ACCESS))
		return EFI_UNSUPPORTED;
	if (attributes & TIME_BASED_AUTHENTICATED_WRITE_ACCESS)
		return EFI_SECURITY_VIOLATION; /* no key is enrolled that the data could be verified with */
	bool append = attributes & APPEND_WRITE;
	attributes &= ~APPEND_WRITE;
	struct variable *old = find(name, vendor);
	if (old && access && attributes != old->attributes)
		return EFI_INVALID_PARAMETER;
	if (!access || (!size && !append)) {
		if (!old)
			return EFI_NOT_FOUND;
		forget(old);
		return EFI_SUCCESS;
	}
	u64 name_size = size_of_name(name, LONGEST_NAME);
	if (!name_size || size > STORE_SIZE)
		return EFI_INVALID_PARAMETER;
	if (append && !size)
		return EFI_SUCCESS;
	u64 kept = old && append ? old->data_size : 0;
	u64 whole = (sizeof(struct variable) + name_size + kept + size + 7) & ~7ull;
	/* The new value lies behind everything until the old one is gone. */
	if (attributes & NON_VOLATILE || used + whole > STORE_SIZE)
		return EFI_OUT_OF_RESOURCES;
	struct variable *one = at(used);
	*one = (struct variable){*vendor, attributes, name_size, kept + size, whole};
	memcpy(name_of(one), name, name_size);
	if (kept)
		memcpy(data_of(one), data_of(old), kept);
	memcpy(data_of(one) + kept, data, size);
	used += whole;
	if (old)
		forget(old);
	return EFI_SUCCESS;
}

efi_status EFIAPI query_variable_info(u32 attributes, u64 *storage, u64 *remaining, u64 *largest)
{
	u32 access = attributes & (BOOTSERVICE_ACCESS | RUNTIME_ACCESS);
	if (!storage || !remaining || !largest || !access || access == RUNTIME_ACCESS || attributes & ~KNOWN_ATTRIBUTES)
		return EFI_INVALID_PARAMETER;
	if (attributes & (HARDWARE_ERROR_RECORD | AUTHENTICATED_WRITE_ACCESS | ENHANCED_AUTHENTICATED_ACCESS))
		return EFI_UNSUPPORTED;
	if (boot_services_over && !(attributes & RUNTIME_ACCESS))
		return EFI_INVALID_PARAMETER;
	bool here = !(attributes & NON_VOLATILE);
	*storage = here ? STORE_SIZE : 0;
	*remaining = here ? STORE_SIZE - used : 0;
	*largest = *remaining > sizeof(struct variable) ? *remaining - sizeof(struct variable) : 0;
	return EFI_SUCCESS;
}
