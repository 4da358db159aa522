/* Single instructions. */
#ifndef CPU_H
#define CPU_H

#include "types.h"

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline u8 in8(u16 port)
{
	u8 value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline u16 in16(u16 port)
{
	u16 value;
	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline u64 read_msr(u32 number)
{
	u32 low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return (u64)high << 32 | low;
}

static inline void write_msr(u32 number, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(number), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

struct cpuid {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf)
{
	struct cpuid found;
	__asm__ volatile("cpuid" : "=a"(found.eax), "=b"(found.ebx), "=c"(found.ecx), "=d"(found.edx) : "a"(leaf), "c"(0));
	return found;
}

static inline bool random_number(u64 *value)
{
	bool good;
	__asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(*value), "=qm"(good) : : "cc");
	return good;
}

static inline void load_page_tables(u64 root) { __asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory"); }
static inline void forget_translation(u64 address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }

static inline u64 faulting_address(void)
{
	u64 address;
	__asm__ volatile("movq %%cr2, %0" : "=r"(address));
	return address;
}

static inline _Noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

#endif
