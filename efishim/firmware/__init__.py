"""The EFI shim: the firmware on which a kernel's EFI stub runs."""
