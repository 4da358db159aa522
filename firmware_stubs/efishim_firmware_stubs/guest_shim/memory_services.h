/* The memory services of memory_map.c, for the table of boot services. */
#ifndef MEMORY_SERVICES_H
#define MEMORY_SERVICES_H

#include "efi.h"

efi_status EFIAPI allocate_pages(u32 how, u32 type, u64 pages, u64 *memory);
efi_status EFIAPI free_pages(u64 start, u64 pages);
efi_status EFIAPI get_memory_map(u64 *size, u8 *buffer, u64 *map_key, u64 *descriptor_size, u32 *version);
efi_status EFIAPI allocate_pool(u32 type, u64 size, void **buffer);
efi_status EFIAPI free_pool(void *buffer);

#endif
