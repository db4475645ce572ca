"""How a trial of a search ended: its number, its score, and the words for it."""

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import printable

ENDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}
"""The states of trials that have ended, and the words for them."""


def number_of(trial: FrozenTrial) -> Any:
    """The number of a trial, counted from 1; None if its process ended before the number was assigned."""
    number = trial.user_attrs.get("number")
    return number if isinstance(number, int) else None


def score_of(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def duration(trial: FrozenTrial) -> float:
    """The duration of a trial in seconds."""
    return 0.0 if trial.duration is None else trial.duration.total_seconds()


def end_of(trial: FrozenTrial) -> str:
    """How a trial that is no longer running ended, in one or two words."""
    return "diverged" if "diverged_at" in trial.user_attrs else ENDS[trial.state]


def outcome_of(trial: FrozenTrial, metric: str) -> str:
    """The score of a trial, or why it has none, in one phrase."""
    if trial.state == TrialState.FAIL:
        return f"failed: {printable(trial.user_attrs['message'])}"
    if "diverged_at" in trial.user_attrs:
        return f"diverged at step {trial.user_attrs['diverged_at']}"
    if trial.state == TrialState.COMPLETE:
        return f"validation {metric} {significant(score_of(trial))}"
    step = max(trial.intermediate_values)
    return f"stopped at step {step} with validation {metric} {significant(trial.intermediate_values[step])}"


def settings_text(settings: dict[str, Any]) -> str:
    """Settings in one line, with numbers rounded."""
    return " ".join(
        f"{name}={significant(value, 3) if isinstance(value, float) else value}" for name, value in settings.items()
    )
