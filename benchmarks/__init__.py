"""Measurements that compare efishim with other ways to the same end. Not installed."""
