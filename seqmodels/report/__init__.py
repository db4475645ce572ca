"""What people look at: tables, pictures, and the files of a run."""
