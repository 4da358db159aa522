"""A Xen hypervisor as seen by a PVH guest: CPUID, hypercall page, hypercalls, event channels."""
