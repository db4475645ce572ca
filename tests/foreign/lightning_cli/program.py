"""A LightningCLI program: `program.py NAME fit ...`, with a module of its own, a subclass of Learner, or Learner."""

import sys
from functools import partial

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn

from seqmodels.data import SequenceData
from seqmodels.layers import ManualRNN
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.tasks import Task


class TheirModule(pl.LightningModule):
    """Reads the batches of a task; it knows nothing else about tasks."""

    def __init__(self, hidden_size: int = 16, nonlinearity: str = "tanh"):
        super().__init__()
        self.rnn = ManualRNN(2, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def training_step(self, batch):
        inputs, targets = batch
        _, hidden = self.rnn(inputs)
        return nn.functional.mse_loss(self.head(hidden[-1]), targets)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class TheirLearner(Learner):
    def __init__(self, task: Task, hidden_size: int = 16, lr: float = 1e-2):
        layer = partial(ManualRNN, hidden_size=hidden_size, batch_first=True)
        model = SequenceModel(layer, task.input_size, task.output_size)
        super().__init__(model, task, partial(torch.optim.Adam, lr=lr))


class LearnerCLI(LightningCLI):
    """The learner receives the task of the data."""

    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.task", "model.task", apply_on="instantiate")


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    if name == "TheirModule":
        cli = LightningCLI(TheirModule, SequenceData, args=words)
    else:
        cli = LearnerCLI({"TheirLearner": TheirLearner, "Learner": Learner}[name], SequenceData, args=words)
    print(f"{name}, {type(cli.datamodule.task).__name__}: {cli.trainer.global_step} steps")
