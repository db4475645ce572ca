"""What people look at: the files of a run folder, tables and pictures."""
