"""Devices, ACPI, SMBIOS, CPUID, and the profiles made of them."""
