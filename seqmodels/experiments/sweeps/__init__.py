"""Many runs: which belong to a sweep, several at a time, what is done and what is left."""
