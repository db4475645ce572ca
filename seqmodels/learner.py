"""Training and evaluation of a model on a task, as Lightning wants it."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seqmodels.tasks import Task


class Learner(pl.LightningModule):
    """Loss and metric come from the task. Logs `train_loss`, `val_loss` and, named after it, the task's metric.

    `train_loss` is logged every `log_every_n_steps` steps only, and on no progress bar but that of `build_trainer`.
    A task that is tested at several lengths has `test_accuracy_at_80` and so on, and their mean as `test_accuracy`.

    Args:
        model: inputs to answers, as the task states their shapes.
        task: what is learned.
        optimizer: makes the optimizer when called with the parameters.
        scheduler: makes a learning rate scheduler, stepped after every batch, when called with the optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.val_metric = task.metric()
        self.test_metrics: Any = nn.ModuleList(task.metric() for _ in range(max(len(task.test_lengths), 1)))
        self.test_names = [f"_at_{length}" for length in task.test_lengths] if len(task.test_lengths) > 1 else [""]

    def forward(self, inputs: Tensor, *lengths: Tensor) -> Tensor:
        return self.model(inputs, *lengths)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.model.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def training_step(self, batch: tuple[Tensor, ...]) -> Tensor:
        inputs, targets, *lengths = batch
        loss = self.task.loss(self.model(inputs, *lengths), targets)
        # What self.log is told at a step costs a tenth of the step, whether or not it is kept.
        trainer: Any = self.trainer
        if trainer.log_every_n_steps and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
            self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...]) -> None:
        self._evaluate("val", "", self.val_metric, batch)

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self._evaluate("test", self.test_names[dataloader_idx], self.test_metrics[dataloader_idx], batch)

    def _evaluate(self, split: str, name: str, metric: Any, batch: tuple[Tensor, ...]) -> None:
        inputs, targets, *lengths = batch
        outputs = self.model(inputs, *lengths)
        answers, scored_targets = self.task.scored(outputs, targets)
        metric.update(answers, scored_targets)
        loss, count = self.task.loss(outputs, targets), len(scored_targets)
        self.log(f"{split}_loss{name}", loss, on_epoch=True, batch_size=count, add_dataloader_idx=False)

    # Metrics are logged once, at the end: Lightning handles all it was told, again, whenever it is told more.
    def on_validation_epoch_end(self) -> None:
        self.log(f"val_{self.task.metric_name}", self.val_metric, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        for name, metric in zip(self.test_names, self.test_metrics, strict=True):
            self.log(f"test_{self.task.metric_name}{name}", metric)
        if len(self.test_metrics) > 1:
            mean = torch.stack([metric.compute() for metric in self.test_metrics]).mean()
            self.log(f"test_{self.task.metric_name}", mean)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes down some forty times a step in which hook it is. That is no parameter and no module, and it
        # took nn.Module as long to make sure of it as clipping takes.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_arguments"] = getattr(self.model, "arguments", None)
