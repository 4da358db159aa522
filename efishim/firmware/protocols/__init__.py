"""What the shim's handles carry, one file for each protocol."""
