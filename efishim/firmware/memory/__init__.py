"""Memory as firmware manages it: the memory map, pool, page tables, and where the firmware itself lies."""
