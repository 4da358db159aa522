"""ACPI and SMBIOS tables."""
