"""From a run folder back to its model."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from seqmodels.archive import read_checkpoint
from seqmodels.checks import RENAMED, UserError
from seqmodels.config import arguments_of, target_of
from seqmodels.model import SequenceModel


def load_run(folder: str | Path, checkpoint: str = "best", trusted: tuple[str, ...] = ()) -> SequenceModel:
    """The trained model of a run folder, in evaluation mode.

    Args:
        folder: a run folder, `outputs/<task>/<model>/<time>`.
        checkpoint: "best" on validation, or "last".
        trusted: modules of your own whose layers the folder's config may name. Otherwise only layers of seqmodels and
            torch.nn are built: a config is a file that may come from anywhere.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        UserError: the config names a layer that is not trusted.
    """
    folder = Path(folder)
    file = folder / "checkpoints" / f"{checkpoint}.ckpt"
    for needed in (folder / "config.yaml", file):
        if not needed.is_file():
            raise FileNotFoundError(f"expected a run folder with {needed.relative_to(folder)} in it, got {folder}")
    config: Any = OmegaConf.load(folder / "config.yaml")
    arguments = arguments_of(config.model)
    if "backend" in arguments:  # a run of an earlier version may have an earlier name
        arguments["backend"] = RENAMED.get(arguments["backend"], arguments["backend"])
    layer = partial(trusted_layer(config.model, trusted), **arguments)
    model = SequenceModel(layer, **read_checkpoint(file)["model_arguments"])
    load_weights(model, file)
    return model.eval()


def trusted_layer(config: DictConfig, trusted: tuple[str, ...]) -> type[nn.Module]:
    """The layer class that a config names, if a trusted module defines it.

    Raises:
        UserError: it does not.
    """
    modules = ("seqmodels.layers", "torch.nn", *trusted)

    def is_trusted(name: str) -> bool:
        return any(name == module or name.startswith(module + ".") for module in modules)

    if is_trusted(str(config._target_)):
        layer = target_of(config, "model")
        # The module that defines the class has to be trusted, not one that happens to import it.
        if isinstance(layer, type) and issubclass(layer, nn.Module) and is_trusted(layer.__module__):
            return layer
    raise UserError(
        f"model._target_={config._target_} is not a layer of {', '.join(modules)}; "
        "if you trust it, name its module: load_run(folder, trusted=('your.module',))"
    )


def load_weights(model: SequenceModel, file: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint file into a model; returns the checkpoint."""
    checkpoint = read_checkpoint(file)
    weights = checkpoint["state_dict"].items()
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights if name.startswith("model.")})
    return checkpoint
