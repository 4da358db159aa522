"""Disk images: partitions and FAT volumes that are read within bounds, and an EFI system partition that is made for a run."""
