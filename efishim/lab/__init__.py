"""Runs a plan and records it: boot, milestones, observers, record."""
