"""Real data: measured series, images and texts."""

from seqmodels.tasks.real.digits import Digits
from seqmodels.tasks.real.forecast import Forecast
from seqmodels.tasks.real.table import Table
from seqmodels.tasks.real.text import Text

__all__ = ["Digits", "Forecast", "Table", "Text"]
