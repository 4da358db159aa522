"""A Xen hypervisor as its PVH guest sees it: CPUID, hypercall page, hypercalls, event channels."""
