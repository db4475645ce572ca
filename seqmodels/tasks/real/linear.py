"""What a linear model makes of the same inputs: the baseline of tasks with whole sequences."""

import warnings

import numpy as np

MOST = 20_000
"""Rows that are enough to fit it."""


def linear_answers(inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The answers to `asked` (rows, inputs) of a linear model of training inputs (rows, inputs) and targets (rows,):
    of logistic regression where these are classes, otherwise of ridge regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(targets) > MOST:
        chosen = np.random.default_rng(0).choice(len(targets), MOST, replace=False)
        inputs, targets = inputs[chosen], targets[chosen]
    classes = np.issubdtype(targets.dtype, np.integer)
    if classes and len(np.unique(targets)) == 1:
        return np.full(len(asked), targets[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200) if classes else Ridge())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline need not be the very best one
        return model.fit(inputs, targets).predict(asked)
