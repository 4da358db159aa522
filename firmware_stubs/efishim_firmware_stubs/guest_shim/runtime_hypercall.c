/*
 * Xen's hypercalls (xen/include/public/arch-x86/xen-x86_64.h), by the instruction of the processor's maker: a page of memory for
 * Xen to fill would have to be kept for good.
 */
#include "runtime.h"

enum hypercalls hypercalls;

long hypercall(u32 number, u64 first, u64 second, u64 third)
{
	long result = number;
	switch (hypercalls) {
	case BY_VMCALL:
		__asm__ volatile("vmcall" : "+a"(result), "+D"(first), "+S"(second), "+d"(third) : : "memory", "rcx", "r11");
		return result;
	case BY_VMMCALL:
		__asm__ volatile("vmmcall" : "+a"(result), "+D"(first), "+S"(second), "+d"(third) : : "memory", "rcx", "r11");
		return result;
	default:
		return -1;
	}
}
