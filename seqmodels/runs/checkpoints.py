"""Checkpoints: everything needed to continue a run bit for bit.

A checkpoint is taken between two steps: Lightning's state (weights, optimizer, scheduler, counters), the position in
the data, the state of torch's random generators, which dropout draws from, and the seconds of training so far.
"""

import io
import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from seqmodels.checks import UserError, check_whole
from seqmodels.files import sealed, write_whole
from seqmodels.learner import Diverged
from seqmodels.runs.metrics import MetricsFile
from seqmodels.stops import Stopped, stop_signals
from seqmodels.untrusted.archive import read_checkpoint


class SealedFiles(TorchCheckpointIO):
    """Makes Lightning write checkpoints atomically with a digest, and verify it when reading."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        archive = io.BytesIO()
        torch.save(checkpoint, archive)
        file = Path(path)
        file.parent.mkdir(exist_ok=True)
        write_whole(file, sealed(archive.getvalue()))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class Checkpoints(Callback):
    """Keeps `best.ckpt` (lowest validation loss), `last.ckpt`, and `previous.ckpt`, the one before the last.

    A run continues from the last one or, if that is damaged, from the previous one.

    Args:
        folder: where the files are.
        steps: training steps between two writes of `last.ckpt`; None to go by time alone.
        minutes: minutes of training between two writes; None to go by steps alone.
        settings: the digest of the run's settings; a checkpoint of a run with other settings is refused.
        data: the digest of the task's data if they come from files; a checkpoint of a run on other data is refused.
    """

    def __init__(
        self,
        folder: Path,
        steps: int | None = 500,
        minutes: float | None = 5,
        settings: str = "",
        data: str = "",
    ) -> None:
        if steps is not None:
            check_whole("steps", steps, 1)
        if minutes is not None and (isinstance(minutes, bool) or not 0 < minutes < math.inf):
            raise ValueError(f"minutes should be a positive number or null, got {minutes!r}")
        self.best, self.last, self.previous = (folder / f"{name}.ckpt" for name in ("best", "last", "previous"))
        self.steps, self.minutes, self.settings, self.data = steps, minutes, settings, data
        self.initial: dict[str, Any] | None = None
        """What was taken from another run before the first step: see `take_weights`."""
        self.best_loss = math.inf
        self.best_step: int | None = None
        self.seconds = 0.0
        """Seconds of training so far, including those before the run was resumed."""
        self.started = self.saved = 0.0
        self.random_state: dict[str, Any] = {}
        self.continues = False
        """Whether a resumed run has not yet started its first batch."""
        self.saved_step: int | None = None
        self.intact = False
        """Whether a step has begun and the optimizer has not yet changed the weights."""

    def newest(self) -> tuple[Path | None, int, list[str]]:
        """Returns the checkpoint to resume from (None to start again), its step, and what is wrong with newer ones."""
        problems: list[str] = []
        for file in (self.last, self.previous):
            if not file.exists():
                continue
            try:
                checkpoint = read_checkpoint(file)
                state, step = checkpoint["callbacks"][self.state_key], int(checkpoint["global_step"])
                if state["best_step"] is not None:
                    read_checkpoint(self.best)
            except UserError as error:
                problems.append(str(error))
                continue
            except (KeyError, TypeError):
                problems.append(f"{file} is not a checkpoint of a run")
                continue
            if state.get("settings") != self.settings:
                raise UserError(f"config.yaml has changed since {file} was written: the run had other settings")
            if state.get("data", self.data) != self.data:  # an earlier version stored none
                raise UserError(f"the files of the task have changed since {file} was written: the run had other data")
            return file, step, problems
        return None, 0, problems

    def save(self, trainer: pl.Trainer) -> None:
        """Flush the metrics to disk, then write `last.ckpt`."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.sync()
        if trainer.is_global_zero and self.last.exists():
            self.last.replace(self.previous)
        trainer.save_checkpoint(self.last)
        self.saved, self.saved_step = time.monotonic(), trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "settings": self.settings,
            "data": self.data,
            "initial": self.initial,
            "seconds": self.elapsed(),
            "random_state": of_all_processes(self.random_state),
        }

    def elapsed(self) -> float:
        """Seconds of training until now."""
        return self.seconds + (time.monotonic() - self.started if self.started else 0)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_loss, self.best_step = state["best_loss"], state["best_step"]
        self.seconds, self.random_state = state["seconds"], of_this_process(state["random_state"])
        self.initial = state.get("initial")
        self.continues = True

    def on_load_checkpoint(self, trainer: pl.Trainer, learner: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        # Wherever the run stopped, it resumes with the first batch after the last optimizer step. There is only one
        # epoch, which a larger max_steps lengthens.
        loop = checkpoint["loops"]["fit_loop"]
        batches = checkpoint["global_step"] * trainer.accumulate_grad_batches
        for scope in ("total", "current"):
            loop["epoch_progress"][scope] |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = dict.fromkeys(("started", "processed", "completed"), batches) | {"ready": batches + 1}
            loop["epoch_loop.batch_progress"][scope] |= progress
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False

    def on_train_start(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        self.started = self.saved = time.monotonic()
        stop_signals.listen()  # Lightning's own reaction to SIGTERM would end the run between step and validation

    def on_train_batch_start(
        self, trainer: pl.Trainer, learner: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if self.continues:
            self.continues = False
            restore_random_state(self.random_state)
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # Lightning counts one too many
            return
        self.intact = True
        signum, due = as_process_0_sees_it(
            trainer, stop_signals.received or 0, trainer.global_step > 0 and self.is_due(trainer.global_step)
        )
        if signum or due or not self.random_state:
            self.random_state = random_state()
        if signum or due:
            self.save(trainer)
        if signum:
            raise Stopped(signum)

    def is_due(self, step: int) -> bool:
        by_steps = self.steps is not None and step % self.steps == 0
        return by_steps or (self.minutes is not None and time.monotonic() - self.saved >= 60 * self.minutes)

    def on_before_optimizer_step(self, *arguments: Any) -> None:
        self.intact = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.random_state = random_state()
        self.intact = False

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        loss = trainer.callback_metrics["val_loss"].item()
        if not math.isfinite(loss):
            raise Diverged(trainer.global_step, "the validation loss")
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, trainer.global_step
            trainer.save_checkpoint(self.best)

    def on_train_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        self.random_state = random_state()
        self.save(trainer)
        self.seconds = self.elapsed()

    def on_exception(self, trainer: pl.Trainer, learner: pl.LightningModule, exception: BaseException) -> None:
        self.seconds = self.elapsed()
        self.started = time.monotonic()
        if self.may_save(trainer, exception):
            with suppress(Exception):  # the first error is the one to report
                self.save(trainer)

    def may_save(self, trainer: pl.Trainer, exception: BaseException) -> bool:
        """Whether an error has come where the state is the one between two steps."""
        if not trainer.training or not self.random_state:  # in a validation, or before the first step
            return False
        if isinstance(exception, Diverged):
            return True
        progress = trainer.fit_loop.epoch_loop.batch_progress.current
        draws = progress.ready == progress.completed  # the next batch
        # All processes diverge at the same step. Any other error may hit one alone, and saving needs them all.
        return isinstance(exception, Exception) and trainer.world_size == 1 and (self.intact or draws)


def as_process_0_sees_it(trainer: pl.Trainer, *values: int) -> tuple[int, ...]:
    """Returns the values of process 0, in every process."""
    if trainer.world_size == 1:
        return values
    shared = torch.tensor(values, device=trainer.strategy.root_device)
    torch.distributed.broadcast(shared, 0)
    return tuple(shared.tolist())


def of_all_processes(state: dict[str, Any]) -> Any:
    """Returns the states of all processes in a list, or the state itself if there is one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return state
    states: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(states, state)
    return states


def of_this_process(states: Any) -> dict[str, Any]:
    """The state that this process gave to `of_all_processes`."""
    return states[torch.distributed.get_rank()] if isinstance(states, list) else states


def random_state() -> dict[str, Any]:
    """The state of torch's random generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
