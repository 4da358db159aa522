"""The emulated machines: devices, CPUID, ACPI and SMBIOS tables, and the platforms assembled from them."""
