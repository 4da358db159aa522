/*
 * The handle database: four handles, made once, and how an image looks for what they have (UEFI 2.10, 7.3). Nobody can add
 * to it, as kernels do not.
 */
#include "handles.h"
#include "boot.h"
#include "memory_services.h"
#include "runtime.h"

#define MOST_PROTOCOLS 4
#define END_OF_PATH 0x7f
#define EVERY_OPEN_ATTRIBUTE 0x3f

enum search_type { ALL_HANDLES, BY_REGISTER_NOTIFY, BY_PROTOCOL };

struct handle {
	struct {
		const struct guid *guid;
		void *interface;
	} protocols[MOST_PROTOCOLS];
};

struct handle image_handle, ramdisk_handle, console_handle, processor_handle;

static struct handle *const handles[] = {&image_handle, &ramdisk_handle, &console_handle, &processor_handle};

const struct guid GUID_DEVICE_PATH = {0x09576e91, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};

static bool same(const struct guid *left, const struct guid *right)
{
	return !memcmp(left, right, sizeof(*left));
}

void install_protocol(struct handle *handle, const struct guid *guid, void *interface)
{
	for (u32 i = 0; i < MOST_PROTOCOLS; i++)
		if (!handle->protocols[i].guid) {
			handle->protocols[i].guid = guid;
			handle->protocols[i].interface = interface;
			return;
		}
	wrong("a handle has too many protocols");
}

/* The slot's interface, NULL when the handle lacks the protocol. */
static void **find(struct handle *handle, const struct guid *guid)
{
	for (u32 i = 0; i < MOST_PROTOCOLS && handle->protocols[i].guid; i++)
		if (same(handle->protocols[i].guid, guid))
			return &handle->protocols[i].interface;
	return NULL;
}

static bool exists(const struct handle *handle)
{
	for (u32 i = 0; i < COUNT(handles); i++)
		if (handles[i] == handle)
			return handle->protocols[0].guid;
	return false;
}

efi_status EFIAPI handle_protocol(struct handle *handle, const struct guid *guid, void **interface)
{
	if (!guid || !interface || !exists(handle))
		return EFI_INVALID_PARAMETER;
	void **found = find(handle, guid);
	*interface = found ? *found : NULL;
	return found ? EFI_SUCCESS : EFI_UNSUPPORTED;
}

/* Nothing here has a driver that could be asked to stop, so all ways of opening are that of HandleProtocol. */
efi_status EFIAPI open_protocol(struct handle *handle, const struct guid *guid, void **interface, efi_handle agent,
				efi_handle controller, u32 attributes)
{
	void *unused;
	(void)agent, (void)controller;
	if (!attributes || attributes & ~EVERY_OPEN_ATTRIBUTE)
		return EFI_INVALID_PARAMETER;
	return handle_protocol(handle, guid, attributes == 4 /* TEST_PROTOCOL */ ? &unused : interface);
}

static bool matches(u32 type, struct handle *handle, const struct guid *guid)
{
	return exists(handle) && (type == ALL_HANDLES || find(handle, guid));
}

efi_status EFIAPI locate_handle(u32 type, const struct guid *guid, void *key, u64 *size, efi_handle *buffer)
{
	(void)key;
	if (type > BY_PROTOCOL || !size || (type == BY_PROTOCOL && !guid))
		return EFI_INVALID_PARAMETER;
	u64 needed = 0, room = *size;
	for (u32 i = 0; i < COUNT(handles) && type != BY_REGISTER_NOTIFY; i++)
		if (matches(type, handles[i], guid))
			needed += sizeof(efi_handle);
	if (!needed) /* nobody can have registered for a notification either */
		return EFI_NOT_FOUND;
	*size = needed;
	if (room < needed)
		return EFI_BUFFER_TOO_SMALL;
	if (!buffer)
		return EFI_INVALID_PARAMETER;
	for (u32 i = 0; i < COUNT(handles); i++)
		if (matches(type, handles[i], guid))
			*buffer++ = handles[i];
	return EFI_SUCCESS;
}

efi_status EFIAPI locate_handle_buffer(u32 type, const struct guid *guid, void *key, u64 *number, efi_handle **buffer)
{
	u64 size = 0;
	if (!number || !buffer)
		return EFI_INVALID_PARAMETER;
	*number = 0;
	*buffer = NULL;
	efi_status status = locate_handle(type, guid, key, &size, NULL);
	if (status != EFI_BUFFER_TOO_SMALL)
		return status;
	status = allocate_pool(BOOT_SERVICES_DATA, size, (void **)buffer);
	if (status != EFI_SUCCESS)
		return status;
	*number = size / sizeof(efi_handle);
	return locate_handle(type, guid, key, &size, *buffer);
}

efi_status EFIAPI locate_protocol(const struct guid *guid, void *registration, void **interface)
{
	if (!interface || !guid)
		return EFI_INVALID_PARAMETER;
	*interface = NULL;
	for (u32 i = 0; i < COUNT(handles) && !registration; i++) {
		void **found = find(handles[i], guid);
		if (found) {
			*interface = *found;
			return EFI_SUCCESS;
		}
	}
	return EFI_NOT_FOUND;
}

static u32 length(const struct device_path *node) { return node->length[0] | node->length[1] << 8; }

/* The handle whose path is the longest beginning of the given one; the rest is given back (7.3.8). */
efi_status EFIAPI locate_device_path(const struct guid *guid, struct device_path **path, efi_handle *device)
{
	if (!guid || !path || !*path || !device)
		return EFI_INVALID_PARAMETER;
	u64 longest = 0;
	struct handle *best = NULL;
	for (u32 i = 0; i < COUNT(handles); i++) {
		void **own = find(handles[i], &GUID_DEVICE_PATH);
		if (!own || !find(handles[i], guid))
			continue;
		const u8 *ours = *own, *given = (const u8 *)*path;
		u64 same_bytes = 0;
		const struct device_path *node = (const void *)ours;
		while (node->type != END_OF_PATH && length(node) >= sizeof(*node) &&
		       !memcmp(ours + same_bytes, given + same_bytes, length(node))) {
			same_bytes += length(node);
			node = (const void *)(ours + same_bytes);
		}
		if (node->type == END_OF_PATH && same_bytes > longest) {
			longest = same_bytes;
			best = handles[i];
		}
	}
	if (!best)
		return EFI_NOT_FOUND;
	*path = (struct device_path *)((u8 *)*path + longest);
	*device = best;
	return EFI_SUCCESS;
}
