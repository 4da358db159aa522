/* EFI_LOAD_FILE2_PROTOCOL at the place where Linux looks for its ramdisk (UEFI 2.10, 13.2; drivers/firmware/efi/libstub). */
#include "boot.h"
#include "handles.h"
#include "runtime.h"

static const struct guid LOAD_FILE2 = {0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};

static const struct {
	struct device_path vendor_media;
	struct guid initrd_media;
	struct device_path end;
} path = {
	{4, 3, {20, 0}},
	{0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}},
	{0x7f, 0xff, {4, 0}},
};

#define ALIGNMENT 4 /* of each archive behind another (Documentation/driver-api/early-userspace/buffer-format.rst) */
#define END_OF_PATH 0x7f

static efi_status EFIAPI load_file(void *this, const struct device_path *rest, bool boot_policy, u64 *size, u8 *buffer);

static struct {
	function load_file;
	const struct boot *boot;
} protocol = {load_file, NULL};

static u64 aligned(u64 size) { return (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1ull); }

static efi_status EFIAPI load_file(void *this, const struct device_path *rest, bool boot_policy, u64 *size, u8 *buffer)
{
	if (this != &protocol || !rest || !size)
		return EFI_INVALID_PARAMETER;
	if (boot_policy)
		return EFI_UNSUPPORTED;
	if (rest->type != END_OF_PATH)
		return EFI_NOT_FOUND;
	const struct boot *boot = protocol.boot;
	u64 whole = 0, room = *size;
	for (u32 i = 0; i < boot->ramdisk_count; i++)
		whole = aligned(whole) + boot->ramdisks[i].size;
	*size = whole;
	if (!buffer || room < whole)
		return EFI_BUFFER_TOO_SMALL;
	u64 at = 0;
	for (u32 i = 0; i < boot->ramdisk_count; i++) {
		memset(buffer + at, 0, aligned(at) - at);
		at = aligned(at);
		memcpy(buffer + at, (const void *)boot->ramdisks[i].start, boot->ramdisks[i].size);
		at += boot->ramdisks[i].size;
	}
	return EFI_SUCCESS;
}

void install_load_file2(const struct boot *boot)
{
	if (!boot->ramdisk_count)
		return;
	protocol.boot = boot;
	install_protocol(&ramdisk_handle, &GUID_DEVICE_PATH, (void *)&path);
	install_protocol(&ramdisk_handle, &LOAD_FILE2, &protocol);
}
