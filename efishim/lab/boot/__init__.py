"""Builds the machine and loads the image, up to its first instruction."""
