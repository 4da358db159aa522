"""Boots kernels on QEMU with real firmware, inspects them through the gdb stub, and records the boot."""
