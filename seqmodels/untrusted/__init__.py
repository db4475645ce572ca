"""Files that may come from anyone: what is read of them, how much, and how it is shown. SECURITY.md is the promise."""
