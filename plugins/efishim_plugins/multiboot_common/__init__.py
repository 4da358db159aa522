"""Code shared by Multiboot 1 and Multiboot2. Not a plugin itself."""
