"""Finished runs: reading them, comparing them over seeds, and writing what was found."""
