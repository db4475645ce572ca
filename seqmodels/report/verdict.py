"""The verdict on a run: chance, between, or solved; and what to try after a run at chance."""

import math
from typing import Any

import pandas as pd
from scipy import stats

from seqmodels.report.tables import counted, significant
from seqmodels.tasks import DrawnTask, Task

SHARE = 0.1
"""A score that is less than this fraction of the way from chance to solved counts as chance."""

LEARNED = 0.2
"""A validation score this far from chance to solved shows that something was learned, even if the test does not."""

FEW = 500
"""Few tasks are learned in fewer steps than this, so a loss that has not fallen says little."""


def verdict_of(result: dict[str, Any], sequences: int | None = None) -> str:
    """Return "solved", "chance" or "between", judged by a test on this many sequences.

    A score counts as chance if it is less than a tenth of the way from chance to solved, or if a model that guesses
    would reach it in more than one of 40 tests. Each sequence counts once, no matter how many of its positions are
    scored, because these depend on one another. Without a number of sequences, as for results of
    earlier versions, which do not hold a verdict, only the first rule counts. A run that diverged before its first
    validation is at chance.
    """
    if result["solved"]:
        return "solved"
    if result["test"] is None:
        return "chance"
    metric, chance = result["metric"], result["chance"]
    direction = 1 if metric == "accuracy" else -1
    gain = direction * (result["test"] - chance)
    luck = 0 if sequences is None else direction * (lucky_guess(metric, chance, sequences) - chance)
    return "chance" if gain <= max(SHARE * direction * (result["solved_at"] - chance), luck) else "between"


def lucky_guess(metric: str, chance: float, sequences: int) -> float:
    """The score that a model at chance reaches in one of 40 tests, with guessed classes or normal errors.

    The cross-entropy of a model at chance hardly varies.
    """
    match metric:
        case "accuracy":
            return stats.binom.ppf(0.975, sequences, chance) / sequences
        case "mse":
            return chance * stats.chi2.ppf(0.025, sequences) / sequences
        case "rmse":
            return chance * math.sqrt(stats.chi2.ppf(0.025, sequences) / sequences)
    return chance


def chance_in_validation(task: Task) -> float:
    """Chance in the validation metric: at the length of validation where lengths are drawn, else that of the test."""
    return task.chance_at(task.lengths.longest) if isinstance(task, DrawnTask) else task.chance


def advice(result: dict[str, Any], task: Task, metrics: pd.DataFrame) -> str:
    """In a few sentences: that a run is at chance, what its metrics.csv shows, and what to try."""
    worse = result["test"] <= result["chance"] if task.higher_is_better else result["test"] >= result["chance"]
    advised = tip(task, metrics, result["steps"], result["layer"])
    return f"This is {'no' if worse else 'hardly'} better than chance. {advised}"


def tip(task: Task, metrics: pd.DataFrame, steps: int, layer: str) -> str:
    if steps < FEW:
        return f"{counted(steps, 'step')} {'is' if steps == 1 else 'are'} few: try trainer.max_steps=1500."
    lengths = task.lengths
    scores, losses = metrics[f"val_{task.metric_name}"].dropna(), metrics["train_loss"].dropna()
    chance = chance_in_validation(task)
    shares = (scores - chance) / (task.solved_at - chance)
    if shares.max() >= LEARNED:
        best = f"{task.metric_name} {significant(scores.to_numpy()[shares.argmax()])}"
        if lengths is None or not any(map(lengths.unseen, lengths.tests)):
            return f"Validation was much better ({best}): the test data differ from validation, or are too few to tell."
        longest = lengths.longest
        return (
            f"Sequences of length {longest} were learned better (validation {best}) than those of the test: see at "
            f"which lengths it fails (task.test_lengths=[{longest},{2 * longest},{4 * longest}]), or train on longer "
            f"ones (task.length=[{lengths.shortest},{2 * longest}])."
        )
    longer = f"more steps (trainer.max_steps={3 * steps})"
    gates = "a model with gates (model=manual_gru)" if layer.endswith("RNN") else "another model"
    third = len(losses) // 3
    if third > 1 and is_lower(losses[-third:], losses[third:-third]):
        return f"The loss was still falling: try {longer}."
    if lengths is not None and lengths.longest > lengths.shortest and losses.min() < 0.75 * losses.median():
        return (
            f"The loss fell on some batches, most likely of short sequences, but not on long ones: try {gates}, "
            f"or {longer}."
        )
    if lengths is not None and lengths.longest == lengths.shortest:
        start = max(lengths.longest // 6, getattr(task, "min_length", 1))
        grow = f"task.length=[{start},{lengths.longest}] task.doubling_batches={steps // 8}"
        return f"The loss never fell: try {gates}; on some tasks, lengths that grow during training help ({grow})."
    if lengths is not None and not lengths.doubling_batches:
        return (
            f"The loss never fell: try lengths that grow during training (task.doubling_batches={steps // 8}), "
            f"{gates}, or another optimizer.lr."
        )
    return f"The loss never fell: try {gates}, another optimizer.lr, or shorter sequences."


def is_lower(values: pd.Series, others: pd.Series) -> bool:
    """Whether the mean of some values is below that of others by more than three standard errors."""
    error = math.sqrt(values.var() / len(values) + others.var() / len(others))
    return others.mean() - values.mean() > 3 * error
