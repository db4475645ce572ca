"""The verbs of the command line, a file each; see `seqmodels.__main__`."""
