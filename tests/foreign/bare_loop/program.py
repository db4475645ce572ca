"""A training loop in plain PyTorch. Neither Lightning nor Hydra is imported."""

import sys
from functools import partial

import torch
from torch.utils.data import DataLoader

from seqmodels.batches import Batches, generator_for
from seqmodels.layers import ManualRNN
from seqmodels.model import SequenceModel
from seqmodels.tasks import ParityCheck

torch.manual_seed(0)
task = ParityCheck(length=2)
layer = partial(ManualRNN, hidden_size=16, batch_first=True)
model = SequenceModel(layer, task.input_size, task.output_size, task.tokens)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)

batches = Batches(task, "train", seed=1, size=64, indices=range(100))
for inputs, targets in DataLoader(batches, batch_size=None):
    loss = task.loss(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

metric = task.metric()
inputs, targets = task.batch("test", 0, 256, generator_for(1, "test", 0))
with torch.no_grad():
    metric.update(*task.scored(model(inputs), targets))
assert task.is_solved(metric.compute().item()), metric.compute()
imported = {name.partition(".")[0] for name in sys.modules}
assert not imported & {"lightning", "pytorch_lightning", "hydra", "omegaconf"}
print(f"test accuracy {metric.compute().item()}")
