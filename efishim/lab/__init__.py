"""Runs one experiment: boot, milestones, observers, record."""
