"""One run: built from a config, trained, interrupted and continued, tested, reported."""
