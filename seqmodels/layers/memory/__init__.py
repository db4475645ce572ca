"""Layers with a stack or a tape beside the state of an inner cell. `layer.py` is shared by all."""
