"""Following a guest while it runs: milestones, code, reads and writes."""
