/* EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL over what console.c has, and an input on which nobody types (UEFI 2.10, 12.3 and 12.4). */
#include "boot.h"
#include "runtime.h"

static const struct guid TEXT_INPUT = {0x387477c1, 0x69c7, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
static const struct guid TEXT_OUTPUT = {0x387477c2, 0x69c7, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};

#define COLUMNS 80
#define ROWS 25
#define LIGHT_GRAY 7

static struct {
	i16 unused;
	u32 max_mode, mode, attribute, column, row;
	bool visible;
} mode = {0, 1, 0, LIGHT_GRAY, 0, 0, false};

/* A line of characters can neither be cleared nor coloured: of what there is to set, only the default is known. */
static efi_status EFIAPI reset(void *this, bool extended)
{
	(void)this, (void)extended;
	return EFI_SUCCESS;
}

static efi_status EFIAPI output_string(void *this, const u16 *text)
{
	(void)this;
	efi_status status = EFI_SUCCESS;
	for (; *text; text++) {
		char byte[2] = {*text < 0x80 ? *text : '?', 0};
		if (*text >= 0x80)
			status = EFI_WARN_UNKNOWN_GLYPH;
		say(byte);
	}
	return status;
}

static efi_status EFIAPI test_string(void *this, const u16 *text)
{
	(void)this;
	for (; *text; text++)
		if (*text >= 0x80)
			return EFI_UNSUPPORTED;
	return EFI_SUCCESS;
}

static efi_status EFIAPI query_mode(void *this, u64 number, u64 *columns, u64 *rows)
{
	(void)this;
	if (number)
		return EFI_UNSUPPORTED;
	*columns = COLUMNS;
	*rows = ROWS;
	return EFI_SUCCESS;
}

static efi_status EFIAPI set_mode(void *this, u64 number)
{
	(void)this;
	return number ? EFI_UNSUPPORTED : EFI_SUCCESS;
}

static efi_status EFIAPI unsupported(void)
{
	return EFI_UNSUPPORTED;
}

static efi_status EFIAPI read_key_stroke(void *this, void *key)
{
	(void)this, (void)key;
	return EFI_NOT_READY;
}

static struct {
	function reset, output_string, test_string, query_mode, set_mode, set_attribute, clear_screen, set_cursor, enable_cursor;
	void *mode;
} output = {reset, output_string, test_string, query_mode, set_mode, unsupported, unsupported, unsupported, unsupported, &mode};

static struct {
	function reset, read_key_stroke;
	void *wait_for_key; /* an event; there are none */
} input = {reset, read_key_stroke, NULL};

void install_text_console(void)
{
	install_protocol(&console_handle, &TEXT_INPUT, &input);
	install_protocol(&console_handle, &TEXT_OUTPUT, &output);
	system_table.console_in_handle = system_table.console_out_handle = system_table.standard_error_handle = &console_handle;
	system_table.console_in = &input;
	system_table.console_out = system_table.standard_error = &output;
}
