"""The firmware's memory management: memory map, pool, page tables, and the placement of the firmware itself."""
