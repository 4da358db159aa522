/*
 * What stays when boot services are gone. Files named runtime_* hold its code and its data, and need nothing of the others.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include "efi.h"

#define MAX_TABLES 16

extern struct system_table system_table;
extern struct runtime_services runtime_services;
extern struct configuration_table configuration_tables[MAX_TABLES];
extern struct rt_properties rt_properties;
extern u16 vendor_name[32];
extern bool boot_services_over;

/* runtime_bytes.c */
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);
void seal(struct table_header *header); /* writes the CRC of a table */
u32 crc32(const void *data, u64 size);

/* runtime_hypercall.c: -1 where there is no Xen */
extern enum hypercalls { NO_HYPERCALLS, BY_VMCALL, BY_VMMCALL } hypercalls;
long hypercall(u32 number, u64 first, u64 second, u64 third);
#define XEN_MEMORY_OP 12
#define XEN_SCHED_OP 29
#define XEN_EVENT_CHANNEL_OP 32
#define XEN_HVM_OP 34

/* What acpi.c found out and clock and reset need (ACPI 6.5, 5.2.9). */
struct io_register {
	u16 port; /* 0 for none */
	u8 bytes;
};
struct machine {
	bool soft_off;			    /* the sleep types below are known */
	u8 sleep_type_a, sleep_type_b;	    /* of \_S5 */
	struct io_register pm1a, pm1b;	    /* control registers */
	struct io_register sleep_control;   /* of hardware-reduced machines */
	struct io_register reset;
	u8 reset_value;
	bool keyboard_controller, cmos_clock;
	u8 century; /* its index in CMOS, 0 for none */
};
extern struct machine machine;

#endif
