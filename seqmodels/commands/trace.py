"""`seqmodels trace`: print the arithmetic of a recurrent layer, and with backward=true that of its gradients.

The defaults are a common first example: `torch.manual_seed(1)`, `nn.RNN(5, 2, batch_first=True)`
and the inputs 1, 2, 3, each repeated five times. The other sizes of a layer are small, too, unless they are typed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError, as_user_errors, check_choice, check_flag, check_seed
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of, instantiate

if TYPE_CHECKING:
    from torch import Tensor

SMALL = {
    "heads": 1,
    "state_size": 2,
    "expand": 1,
    "stack_size": 3,
    "stack_width": 2,
    "tape_size": 3,
    "tape_width": 2,
    "write_size": 2,
}
"""Sizes with which two units fit on a page, for the arguments of this name that a layer has."""


@command("trace")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        import torch

        from seqmodels.layers import RecurrentLayer
        from seqmodels.lesson import LOSSES, backward_text, forward_text, record

    with as_user_errors():
        check_seed(config.seed)
        check_flag("backward", config.backward)
        check_choice("loss", config.loss, LOSSES)
    inputs = read_inputs(config)
    torch.manual_seed(config.seed)
    layer = instantiate(with_small_sizes(config.model), "model", input_size=inputs.size(1))
    if not isinstance(layer, RecurrentLayer):
        raise UserError(f"model._target_={config.model._target_} should be a RecurrentLayer, whose steps can be shown")
    lesson = record(layer, inputs)
    print(*forward_text(lesson), sep="\n")
    if config.backward:
        print("", *backward_text(lesson, config.loss), sep="\n")


def with_small_sizes(model: DictConfig) -> DictConfig:
    """The model's config with the sizes of `SMALL` where the command line has none."""
    typed = {word.lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task}
    sizes = {name: size for name, size in SMALL.items() if name in model and f"model.{name}" not in typed}
    merged: Any = OmegaConf.merge(model, sizes)
    return merged


def read_inputs(config: DictConfig) -> "Tensor":
    """The sequence (time, input_size) that the config lists."""
    import torch

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
