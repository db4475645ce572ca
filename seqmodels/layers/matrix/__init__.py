"""Layers whose state is a matrix for each head. `layer.py` is shared by all, and `scan.py` is their recurrence."""
