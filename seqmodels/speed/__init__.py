"""Measurements of speed: layers against torch.nn's, and a whole run against a hand-written loop."""
