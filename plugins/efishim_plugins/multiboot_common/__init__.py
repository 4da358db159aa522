"""What Multiboot 1 and Multiboot2 have in common; no plugin by itself."""
