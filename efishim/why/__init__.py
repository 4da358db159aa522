"""Causes by experiment: what of the state at which two ways meet makes which difference behind it."""
