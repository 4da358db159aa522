"""Differences between records."""
