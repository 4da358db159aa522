"""Observes a running guest: milestones, code, reads and writes."""
