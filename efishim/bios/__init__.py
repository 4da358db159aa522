"""A small BIOS: what real-mode code finds in a PC that has no EFI firmware."""
