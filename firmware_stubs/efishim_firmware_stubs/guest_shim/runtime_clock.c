/* GetTime (UEFI 2.10, 8.3.1) from the clock in CMOS, where the FADT does not say that there is none. */
#include "cpu.h"
#include "runtime.h"

#define INDEX 0x70
#define DATA 0x71
#define NMI_DISABLED 0x80 /* in what is written to the index port; the other bits are the index */
#define SECONDS 0
#define MINUTES 2
#define HOURS 4
#define DAY 7
#define MONTH 8
#define YEAR 9
#define STATUS_A 10
#define STATUS_B 11
#define UPDATING 0x80 /* in status A */
#define BINARY 0x4    /* in status B */
#define HOURS_24 0x2  /* in status B */
#define PM 0x80	      /* in the hours */
#define TRIES 100000

static u8 cmos(u8 index)
{
	out8(INDEX, index);
	return in8(DATA);
}

struct clock { /* registers as they are */
	u8 second, minute, hour, day, month, year, century;
};

static bool read_clock(struct clock *clock)
{
	int tries = TRIES;
	while (cmos(STATUS_A) & UPDATING)
		if (!--tries)
			return false;
	*clock = (struct clock){cmos(SECONDS), cmos(MINUTES), cmos(HOURS), cmos(DAY), cmos(MONTH), cmos(YEAR),
				machine.century ? cmos(machine.century) : 0};
	return true;
}

static u8 number(u8 value, bool binary)
{
	return binary ? value : (value >> 4) * 10 + (value & 15);
}

efi_status EFIAPI get_time(struct efi_time *time, struct time_capabilities *capabilities)
{
	if (!time)
		return EFI_INVALID_PARAMETER;
	if (!machine.cmos_clock)
		return EFI_UNSUPPORTED;
	struct clock clock, again;
	int tries = 10;
	do { /* an update may fall between two registers: what is read twice alike is right */
		if (!tries-- || !read_clock(&clock) || !read_clock(&again))
			return EFI_DEVICE_ERROR;
	} while (memcmp(&clock, &again, sizeof(clock)));
	u8 status = cmos(STATUS_B);
	bool binary = status & BINARY;
	u8 hour = number(clock.hour & ~PM, binary);
	if (!(status & HOURS_24))
		hour = hour % 12 + (clock.hour & PM ? 12 : 0);
	else
		hour = number(clock.hour, binary);
	u32 century = machine.century ? number(clock.century, binary) : 20;
	*time = (struct efi_time){
		.year = century * 100 + number(clock.year, binary),
		.month = number(clock.month, binary),
		.day = number(clock.day, binary),
		.hour = hour,
		.minute = number(clock.minute, binary),
		.second = number(clock.second, binary),
		.timezone = UNSPECIFIED_TIMEZONE,
	};
	if (time->month < 1 || time->month > 12 || time->day < 1 || time->day > 31 || hour > 23 || time->minute > 59 ||
	    time->second > 59)
		return EFI_DEVICE_ERROR;
	if (capabilities)
		*capabilities = (struct time_capabilities){.resolution = 1, .accuracy = 50000000};
	return EFI_SUCCESS;
}
