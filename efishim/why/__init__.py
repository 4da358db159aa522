"""Causes by experiment: which items of the state at the convergence of two routes cause which later differences."""
