"""Many runs: a table of those that have finished, and published claims repeated."""
