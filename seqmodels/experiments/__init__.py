"""Many runs: sweeps, a table of finished runs, and published claims repeated."""
