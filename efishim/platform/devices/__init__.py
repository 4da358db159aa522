"""Devices of a PC, each on the port, MMIO or MSR bus."""
