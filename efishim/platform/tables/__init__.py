"""What firmware leaves in memory about the machine: ACPI and SMBIOS tables."""
