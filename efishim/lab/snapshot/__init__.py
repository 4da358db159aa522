"""Decodes guest memory and processor state at one moment."""
