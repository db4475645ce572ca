"""Layers whose recurrence is linear and advances each number of the state by itself, so that it can be computed for
many steps at once, by `scan.py` or `filter.py`."""
