"""The EFI shim: what a kernel's EFI stub finds instead of firmware."""
