"""Builds plans from arguments and routes. A plan is the complete input of a run."""
