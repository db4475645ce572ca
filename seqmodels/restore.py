"""Loads the model of a run folder, and writes its weights into a folder to share.

Both kinds of folder may come from anyone; SECURITY.md says what is promised. The order of the steps is part of it: what
is small is read first, and says how large the rest may be.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seqmodels.checks import RENAMED, UserError, check_choice, check_flag, check_whole
from seqmodels.config import target_of
from seqmodels.files import write_whole
from seqmodels.model import SequenceModel
from seqmodels.untrusted.archive import Outline, outline_of, read_checkpoint
from seqmodels.untrusted.reading import (
    CONFIG_LIMIT,
    RunFolderError,
    digests_in,
    printable,
    read_config,
    read_file,
    read_result,
    run_folder_errors,
    size_of,
)
from seqmodels.untrusted.shared import outline_of_shared, read_shared, write_shared

__all__ = ["RunFolderError", "load_run", "load_weights", "read_checkpoint", "read_weights", "save_weights"]

LAYERS = ("seqmodels.layers", "torch.nn.modules.rnn")
"""The modules whose layers are built without further trust. The list is part of the code, so no file can extend it."""

RESERVED = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
"""Keys by which a config asks Hydra for objects. A layer's arguments are plain data and have none of them."""

SHARED = "model.safetensors"

SPARE = 2**26
"""Bytes that a file, or building a model, may take in addition to the weights."""


def load_run(folder: str | Path, checkpoint: str = "best", trusted: tuple[str, ...] = ()) -> SequenceModel:
    """The trained model of a run folder, or of a folder that `save_weights` wrote, in evaluation mode on the CPU.

    The folder may come from anyone. Its files are read as data: no code in them is run, nothing is taken from the
    environment, and no memory is used for a model whose weights are not in the folder. What has changed since the run
    is detected by the digests in result.json and in the checkpoint. Folders of unfinished runs have no result.json, and
    those of earlier versions have no digests; they load too, and only damage to the weights is detected.

    Args:
        folder: a run folder, `outputs/<task>/<model>/<time>`, or one with model.safetensors and config.yaml.
        checkpoint: "best" on validation, "last", or "previous", the last but one. A shared folder has only "best".
        trusted: modules of your own whose layers the folder's config may name. Otherwise only layers of seqmodels, and
            torch.nn's RNN, GRU and LSTM, are built. A layer of your own is code that you answer for: its sizes are
            checked beforehand only if it can be built on torch's meta device.

    Raises:
        RunFolderError: a file of the folder is missing, damaged, changed since the run, larger than the model explains,
            or not what a run writes. It is a `UserError`, and for a missing file also a `FileNotFoundError`. No content
            of the folder causes any other exception.
        ValueError: `checkpoint` is none of the three.
        TypeError: `trusted` is not a tuple of strings.
    """
    check_choice("checkpoint", checkpoint, ("best", "last", "previous"))
    if not isinstance(trusted, tuple) or not all(isinstance(module, str) for module in trusted):
        raise TypeError(f"trusted should be a tuple of names of modules, got {trusted!r}")
    folder = Path(folder)
    with run_folder_errors(folder):
        return restored(folder, checkpoint, trusted).eval()


def restored(folder: Path, checkpoint: str, trusted: tuple[str, ...]) -> SequenceModel:
    """The model of a folder; exceptions of any type where a file is not as expected."""
    config_file = folder / "config.yaml"
    size_of(config_file)
    stored = stored_in(folder, checkpoint)
    config = read_config(config_file, stored.digests.get("config.yaml"))
    with run_folder_errors(config_file):
        layer = layer_in(config, trusted)
        expected = sizes_of(layer, stored.arguments, stored.outlines, size_of(stored.file))
    # The rest may be as large as they explain.
    explained = min(stored.nbytes, sum(outline.nbytes for outline in expected.values()))
    content = stored.content(explained)
    with run_folder_errors(stored.file):
        check_sizes(stored.outlines, expected)
    model = SequenceModel(layer, **stored.arguments).cpu()
    model.load_state_dict(model_in(content)[1])
    return model


def read_weights(folder: str | Path, most: int) -> dict[str, Tensor]:
    """The best weights of a run by their names in its `SequenceModel`. No model is built, so its layer may be any.

    Args:
        folder: see `load_run`. Its config.yaml is not read.
        most: the bytes of weights that are expected at most; 64 MiB more are accepted.

    Raises:
        RunFolderError: see `load_run`.
    """
    folder = Path(folder)
    with run_folder_errors(folder):
        stored = stored_in(folder, "best")
        return model_in(stored.content(min(stored.nbytes, most)))[1]


class Stored(NamedTuple):
    """The weights of a folder, of which only the sizes have been read."""

    folder: Path
    name: str
    read: Callable[[Path, int, str | None], dict[str, Any]]
    arguments: dict[str, Any]
    outlines: dict[str, Outline]
    digests: dict[str, str]
    """Of the files in the folder, as far as they are known."""

    @property
    def file(self) -> Path:
        return self.folder / self.name

    @property
    def nbytes(self) -> int:
        return sum(outline.nbytes for outline in self.outlines.values())

    def content(self, explained: int) -> dict[str, Any]:
        """The checkpoint, if weights of so many bytes explain its size: an optimizer has up to three for each."""
        return self.read(self.file, SPARE + 20 * explained, self.digests.get(self.name))


def stored_in(folder: Path, checkpoint: str) -> Stored:
    """The weights that a folder holds. What is small is read: their sizes, and the digests of the other files."""
    name = f"checkpoints/{checkpoint}.ckpt"
    outline: Callable[[Path], dict[str, Any]] = outline_of
    read: Callable[[Path, int, str | None], dict[str, Any]] = read_checkpoint
    if checkpoint == "best" and (folder / SHARED).exists() and not (folder / name).exists():
        name, outline, read = SHARED, outline_of_shared, read_shared
    file = folder / name
    size = size_of(file)
    outlined = outline(file)
    with run_folder_errors(file):
        stored = Stored(folder, name, read, *model_in(outlined), digests_in(outlined))
        if stored.nbytes > SPARE + 2 * size:
            raise ValueError(f"its weights have {stored.nbytes} bytes by their shapes, and the file only {size}")
    if (folder / "result.json").exists():
        return stored._replace(digests=stored.digests | digests_in(read_result(folder / "result.json")))
    return stored


def save_weights(run: str | Path, folder: str | Path, checkpoint: str = "best", trusted: tuple[str, ...] = ()) -> Path:
    """Write the weights of a run as safetensors, with its config beside them, so that they can be shared.

    `load_run` opens the new folder. Others open model.safetensors with the safetensors library alone. The config is a
    copy of the run's; look through it first if the paths in it are private.

    Args:
        run, checkpoint, trusted: as for `load_run`.
        folder: where model.safetensors and config.yaml are written; it may exist, these files may not.

    Returns:
        The path of model.safetensors.

    Raises:
        RunFolderError: see `load_run`.
        UserError: the folder has one of the files already.
    """
    model = load_run(run, checkpoint, trusted)
    config = read_file(Path(run) / "config.yaml", CONFIG_LIMIT)
    folder = Path(folder)
    for name in (SHARED, "config.yaml"):
        if (folder / name).exists():
            raise UserError(f"{folder} has a {name} already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(folder / "config.yaml", config)
        write_shared(folder / SHARED, model.state_dict(), model.arguments, config)
    except BaseException:
        for name in (SHARED, "config.yaml"):
            (folder / name).unlink(missing_ok=True)
        raise
    return folder / SHARED


def load_weights(model: SequenceModel, file: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint file into a model; returns the checkpoint.

    Raises:
        RunFolderError: the file is missing or damaged, or holds the weights of another model.
    """
    checkpoint = read_checkpoint(file)
    with run_folder_errors(file):
        model.load_state_dict(model_in(checkpoint)[1])
    return checkpoint


def model_in(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a checkpoint's `SequenceModel`, checked, and its weights by name, or their outlines."""
    arguments, weights = checkpoint.get("model_arguments"), checkpoint.get("state_dict")
    names = {"input_size", "output_size", "tokens", "every_step", "embedding_size"}
    if not isinstance(arguments, dict) or set(arguments) != names or not isinstance(weights, dict):
        raise ValueError("it should hold a state_dict and the model_arguments of a SequenceModel")
    if not all(isinstance(name, str) and isinstance(value, Tensor | Outline) for name, value in weights.items()):
        raise ValueError("its state_dict should hold tensors by their names")
    for name in ("input_size", "output_size", "embedding_size"):
        if name != "embedding_size" or arguments[name] is not None:
            check_whole(name, arguments[name], 1)
    for name in ("tokens", "every_step"):
        check_flag(name, arguments[name])
    return arguments, {
        name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")
    }


def layer_in(config: dict[str, Any], trusted: tuple[str, ...] = ()) -> "partial[nn.Module]":
    """The layer that a config describes, in its blocks if there are any, to be called with `input_size=`.

    Raises:
        RunFolderError: it is not a trusted one, or its arguments would make Hydra build objects.
    """
    layer = described_layer(config, "model", trusted)
    if config.get("block") is None:
        return layer
    block = described_layer(config, "block", trusted)
    return partial(block.func, **block.keywords, layer=layer)


def described_layer(config: dict[str, Any], group: str, trusted: tuple[str, ...]) -> "partial[nn.Module]":
    """The layer that one group of a config describes."""
    node = config.get(group)
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise ValueError(f"{group} should be the settings of a layer, with its name in {group}._target_")
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "_partial_", "_convert_")}
    for name in arguments.keys() & {"device", "dtype"}:  # which would overrule where the sizes are found out
        raise ValueError(f"{group}.{name} is not a setting of a run")
    for name in reserved_in(arguments):
        raise ValueError(f"{group}.{printable(name)} would make Hydra build an object, which no run writes")
    backend = arguments.get("backend")
    if isinstance(backend, str):  # a run of an earlier version may have an earlier name
        arguments["backend"] = RENAMED.get(backend, backend)
    return partial(trusted_layer(node["_target_"], trusted, group), **arguments)


def reserved_in(value: Any, name: str = "") -> Iterator[str]:
    """The dotted names of all keys, at any depth, that have a meaning for Hydra."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in RESERVED:
                yield f"{name}{key}"
            yield from reserved_in(inner, f"{name}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from reserved_in(inner, name)


def trusted_layer(target: str, trusted: tuple[str, ...] = (), group: str = "model") -> type[nn.Module]:
    """The layer class of this name, if a trusted module defines it.

    Raises:
        RunFolderError: it does not.
    """
    # What is imported has to be trusted, too. torch.nn.RNN is defined in torch.nn.modules.rnn.
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target) and within(target, ("torch.nn", *LAYERS, *trusted)):
        layer = target_of(OmegaConf.create({"_target_": target}), group)
        # The module that defines the class decides, not one that happens to import it.
        if isinstance(layer, type) and issubclass(layer, nn.Module) and within(layer.__module__, LAYERS + trusted):
            return layer
    raise RunFolderError(
        f"{group}._target_={printable(target, 100)} is not a layer of seqmodels.layers, nor torch.nn's RNN, GRU or "
        "LSTM; if you trust it, name its module: load_run(folder, trusted=('your.module',)), or for a command "
        "trusted=[your.module]"
    )


def within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the modules, or lies in one of them."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def sizes_of(
    layer: "partial[nn.Module]", arguments: dict[str, Any], outlines: dict[str, Outline], size: int
) -> dict[str, Outline]:
    """The names and sizes of the weights of the model with this layer, found out without memory for them.

    Raises:
        ValueError: it would have many more layers than there are `outlines`, or need tensors that are much larger than
            a file of `size` bytes can fill.
    """
    with warnings.catch_warnings(), torch.device("meta"), Sketch(1000 * (1 + len(outlines)), SPARE + 2 * size):
        warnings.simplefilter("ignore")
        try:
            model = SequenceModel(layer, **arguments)
        except RuntimeError:
            made = [part.func for part in (layer, layer.keywords.get("layer")) if isinstance(part, partial)]
            if all(within(kind.__module__, LAYERS) for kind in made):
                raise
            return outlines  # a layer of the user's own may be one that cannot be built without memory
    return {name: Outline(tuple(value.shape), value.dtype) for name, value in model.state_dict().items()}


class Sketch(TorchFunctionMode):
    """Lets a model be built by at most `calls` calls of torch, none of which makes a tensor of over `most` bytes."""

    def __init__(self, calls: int, most: int) -> None:
        super().__init__()
        self.calls = min(calls, 10**6)
        self.most = most

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise ValueError("model asks for many more layers than the checkpoint has weights for")
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.nbytes > self.most:
                raise ValueError(f"model needs {tensor.nbytes} bytes for one tensor, far more than the checkpoint has")
        return result


def check_sizes(found: dict[str, Outline], expected: dict[str, Outline]) -> None:
    """Refuse weights that are not those of the model that the config describes."""
    for name in found.keys() ^ expected.keys():
        whose = "the model of config.yaml lacks" if name in found else "it lacks, and the model of config.yaml has,"
        raise ValueError(f"{whose} the weight {printable(name, 100)}")
    for name, outline in expected.items():
        if found[name].shape != outline.shape or found[name].dtype.is_complex != outline.dtype.is_complex:
            shapes = f"{list(found[name].shape)}, and {list(outline.shape)} in the model of config.yaml"
            raise ValueError(f"its weight {name} has the shape {printable(shapes)}")
