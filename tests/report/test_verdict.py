"""The verdict: guesses count as chance, whatever the size of the test, and what was learned does not."""

import numpy as np
import pandas as pd
import pytest
from report.results import result_with

from seqmodels.config import compose
from seqmodels.report.verdict import advice, verdict_of
from seqmodels.runs.build import build_task


def guesses(metric, chance, sequences, random):
    """The scores of 2,000 tests of a model that only guesses."""
    if metric == "accuracy":
        return random.binomial(sequences, chance, 2000) / sequences
    squares = chance ** (2 if metric == "rmse" else 1) * random.chisquare(sequences, 2000) / sequences
    return np.sqrt(squares) if metric == "rmse" else squares


@pytest.mark.parametrize("sequences", [20, 45, 256, 1024])
@pytest.mark.parametrize(
    ("metric", "chance", "solved_at"),
    [("accuracy", 0.5, 0.99), ("accuracy", 0.05, 0.99), ("mse", 0.1667, 0.01), ("rmse", 53.9, 30.2)],
)
def test_a_model_that_guesses_is_at_chance(metric, chance, solved_at, sequences):
    scores = guesses(metric, chance, sequences, np.random.default_rng(1))
    result = result_with(metric=metric, chance=chance, solved_at=solved_at)
    verdicts = [verdict_of(result | {"test": score}, sequences) for score in scores]
    assert verdicts.count("chance") / len(verdicts) > 0.965


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"test": 0.4}, "between"),  # a fifth of the way
        ({"test": 0.47}, "chance"),  # a sixteenth
        ({"test": 0.009, "solved": True}, "solved"),
        ({"test": 7.0}, "chance"),
        ({"test": None}, "chance"),
        ({"test": 0.6, "metric": "accuracy", "solved_at": 0.99}, "between"),
        ({"test": 0.52, "metric": "accuracy", "solved_at": 0.99}, "chance"),
        ({"test": 0.1, "metric": "accuracy", "solved_at": 0.99}, "chance"),
        ({"test": 1.9, "metric": "cross_entropy", "chance": 2.0, "solved_at": 0.2}, "chance"),
    ],
    ids=str,
)
def test_the_verdict(entries, expected):
    assert verdict_of(result_with(**entries), 1024) == expected
    assert (verdict_of(result_with(**entries), 4) == "chance") or expected != "chance"


ROWS = 30
FLAT = [0.7, 0.69, 0.71] * 10
FALLING = [0.7 - 0.005 * row + 0.01 * (row % 3) for row in range(ROWS)]
MIXED = [0.05 if row % 5 == 0 else 0.7 + 0.01 * (row % 3) for row in range(ROWS)]


@pytest.mark.parametrize(
    ("words", "losses", "best", "said"),
    [
        (
            ["task=parity_check"],
            FLAT,
            0.7,
            "Sequences of length 40 were learned better (validation accuracy 0.7) than those",
        ),
        (["task=parity_check"], FLAT, 0.99, "task.length=[1,80]"),
        (["task=digits"], FLAT, 0.88, "Validation was much better (accuracy 0.88)"),
        (["task=parity_check"], FALLING, 0.5, "still falling: try more steps (trainer.max_steps=4500)"),
        (
            ["task=parity_check"],
            MIXED,
            0.5,
            "not on long ones: try a model with gates (model=manual_gru), or more steps (trainer.",
        ),
        (["task=noiseless_memory"], FLAT, 0.5, "task.length=[8,50] task.doubling_batches=187"),
        (["task=noiseless_memory"], MIXED, 0.5, "never fell"),  # all its sequences have one length
        (["task=parity_check"], FLAT, 0.5, "never fell: try a model with gates (model=manual_gru"),
        (["experiment=parity_uniform"], FLAT, 0.5, "never fell: try lengths that grow during training (task.doubling_"),
        (["task=digits"], FLAT, 0.1, "never fell: try a model with gates (model=manual_gru"),
    ],
)
def test_the_advice_follows_from_the_curves(words, losses, best, said):
    task = build_task(compose(*words).task)
    scores = [np.nan, task.chance] * (ROWS // 2)
    scores[13] = best
    metrics = pd.DataFrame({"step": range(49, 1500, 50), "train_loss": losses, "val_accuracy": scores})
    result = result_with(metric="accuracy", test=task.chance + 0.01, chance=task.chance, steps=1500)
    assert said in advice(result, task, metrics)
    assert advice(result, task, metrics).startswith("This is hardly better than chance. ")
    assert advice(result | {"test": 0.01}, task, metrics).startswith("This is no better than chance. ")
    other = advice(result | {"layer": "seqmodels.layers.gru.ManualGRU"}, task, metrics)
    assert other == advice(result, task, metrics).replace("a model with gates (model=manual_gru)", "another model")
    assert "400 steps are few: try trainer.max_steps=1500" in advice(result | {"steps": 400}, task, metrics)


def test_the_lengths_that_are_advised_are_accepted():
    """Each task of one length accepts the range that the advice names."""
    for name in ("adding", "mqar", "priority_sort", "induction_heads", "delayed_recall"):
        task = build_task(compose(f"task={name}").task)
        metrics = pd.DataFrame(
            {"step": range(49, 1500, 50), "train_loss": FLAT, f"val_{task.metric_name}": task.chance}
        )
        result = result_with(metric=task.metric_name, test=task.chance, chance=task.chance, steps=1500)
        words = advice(result, task, metrics).rpartition("(")[2].partition(")")[0].split()
        assert build_task(compose(f"task={name}", *words).task).lengths.doubling_batches == 187
