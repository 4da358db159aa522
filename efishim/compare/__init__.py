"""Differences between records: facts, rules, where ways meet, and baselines."""
