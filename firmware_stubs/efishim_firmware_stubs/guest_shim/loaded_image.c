/* EFI_LOADED_IMAGE_PROTOCOL of the kernel (UEFI 2.10, 9.1), with the command line as its options. */
#include "boot.h"
#include "handles.h"
#include "runtime.h"

static const struct guid LOADED_IMAGE = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};

static const struct device_path no_path = {0x7f, 0xff, {4, 0}};

static struct loaded_image loaded_image;

/* The next character of UTF-8; a byte that is not part of one stands for itself. */
static u32 character(const u8 **text)
{
	u32 first = *(*text)++, more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : 0;
	if (!more || first > 0xf4)
		return first;
	u32 value = first & (0x3f >> more);
	for (u32 i = 0; i < more; i++) {
		if (((*text)[i] & 0xc0) != 0x80)
			return first;
		value = value << 6 | ((*text)[i] & 0x3f);
	}
	*text += more;
	return value;
}

static u16 *utf16(const char *text, u32 *size)
{
	u64 length = 0;
	while (text[length])
		length++;
	u16 *options = take_pool(2 * (length + 1), LOADER_DATA), *to = options;
	if (!options)
		wrong("there is no memory for the command line");
	for (const u8 *from = (const u8 *)text; *from;) {
		u32 value = character(&from);
		if (value >= 0x10000) {
			*to++ = 0xd7c0 + (value >> 10);
			value = 0xdc00 | (value & 0x3ff);
		}
		*to++ = value;
	}
	*to++ = 0;
	*size = (u8 *)to - (u8 *)options;
	return options;
}

void install_loaded_image(const struct boot *boot, const struct image *image)
{
	loaded_image = (struct loaded_image){
		.revision = LOADED_IMAGE_REVISION,
		.system_table = &system_table,
		.file_path = (struct device_path *)&no_path,
		.image_base = (void *)image->base,
		.image_size = image->size,
		.code_type = LOADER_CODE,
		.data_type = LOADER_DATA,
	};
	loaded_image.load_options = utf16(boot->command_line, &loaded_image.load_options_size);
	install_protocol(&image_handle, &LOADED_IMAGE, &loaded_image);
}
