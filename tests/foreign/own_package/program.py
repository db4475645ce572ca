"""Loads the run in run/, whose layer is not one of seqmodels."""

import torch
from their_tasks import LastBit

import seqmodels
from seqmodels.batches import generator_for

model = seqmodels.load_run("run", trusted=("their_layers",))
inputs, targets = LastBit(length=9).batch("test", 0, 100, generator_for(1, "test", 0))
with torch.no_grad():
    accuracy = (model(inputs).argmax(dim=1) == targets).double().mean()
print(f"{type(model.layer).__name__}: {accuracy:.2f}")
