"""Putting a run together, up to the image's first instruction."""
