"""A lesson in the arithmetic of a recurrent layer: every number of the forward pass, and of the backward pass.

    python -m seqmodels.trace
    python -m seqmodels.trace backward=true
    python -m seqmodels.trace model=manual_gru model.num_layers=2 inputs=[[1,0],[0,1]]

The defaults are those of the example everybody starts with: `torch.manual_seed(1)`, `nn.RNN(5, 2, batch_first=True)`
and the inputs 1, 2, 3, each repeated five times.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqmodels.checks import UserError, check_choice, check_flag
from seqmodels.config import arguments_of, check_seed, command, instantiate
from seqmodels.layers import RecurrentLayer
from seqmodels.lesson import LOSSES, backward_text, forward_text, record


@command("trace")
def main(config: DictConfig, folder: Path) -> None:
    check_seed(config)
    try:
        check_flag("backward", config.backward)
        check_choice("loss", config.loss, LOSSES)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    inputs = read_inputs(config)
    torch.manual_seed(config.seed)
    layer = instantiate(config.model, "model", input_size=inputs.size(1))
    if not isinstance(layer, RecurrentLayer):
        raise UserError(
            f"model._target_={config.model._target_} should be a layer whose steps can be seen, a RecurrentLayer"
        )
    lesson = record(layer, inputs)
    print(*forward_text(lesson), sep="\n")
    if config.backward:
        print("", *backward_text(lesson, config.loss), sep="\n")


def read_inputs(config: DictConfig) -> Tensor:
    rows = arguments_of(config)["inputs"]
    try:
        inputs = torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"inputs should be rows of numbers, all of one length, got {rows}: {error}") from error
    if inputs.dim() != 2 or 0 in inputs.shape:
        raise UserError(f"inputs should be rows of numbers, as in inputs=[[1,0],[0,1]], got {rows}")
    if not inputs.isfinite().all():
        raise UserError(f"inputs should be finite numbers, got {rows}")
    return inputs


if __name__ == "__main__":
    main()
