"""Forecasting: predict the next value of one measured series from the last ones."""

from seqmodels.tasks.real.table import Table


class Forecast(Table):
    """Inputs (batch, window, 1): values of one column of a table; target: the next value.

    The first 70 % of the values to be predicted are for training, the next 15 % for validation and the last 15 % for
    the test. `Table` is the general case, and says more about scaling, metric and baselines.

    Args:
        path: see `Table`.
        target: the column to forecast.
        window: the number of values in an input.
        difference: see `Table`.

    Raises:
        FileNotFoundError, TypeError, ValueError: see `Table`.
    """

    def __init__(self, path: str, target: str, window: int = 24, difference: bool = False) -> None:
        super().__init__(path, [target], [target], window, difference=difference)
