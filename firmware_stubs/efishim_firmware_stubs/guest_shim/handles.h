/* The protocol services of handles.c, for the table of boot services. */
#ifndef HANDLES_H
#define HANDLES_H

#include "efi.h"

struct handle;

extern const struct guid GUID_DEVICE_PATH;

efi_status EFIAPI handle_protocol(struct handle *handle, const struct guid *guid, void **interface);
efi_status EFIAPI open_protocol(struct handle *handle, const struct guid *guid, void **interface, efi_handle agent,
				efi_handle controller, u32 attributes);
efi_status EFIAPI locate_handle(u32 type, const struct guid *guid, void *key, u64 *size, efi_handle *buffer);
efi_status EFIAPI locate_handle_buffer(u32 type, const struct guid *guid, void *key, u64 *number, efi_handle **buffer);
efi_status EFIAPI locate_protocol(const struct guid *guid, void *registration, void **interface);
efi_status EFIAPI locate_device_path(const struct guid *guid, struct device_path **path, efi_handle *device);

#endif
