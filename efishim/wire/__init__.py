"""Byte layouts, one file per specification, without logic."""
