"""How far back in time an answer depends on the inputs: the norm of its gradient at each step.

In a recurrent network, the gradient at a distance of d steps is a product of d Jacobians, whose norm typically shrinks
or grows exponentially with d (Sepp Hochreiter, 1991; Yoshua Bengio, Patrice Simard and Paolo Frasconi, "Learning
Long-Term Dependencies with Gradient Descent is Difficult", IEEE Transactions on Neural Networks 5(2), 1994).
"""

import torch
from torch import Tensor

from seqmodels.model import SequenceModel
from seqmodels.tasks.task import IGNORED


@torch.enable_grad()
def gradient_norms(model: SequenceModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """The norm of the gradient of an answer with respect to the encoded input at each distance before it.

    The answer is that of the last scored step: the output of the right class minus the mean of all outputs or, for
    numbers, the sum of the outputs. Unlike the loss, it does not flatten out where the model is certain of its answer.

    Args:
        inputs, targets: a batch of the task, with all sequences of the same length.

    Returns:
        (batch, time): column d is the distance of d steps; NaN where that is before the first step. Where no step of a
        sequence is scored, its row is NaN.
    """
    sequence = model.encode(inputs).detach().requires_grad_()
    outputs = model.answer(*model.layer(sequence))
    time, last = inputs.size(1), torch.full((len(inputs),), inputs.size(1) - 1)
    if model.every_step:
        scored = ~targets[..., 0].isnan() if targets.is_floating_point() else targets != IGNORED
        last = torch.where(scored, torch.arange(time), -1).amax(dim=1)
        rows = torch.arange(len(inputs))
        outputs, targets = outputs[rows, last], targets[rows, last]
    if targets.is_floating_point():
        answers = outputs.sum(dim=1)
    else:
        answers = outputs.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1) - outputs.mean(dim=1)
    (gradient,) = torch.autograd.grad(answers.sum(), sequence)
    norms = gradient.norm(dim=2)
    steps = last.unsqueeze(1) - torch.arange(time)
    return norms.gather(1, steps.clamp(min=0)).masked_fill(steps < 0, torch.nan)
