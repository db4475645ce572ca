"""Construct what a config node describes, after comparing the node with the signature of its `_target_`."""

import pkgutil
import sys
import types
import typing
from collections.abc import Sequence
from functools import partial
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError, nearest
from seqmodels.config.mistakes import user_errors
from seqmodels.signatures import ANY_NAME, accepted_by


def instantiate(config: DictConfig, name: str, **arguments: Any) -> Any:
    """Build what node `name` describes, with further arguments that come from the program.

    Raises:
        UserError: the node's own values are wrong. Any other error keeps its type.
    """
    check_arguments(target_of(config, name), config, name)
    with user_errors(name, arguments_of(config)):
        try:
            return hydra.utils.instantiate(config, _convert_="all", **arguments)
        except InstantiationException as error:
            raise (error.__cause__ or error) from error


def layer_of(config: DictConfig, name: str = "model", **arguments: Any) -> partial:
    """The layer class of a node with its arguments, to be called with `input_size=`.

    Blocks around a layer are a layer as well; the one within is among the `arguments` that come from the program.
    """
    for given in ("input_size", *arguments):
        if given in config:
            raise UserError(f"{name}.{given} is set by the program; leave it out")
    return instantiate(config, name, _partial_=True, **arguments)


def target_of(config: DictConfig, name: str) -> Any:
    """The class or function that `_target_` names."""
    if config is None or "_target_" not in config:
        raise UserError(f"{name} should name what to build in {name}._target_, got {config}")
    module, _, wanted = str(config._target_).rpartition(".")
    try:
        found = imported(module)
    except Exception as error:  # importing a module can raise anything
        problem = f"{type(error).__name__}: {error}" if module else "expected module.Class"
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            problem += "; for modules outside the working directory, name their folder in PYTHONPATH"
        raise UserError(f"{name}._target_={config._target_} cannot be imported: {problem}") from error
    if not callable(getattr(found, wanted, None)):
        hint = nearest(wanted, dir(found))
        raise UserError(f"{name}._target_={config._target_}: {module} has no class named {wanted}{hint}")
    return getattr(found, wanted)


def imported(module: str) -> Any:
    """Import a module by its full name. One that Python does not find is looked for in the working directory, too.

    Python itself searches the folder of the script: that of train.py, or where pip has put the command `seqmodels`.
    """
    try:
        return pkgutil.resolve_name(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] or "" in sys.path:
            raise
        sys.path.append("")
        return pkgutil.resolve_name(module)


def arguments_of(config: DictConfig) -> dict[str, Any]:
    """The arguments that `_target_` is called with, as plain containers."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {key: value for key, value in plain.items() if key not in ("_target_", "_partial_", "_convert_")}


def check_arguments(target: Any, config: DictConfig, name: str) -> None:
    """Compare a node with the signature of its target: unknown names, and values of another type."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    hints = accepted_by(target)
    if hints is None:
        return
    for key, value in arguments_of(config).items():
        if key not in hints and ANY_NAME not in hints:
            hint = f"{nearest(key, hints)} (~{name}.{key} leaves it out)"
            raise UserError(f"{name}.{key} is not an argument of {config._target_}{hint}")
        try:
            TypeAdapter(hints.get(key, Any), config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            choices = [str(choice) for choice in typing.get_args(hints[key])]
            hint = nearest(str(value), choices) if typing.get_origin(hints[key]) is typing.Literal else ""
            expected = described(hints[key])
            raise UserError(f"{name}.{key}={value}: {key} should be {expected}, got {value!r}{hint}") from error
        except (TypeError, ValueError):
            continue  # a type that pydantic cannot check


def described(hint: Any) -> str:
    """The values that a type stands for, in plain words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", types.NoneType: "null"}
    arguments = typing.get_args(hint)
    if hint in words:
        return words[hint]
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, arguments))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        words_of = dict.fromkeys(described(part) for part in arguments if part is not int or float not in arguments)
        return " or ".join(words_of)
    if typing.get_origin(hint) in (list, Sequence) and arguments:
        return f"a list of {described(arguments[0]).removeprefix('a ')}s"
    return getattr(hint, "__name__", str(hint))
