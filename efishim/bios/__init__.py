"""A small PC BIOS for real-mode code."""
