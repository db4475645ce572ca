"""The search for good settings, scored by validation alone."""
