/* EFI_RNG_PROTOCOL from RDRAND, on processors that have it (UEFI 2.10, 37.5; SDM volume 1, 7.3.17). */
#include "boot.h"
#include "cpu.h"
#include "runtime.h"

#define HAS_RDRAND (1 << 30) /* CPUID 1, ECX */
#define RETRIES 10	     /* what Intel recommends */

static const struct guid RNG = {0x3152bca5, 0xeade, 0x433d, {0x86, 0x2e, 0xc0, 0x1c, 0xdc, 0x29, 0x1f, 0x44}};
static const struct guid RAW = {0xe43176d7, 0xb6e8, 0x4827, {0xb7, 0x84, 0x7f, 0xfd, 0xc4, 0xb6, 0x85, 0x61}};

static efi_status EFIAPI get_info(void *this, u64 *size, struct guid *list)
{
	if (!this || !size)
		return EFI_INVALID_PARAMETER;
	u64 room = *size;
	*size = sizeof(RAW);
	if (room < sizeof(RAW))
		return EFI_BUFFER_TOO_SMALL;
	if (!list)
		return EFI_INVALID_PARAMETER;
	*list = RAW;
	return EFI_SUCCESS;
}

static efi_status EFIAPI get_rng(void *this, const struct guid *algorithm, u64 length, u8 *value)
{
	if (!this || !value || !length)
		return EFI_INVALID_PARAMETER;
	if (algorithm && memcmp(algorithm, &RAW, sizeof(RAW)))
		return EFI_UNSUPPORTED;
	while (length) {
		u64 number, bytes = length < sizeof(number) ? length : sizeof(number);
		int retries = RETRIES;
		while (!random_number(&number))
			if (!retries--)
				return EFI_NOT_READY;
		memcpy(value, &number, bytes);
		value += bytes;
		length -= bytes;
	}
	return EFI_SUCCESS;
}

static struct {
	function get_info, get_rng;
} protocol = {get_info, get_rng};

void install_rng(void)
{
	if (cpuid(1).ecx & HAS_RDRAND)
		install_protocol(&processor_handle, &RNG, &protocol);
}
