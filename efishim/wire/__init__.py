"""Byte layouts, one file per specification. No logic."""
