"""Reports of results: the files of a run folder, tables and pictures."""
