"""A Lightning program with a module of its own around one layer, with Learner, and with a subclass of it."""

from functools import partial

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from seqmodels.data import SequenceData
from seqmodels.layers import ManualRNN
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.tasks import Adding


class TheirModule(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.rnn = ManualRNN(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)
        self.losses = []

    def training_step(self, batch):
        inputs, targets = batch
        _, hidden = self.rnn(inputs)
        loss = nn.functional.mse_loss(self.head(hidden[-1]), targets)
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class TheirLearner(Learner):
    """All its arguments are plain values, so that a checkpoint can hold them."""

    def __init__(self, length: int = 10, hidden_size: int = 16, lr: float = 1e-2):
        task = Adding(length=length)
        layer = partial(ManualRNN, hidden_size=hidden_size, batch_first=True)
        model = SequenceModel(layer, task.input_size, task.output_size)
        super().__init__(model, task, partial(torch.optim.Adam, lr=lr))
        self.save_hyperparameters()


QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def train_their_module() -> None:
    inputs = torch.rand(512, 6, 1)
    data = TensorDataset(inputs, inputs.mean(1))
    module = TheirModule()
    trainer = pl.Trainer(max_epochs=10, enable_checkpointing=False, **QUIET)
    trainer.fit(module, DataLoader(data, batch_size=64, shuffle=True))
    assert module.losses[-1] < 0.1 * module.losses[0], module.losses


def train(learner: Learner) -> str:
    """Train a learner; returns the path of its checkpoint."""
    trainer = pl.Trainer(max_steps=100, **QUIET)
    trainer.fit(learner, SequenceData(learner.task, train_batches=100, batch_size=32, eval_batches=2))
    return trainer.checkpoint_callback.best_model_path


def test(learner: Learner) -> float:
    trainer = pl.Trainer(enable_checkpointing=False, **QUIET)
    (scores,) = trainer.test(learner, SequenceData(learner.task, train_batches=1, eval_batches=2), verbose=False)
    return scores["test_mse"]


def load_a_learner() -> None:
    task = Adding(length=10)
    layer = partial(ManualRNN, hidden_size=16, batch_first=True)
    parts = {"task": task, "optimizer": partial(torch.optim.Adam, lr=1e-2)}
    learner = Learner(SequenceModel(layer, task.input_size, task.output_size), **parts)
    path = train(learner)
    assert test(learner) < task.chance
    untrained = SequenceModel(layer, task.input_size, task.output_size)
    loaded = Learner.load_from_checkpoint(path, model=untrained, **parts, weights_only=True)
    assert test(loaded) == test(learner)


def load_their_learner() -> None:
    learner = TheirLearner(hidden_size=12)
    loaded = TheirLearner.load_from_checkpoint(train(learner), weights_only=True)
    assert loaded.hparams.hidden_size == 12
    assert test(loaded) == test(learner)


if __name__ == "__main__":
    pl.seed_everything(0)
    train_their_module()
    load_a_learner()
    load_their_learner()
    print("trained, saved and loaded")
