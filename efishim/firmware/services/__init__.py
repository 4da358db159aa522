"""Boot services and runtime services (UEFI 2.10, chapters 7 and 8)."""
