"""Training and evaluation of a model on a task: the LightningModule."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seqmodels.tasks import Task


class Diverged(ArithmeticError):
    """A loss or a gradient is not finite; the weights are still those before the step."""

    def __init__(self, step: int, tensor: str) -> None:
        super().__init__(f"training diverged: at step {step}, {tensor} is not finite")
        self.step = step
        """The step, counted from 1, that was not completed."""


class Learner(pl.LightningModule):
    """A model that learns a task. Logs `train_loss`, `val_loss`, `test_loss` and the task's metric, as `val_accuracy`.

    `train_loss` is logged every `log_every_n_steps` steps only, and not to Lightning's own progress bar. A task that is
    tested at several lengths has metrics such as `test_accuracy_at_80`, and their mean as `test_accuracy`.
    Training ends with `Diverged` at the first loss or gradient that is not finite.

    A checkpoint holds the weights but not the arguments: `Learner.load_from_checkpoint(path, model=..., task=...,
    optimizer=...)` needs them again. A subclass whose own arguments are plain values, and whose constructor calls
    `save_hyperparameters()`, is loaded by the path alone.

    Args:
        model: maps inputs to answers, in the shapes that the task states.
        task: the task to learn.
        optimizer: returns the optimizer when called with the parameters, except those that need no gradient.
        scheduler: returns a learning rate scheduler, stepped after every batch, when called with the optimizer.
        splits_batches: in a run of several processes, each is given the same whole batches and computes some rows of
            them. Otherwise each is given batches of its own, as is usual in Lightning.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        splits_batches: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.splits_batches = splits_batches
        self.val_metric = task.metric()
        self.test_metrics: Any = nn.ModuleList(task.metric() for _ in task.tests)

    def forward(self, inputs: Tensor, *lengths: Tensor) -> Tensor:
        return self.model(inputs, *lengths)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([parameter for parameter in self.model.parameters() if parameter.requires_grad])
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def on_train_start(self) -> None:
        if self.trainer.global_rank:  # process 0 draws the dropout that a single process would draw
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def part_of(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The rows of a batch that this process computes: every n-th one, of n processes.

        A process left without rows computes the first row with targets that do not count.
        """
        if not self.splits_batches:
            return batch
        part = tuple(values[self.trainer.global_rank :: self.trainer.world_size] for values in batch)
        if len(part[0]):
            return part
        inputs, targets, *lengths = (values[:1] for values in batch)
        return inputs, self.task.unscored(targets), *lengths

    def loss_of_whole(self, outputs: Tensor, targets: Tensor, all_targets: Tensor) -> Tensor:
        """The loss of a whole batch, in each of the processes that compute a part of it.

        Its gradient is that of the part, scaled such that the mean over the processes, which DDP takes, is the gradient
        of the whole: parts may have different numbers of scored positions.
        """
        count, all_count = self.task.is_scored(targets).sum(), self.task.is_scored(all_targets).sum()
        part = (self.task.loss(outputs, targets) if count else 0 * outputs.sum()) * (count / all_count)
        whole = part.detach().clone()
        torch.distributed.all_reduce(whole)
        return whole + self.trainer.world_size * (part - part.detach())

    def training_step(self, batch: tuple[Tensor, ...]) -> Tensor:
        inputs, targets, *lengths = self.part_of(batch)
        outputs = self.model(inputs, *lengths)
        loss = (
            self.loss_of_whole(outputs, targets, batch[1]) if self.splits_batches else self.task.loss(outputs, targets)
        )
        if not math.isfinite(loss.item()):
            raise Diverged(self.trainer.global_step + 1, "the loss")
        # A call of self.log costs a tenth of a step, whether or not the value is kept.
        trainer: Any = self.trainer
        if trainer.log_every_n_steps and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
            self.log("train_loss", loss)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            # The scaler skips steps whose gradients overflow in half precision, and lowers its scale.
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        by_norm = gradient_clip_val and gradient_clip_algorithm in (None, "norm")
        if by_norm:
            norm = clip_grad_norm_(parameters, gradient_clip_val)  # as Lightning does it, but it keeps the norm
        else:
            norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if not math.isfinite(norm.item()):
            raise Diverged(self.trainer.global_step + 1, self.first_not_finite())
        if not by_norm:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def first_not_finite(self) -> str:
        """The name of the first parameter whose gradient is not finite, in the words of a message."""
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name}"
        return "the norm of the gradients"

    def validation_step(self, batch: tuple[Tensor, ...]) -> None:
        self._evaluate("val", "", self.val_metric, batch)

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self._evaluate("test", self.task.tests[dataloader_idx], self.test_metrics[dataloader_idx], batch)

    def _evaluate(self, split: str, name: str, metric: Any, batch: tuple[Tensor, ...]) -> None:
        inputs, targets, *lengths = self.part_of(batch)
        outputs = self.model(inputs, *lengths)
        answers, scored_targets = self.task.scored(outputs, targets)
        metric.update(answers, scored_targets)
        count = len(scored_targets)
        loss = self.task.loss(outputs, targets) if count else 0 * outputs.sum()
        # Lightning averages batch sizes over the processes and rounds down; a multiple of their number is exact.
        size = count * self.trainer.world_size
        self.log(f"{split}_loss{name}", loss, on_epoch=True, batch_size=size, add_dataloader_idx=False, sync_dist=True)

    # Metrics are logged once, at the end: with each call of self.log Lightning goes through all earlier values again.
    def on_validation_epoch_end(self) -> None:
        self.log(f"val_{self.task.metric_name}", self.val_metric, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        for name, metric in zip(self.task.tests, self.test_metrics, strict=True):
            self.log(f"test_{self.task.metric_name}{name}", metric)
        if len(self.test_metrics) > 1:
            mean = torch.stack([metric.compute() for metric in self.test_metrics]).mean()
            self.log(f"test_{self.task.metric_name}", mean, sync_dist=True)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets `_current_fx_name` about 40 times a step; nn.Module.__setattr__ would cost as much as clipping.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_arguments"] = getattr(self.model, "arguments", None)
