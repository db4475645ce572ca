"""Tuning: a search for the settings with the best validation score, with Optuna.

A trial trains one model on one task, once for each tuning seed. Its score is the mean of their validation metrics, each
taken at the step with the lowest validation loss, whose checkpoint a run would test. The test itself is never computed.
Trials are numbered and stored in `study.db`, which several processes may share:

- A trial whose process ended before it did, for any reason, is run again under the same number. Whether a process is
  still alive is known from a lock that the operating system releases when the process ends.
- Each number is assigned once, under a lock, so any number of processes run exactly as many trials as were asked for.
- The sampler is seeded with the number of the trial. With one process, equal commands run equal trials, even if they
  are interrupted and continued. With several processes, a trial depends on which others have finished before it.
- Trial 1 has the shipped settings, or those typed, if they lie in the space.

Windows has no such locks: there, only one process at a time should use a database.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import optuna
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from seqmodels import __version__
from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.config.folders import name_in
from seqmodels.config.identity import decisive
from seqmodels.experiments.sweeps.sweep import QUIET
from seqmodels.experiments.sweeps.width import parameters_of, width_for
from seqmodels.experiments.tuning.database import DATABASE_ERRORS, alone_in, database_errors
from seqmodels.experiments.tuning.space import contains, corners, in_words, words_of
from seqmodels.experiments.tuning.trials import ENDS, duration, end_of, number_of, outcome_of, score_of, settings_text
from seqmodels.files import has_writer, only_writer
from seqmodels.learner import Diverged
from seqmodels.report.folder import write_config
from seqmodels.report.tables import counted
from seqmodels.runs.build import Parts, build
from seqmodels.runs.run import described, train
from seqmodels.untrusted.reading import printable

UNDISTURBED = 5
"""The number of trials that must finish before another one may be stopped early."""

SETTLED = 1 / 3
"""The fraction of its steps during which a trial is never stopped: many tasks are learned suddenly, after a plateau."""

SPACE = "space: "
"""Comes before the name of a searched setting in the conditions of a search."""


@dataclass(frozen=True)
class Budget:
    """The budget of each search: the number of trials, their seeds, and whether they may be stopped early."""

    trials: int
    seeds: tuple[int, ...]
    prune: bool

    @property
    def seeds_text(self) -> str:
        return f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"


class Search:
    """The search for the best settings of one model on one task: a study of Optuna.

    Args:
        words: the overrides of `train.py` that all trials share.
        space: the settings to search, by their dotted names.
        budget: the budget of each search.
        root: the folder of the database. The trials write to a folder below it that has the name of the search.
        parameters: the number of parameters that the model of each trial should have, as nearly as its width allows.

    Raises:
        UserError: a setting is wrong, or does not exist.
    """

    def __init__(
        self,
        words: Sequence[str],
        space: dict[str, Any],
        budget: Budget,
        root: Path,
        parameters: int | None = None,
    ) -> None:
        self.words, self.space, self.budget, self.root = list(words), space, budget, root
        self.parameters = parameters
        self.configs: dict[tuple[str, int], DictConfig] = {}
        """The configs composed so far, by settings and seed; each takes a tenth of a second."""
        self.config = self.config_of({})
        self.shipped = self.shipped_settings()
        self.model, self.task = str(self.config.model_name), str(self.config.task_name)
        self.name = f"{self.model}_{self.task}"
        self.folder = root / self.name
        parts = build(self.config, self.folder)
        self.metric, self.higher_is_better = parts.task.metric_name, parts.task.higher_is_better
        for settings in corners(space):
            try:
                build(self.config_of(settings), self.folder)
            except UserError as error:
                raise UserError(f"{self.model} on {self.task} cannot be searched in this space: {error}") from error

    def words_with(self, settings: dict[str, Any]) -> list[str]:
        """The overrides of a run with these settings."""
        return [*(word for word in self.words if name_in(word) not in settings), *words_of(settings)]

    def config_of(self, settings: dict[str, Any], seed: int | None = None) -> DictConfig:
        """The config of a trial with these settings and, if models are matched, the width that this requires.

        It is composed once, and not to be changed. Without a seed, it has the first of the tuning seeds.
        """
        seed = self.budget.seeds[0] if seed is None else seed
        key = (str(settings), seed)
        if key not in self.configs:
            quiet = {name_in(word) for word in QUIET}
            words = [word for word in self.words_with(settings) if name_in(word) not in quiet]
            config = compose(*words, *QUIET, f"seed={seed}")
            if self.parameters is not None:
                config.model.hidden_size = width_for(config, self.parameters)
            self.configs[key] = config
        return self.configs[key]

    def shipped_settings(self) -> dict[str, Any]:
        """The values that the settings of the space have by default; empty if one of them lies outside the space."""
        choices = HydraConfig.get().runtime.choices  # of the config that was composed last
        values = {name: choices.get(name, OmegaConf.select(self.config, name)) for name in self.space}
        return values if all(contains(self.space[name], value) for name, value in values.items()) else {}

    def open(self, storage: optuna.storages.BaseStorage) -> None:
        """Create the study, or open it.

        Raises:
            UserError: it was created with other settings.
        """
        direction: Any = "maximize" if self.higher_is_better else "minimize"
        settings = self.conditions()
        with alone_in(self.root):
            self.study = optuna.create_study(
                storage=storage, study_name=self.name, direction=direction, pruner=self.pruner(), load_if_exists=True
            )
            if not self.study.user_attrs:
                self.study.set_user_attr("settings", settings)
        stored: Any = self.study.user_attrs.get("settings")
        if not isinstance(stored, dict):
            raise UserError(f"{self.root / 'study.db'} contains a study that seqmodels tune did not create")
        changed = [name for name in sorted({*stored, *settings}) if stored.get(name) != settings.get(name)]
        if changed:
            changes = [change(name, stored.get(name), settings.get(name)) for name in changed]
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise UserError(
                f"{self.root} contains a search for {self.model} on {self.task} with other settings: "
                f"{printable(', '.join(changes[:3]))}{more}; choose another folder=..., or remove that one"
            )

    def conditions(self) -> dict[str, Any]:
        """Everything that the score of a trial depends on, in plain containers."""
        config = {name: value for name, value in decisive(self.config).items() if name != "seed"}
        space = {f"{SPACE}{name}": in_words(values) for name, values in self.space.items()}
        own = {"seeds": self.budget.seeds, "prune": self.budget.prune, "match": self.parameters, "version": __version__}
        return json.loads(json.dumps(config | space | own, default=str))

    def pruner(self) -> optuna.pruners.BasePruner:
        if not self.budget.prune:
            return optuna.pruners.NopPruner()
        return optuna.pruners.MedianPruner(UNDISTURBED, n_warmup_steps=int(SETTLED * self.config.trainer.max_steps))

    def run_next(self) -> bool:
        """Run the next trial that no process has begun; return False if there is none."""
        with ExitStack() as held:
            with alone_in(self.root):
                number = self.next_number()
                if number is None:
                    return False
                folder = self.folder_of(number)
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(only_writer(folder))  # from which others know that the trial is running
                trial = self.ask(number)
            self.run(trial, folder)
        return True

    def next_number(self) -> int | None:
        """The first number without a trial, once unfinished trials of processes that have ended have lost theirs."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = number_of(trial)
            if number is None or not has_writer(self.folder_of(number)):
                self.study.tell(trial.number, state=TrialState.FAIL)
        taken = {number_of(trial) for trial in self.trials()}
        return next((number for number in range(1, self.budget.trials + 1) if number not in taken), None)

    def trials(self) -> list[FrozenTrial]:
        """All trials except those whose processes ended before they did, which have failed without a message."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.FAIL or "message" in trial.user_attrs]

    def folder_of(self, number: int) -> Path:
        return self.folder / f"{number:03}"

    def ask(self, number: int) -> Trial:
        """A new trial with this number and the settings that the sampler suggests."""
        (seed,) = np.random.SeedSequence([self.budget.seeds[0], number]).generate_state(1)
        self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
        if number == 1 and self.shipped and not self.study.get_trials(states=(TrialState.WAITING,)):
            self.study.enqueue_trial(self.shipped)
        trial = self.study.ask(self.space)
        trial.set_user_attr("number", number)
        return trial

    def run(self, trial: Trial, folder: Path) -> None:
        """Train with the settings of a trial, and record how it ended. Only errors of the database are raised."""
        losses: list[float] = []
        scores: list[float] = []
        try:
            for seed in self.budget.seeds:
                validation = ValidationScore(trial, scores, self.budget)
                diverged = self.train(self.config_of(trial.params, seed), folder / str(seed), validation)
                if diverged is not None:
                    trial.set_user_attr("diverged_at", diverged.step)
                    raise optuna.TrialPruned
                scores.append(validation.score)
                losses.append(validation.loss)
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)  # the sampler ranks it below all finished trials
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            trial.set_user_attr("message", str(error) if isinstance(error, UserError) else described(error))
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr("loss", mean(losses))
            self.study.tell(trial, mean(scores))

    def train(self, config: DictConfig, folder: Path, validation: "ValidationScore") -> Diverged | None:
        """Train once, without parity check and test; return where training diverged, or None."""
        parts = build(config, folder)
        validation.parts = parts
        parts.trainer.callbacks.append(validation)  # type: ignore[attr-defined]
        folder.mkdir(exist_ok=True)
        write_config(parts.config, folder)
        try:
            return train(parts, folder, False, Console(quiet=True))
        finally:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    @property
    def unfinished(self) -> bool:
        """Whether a trial is running in another process, or has to be run again because its process has ended."""
        with alone_in(self.root):
            return self.next_number() is not None or any(trial.state == TrialState.RUNNING for trial in self.trials())

    @property
    def best(self) -> FrozenTrial | None:
        """The trial with the best score and, among equal ones, the lowest loss; None if no trial has finished."""
        sign = -1 if self.higher_is_better else 1
        finished = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return min(finished, key=lambda trial: (sign * score_of(trial), trial.user_attrs["loss"]), default=None)

    def searched_settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """The settings of a trial that were searched, in the order of the space."""
        return {name: trial.params[name] for name in self.space}

    def settings_with_width(self, trial: FrozenTrial) -> dict[str, Any]:
        """The settings of a trial that were searched, and the width if models are matched."""
        settings = self.searched_settings(trial)
        if self.parameters is None:
            return settings
        return settings | {"model.hidden_size": self.config_of(settings).model.hidden_size}

    def parameters_of(self, trial: FrozenTrial) -> int:
        """The number of parameters of a trial's model."""
        return parameters_of(self.config_of(self.searched_settings(trial)))

    def line_of(self, trial: FrozenTrial) -> str:
        """How a trial ended, in one line."""
        outcome = outcome_of(trial, self.metric)
        settings = settings_text(self.searched_settings(trial))
        return (
            f"{self.model} on {self.task}, trial {number_of(trial)} of {self.budget.trials}: {outcome} "
            f"({settings}; {duration(trial):.0f} s)"
        )

    def rows(self) -> list[dict[str, Any]]:
        """The trials as rows of a table, in the order of their numbers."""
        return [
            {
                "model": self.model,
                "task": self.task,
                "trial": number_of(trial),
                "end": end_of(trial),
                "metric": self.metric,
                "validation": trial.value,
                "steps": max(trial.intermediate_values, default=0),
                "seconds": duration(trial),
                **self.searched_settings(trial),
            }
            for trial in sorted(self.trials(), key=number_of)
            if trial.state in ENDS
        ]


class ValidationScore(Callback):
    """Reports the score of a trial at each validation, and stops a trial that is worse than the others.

    Args:
        trial: the trial.
        scores: the scores with the seeds that it has already been trained with.
        budget: the budget of each search.
    """

    parts: Parts

    def __init__(self, trial: Trial, scores: Sequence[float], budget: Budget) -> None:
        self.trial, self.scores, self.budget = trial, list(scores), budget
        self.score = self.loss = math.nan
        """The metric and the loss at the best step so far."""

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        checkpoints, task = self.parts.checkpoints, self.parts.task  # which have seen this validation already
        if checkpoints.best_step == trainer.global_step:
            self.score = trainer.callback_metrics[f"val_{task.metric_name}"].item()
            self.loss = checkpoints.best_loss
        step = len(self.scores) * trainer.max_steps + trainer.global_step
        self.trial.report(mean([*self.scores, self.score]), step)
        if step < len(self.budget.seeds) * trainer.max_steps and self.trial.should_prune():
            raise optuna.TrialPruned


def search_all(searches: Sequence[Search], say: Callable[[str], None]) -> None:
    """Run all trials of all searches, and wait for those that other processes are running.

    Raises:
        UserError: the database cannot be read or written.
        Stopped: a signal has arrived. The trial that was running will be run again.
    """
    said: set[tuple[str, int]] = set()

    def say_what_is_new(quietly: bool = False) -> None:
        for search in searches:
            for trial in search.trials():
                if trial.state in ENDS and (search.name, trial.number) not in said:
                    said.add((search.name, trial.number))
                    if not quietly:
                        say(search.line_of(trial))

    with database_errors(searches[0].root):
        say_what_is_new(quietly=True)
        for search in searches:
            asked = search.budget.trials
            if done := sum(trial.state in ENDS for trial in search.trials()):
                count = counted(done, "trial") if done > asked else f"{done} of {counted(asked, 'trial')}"
                say(f"{search.model} on {search.task}: {count} {'has' if done == 1 else 'have'} been run already")
        while (made := any(search.run_next() for search in searches)) or any(search.unfinished for search in searches):
            say_what_is_new()
            if not made:
                time.sleep(1)
        say_what_is_new()


def change(name: str, before: Any, now: Any) -> str:
    """How a condition of a search has changed, in one phrase."""
    if not name.startswith(SPACE):
        return f"{name} (was {before}, now {now})"
    was, becomes = (f"searched {values}" if values else "left out" for values in (before, now))
    return f"{name.removeprefix(SPACE)} (was {was}, now {becomes})"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
