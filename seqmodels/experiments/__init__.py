"""Many runs: sweeps, tables and comparisons of finished runs, tuning, and published claims."""
