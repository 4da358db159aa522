/* EFI_MEMORY_ATTRIBUTE_PROTOCOL over the page tables (UEFI 2.10, 37.6): for kernels that are run strictly. */
#include "boot.h"

static const struct guid MEMORY_ATTRIBUTE = {0xf4560cf6, 0x40ec, 0x4b4a, {0xa1, 0x92, 0xbf, 0x1d, 0x57, 0xd0, 0xb1, 0x89}};

#define KNOWN (MEMORY_RP | MEMORY_XP | MEMORY_RO)

static bool is_range(u64 start, u64 length)
{
	return length && !((start | length) & (PAGE - 1)) && start + length > start;
}

static efi_status EFIAPI get(void *this, u64 start, u64 length, u64 *attributes)
{
	if (!this || !is_range(start, length) || !attributes)
		return EFI_INVALID_PARAMETER;
	return rights_of(start, start + length, attributes) ? EFI_SUCCESS : EFI_NO_MAPPING;
}

static efi_status change(u64 start, u64 length, u64 attributes, u64 set, u64 clear)
{
	if (!is_range(start, length) || !attributes || attributes & ~KNOWN)
		return EFI_INVALID_PARAMETER;
	if (start + length > top_of_memory())
		return EFI_UNSUPPORTED;
	return change_rights(start, start + length, set, clear) ? EFI_SUCCESS : EFI_OUT_OF_RESOURCES;
}

static efi_status EFIAPI set(void *this, u64 start, u64 length, u64 attributes)
{
	(void)this;
	return change(start, length, attributes, attributes, 0);
}

static efi_status EFIAPI clear(void *this, u64 start, u64 length, u64 attributes)
{
	(void)this;
	return change(start, length, attributes, 0, attributes);
}

static struct {
	function get, set, clear;
} protocol = {get, set, clear};

void install_memory_attribute(void)
{
	if (strict)
		install_protocol(&processor_handle, &MEMORY_ATTRIBUTE, &protocol);
}
