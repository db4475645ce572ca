"""Many runs: a table of finished runs, and published claims repeated."""
