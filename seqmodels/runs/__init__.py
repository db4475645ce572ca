"""One run: built from a config, trained, resumed if interrupted, tested and reported."""
