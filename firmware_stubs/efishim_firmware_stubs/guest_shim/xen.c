/* Xen, if that is the hypervisor: its signature, how it is called, and the memory map that version 0 of start_info lacks. */
#include "boot.h"
#include "cpu.h"
#include "runtime.h"

#define HYPERVISOR_BIT (1u << 31) /* CPUID 1, ECX */
#define FIRST_LEAF 0x40000000
#define LAST_LEAF 0x40010000
#define LEAF_STEP 0x100
#define XENMEM_MEMORY_MAP 9
#define E820_MOST 128

struct e820 {
	u64 start, size;
	u32 type;
} __attribute__((packed));

/* A hypervisor that shows several interfaces has them 0x100 leaves apart (public/arch-x86/cpuid.h). */
static u32 xen_leaf(void)
{
	if (!(cpuid(1).ecx & HYPERVISOR_BIT))
		return 0;
	for (u32 leaf = FIRST_LEAF; leaf < LAST_LEAF; leaf += LEAF_STEP) {
		struct cpuid found = cpuid(leaf);
		u32 signature[3] = {found.ebx, found.ecx, found.edx};
		if (!memcmp(signature, "XenVMMXenVMM", sizeof(signature)))
			return leaf;
	}
	return 0;
}

static bool made_by(const struct cpuid *maker, const char *name)
{
	u32 found[3] = {maker->ebx, maker->edx, maker->ecx};
	return !memcmp(found, name, sizeof(found));
}

void xen_init(void)
{
	struct cpuid maker = cpuid(0);
	if (xen_leaf())
		hypercalls = made_by(&maker, "AuthenticAMD") || made_by(&maker, "HygonGenuine") ? BY_VMMCALL : BY_VMCALL;
}

u32 xen_memory_map(struct boot *boot)
{
	static struct e820 table[E820_MOST];
	struct {
		u32 entries;
		u64 buffer;
	} query = {E820_MOST, (u64)table};
	if (hypercall(XEN_MEMORY_OP, XENMEM_MEMORY_MAP, (u64)&query, 0) || query.entries > E820_MOST)
		return 0;
	for (u32 i = 0; i < query.entries; i++)
		boot->regions[i] = (struct region){table[i].start, table[i].start + table[i].size, table[i].type};
	return boot->region_count = query.entries;
}
