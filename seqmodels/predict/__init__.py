"""A finished run that goes on being used: it answers other files, and streams, in their own units.

A task on a user's files has a reader, which is described by plain data, its facts. They are stored in result.json, so
that the reader is made again without the files of the task, and without code that the folder names. What the run wrote
about its own test, predictions.csv, is computed by the same functions.
"""

from seqmodels.predict.predictor import Predictor, load_predictor

__all__ = ["Predictor", "load_predictor"]
