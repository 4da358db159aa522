"""Reads dumps: the memory and the registers that another machine had at an entry of a kernel."""
