"""Compares records: facts, rules, convergence, and baselines."""
