"""Real data: measured series, images and texts, and your own files."""

from seqmodels.tasks.real.digits import Digits
from seqmodels.tasks.real.forecast import Forecast
from seqmodels.tasks.real.sequences import Sequences
from seqmodels.tasks.real.table import Table
from seqmodels.tasks.real.text import Text

__all__ = ["Digits", "Forecast", "Sequences", "Table", "Text"]
