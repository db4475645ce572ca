"""The place of a score on the way from chance to solved.

Accuracy is placed on a linear scale, and errors on a logarithmic one, on which halving an error is always the same
step. Where one of them is zero or negative, and therefore has no logarithm, errors are placed on a linear scale, too.
"""

import math
from collections.abc import Callable, Iterable

LARGEST_SCORE = 1e100
"""A number of this size is not a measurement, and powers of it would overflow."""


def scale_of(metric: str, scores: Iterable[float]) -> Callable[[float], float]:
    """A function that turns scores into numbers: the better the score, the larger the number.

    Args:
        metric: the name of the metric. A larger accuracy is better, and so is a smaller value of any other metric.
        scores: the scores to be placed, which decide whether the scale of errors can be logarithmic.
    """
    if metric == "accuracy":
        return float
    return (lambda error: -math.log(error)) if is_logarithmic(metric, scores) else (lambda error: -error)


def is_logarithmic(metric: str, scores: Iterable[float]) -> bool:
    """Whether `scale_of` is logarithmic for these scores."""
    return metric != "accuracy" and min(scores) > 0


def place_of(score: float, chance: float, solved_at: float, metric: str) -> float:
    """The place of a score between chance (0) and solved (1); NaN if it is not defined.

    Scores worse than chance have the place 0, and those better than solved have the place 1.

    >>> place_of(0.745, 0.5, 0.99, "accuracy"), place_of(0.2, 0.1, 0.001, "mse"), place_of(0.25, 4, 1, "mse")
    (0.5, 0.0, 1.0)
    """
    if not all(map(math.isfinite, (score, chance, solved_at))):
        return math.nan
    if score <= 0 and is_logarithmic(metric, (chance, solved_at)):
        return 1.0
    scale = scale_of(metric, (chance, solved_at))
    value, start, end = scale(score), scale(chance), scale(solved_at)
    if start == end:
        return float(value >= end)
    return min(1.0, max(0.0, (value - start) / (end - start)))
