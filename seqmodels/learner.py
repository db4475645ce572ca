"""Training and evaluation of a model on a task, as Lightning wants it."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seqmodels.tasks import Task


class Learner(pl.LightningModule):
    """Loss and metric come from the task. Logs `train_loss`, `val_loss` and, named after it, the task's metric.

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
        self.test_metric = task.metric()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.model.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        loss = self.task.loss(self.model(inputs), targets)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._evaluate("val", self.val_metric, batch)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._evaluate("test", self.test_metric, batch)

    def _evaluate(self, split: str, metric: Any, batch: tuple[Tensor, Tensor]) -> None:
        inputs, targets = batch
        outputs = self.model(inputs)
        answers, scored_targets = self.task.scored(outputs, targets)
        metric.update(answers, scored_targets)
        self.log(f"{split}_loss", self.task.loss(outputs, targets), batch_size=len(scored_targets))
        self.log(f"{split}_{self.task.metric_name}", metric, on_epoch=True, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_arguments"] = getattr(self.model, "arguments", None)
