"""The way in: from what was typed to checked objects. Hydra appears here and in `run.py`, and nowhere else.

Whatever a user can get wrong ends as a `UserError`, whose message says what came, what was expected and the nearest
right spelling. `command` prints it and exits with code 1; HYDRA_FULL_ERROR=1 shows the stack trace instead.
"""

import difflib
import functools
import inspect
import os
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
"""An installed package carries conf/ inside, a checkout has it beside the package."""


class UserError(Exception):
    """Something only the user can put right; the message is all there is to say."""


def command(config_name: str) -> Callable[[Callable[[DictConfig, Path], Any]], Callable[[], None]]:
    """Make `function(config, folder)` a command line program that is configured by conf/<config_name>.yaml.

    `folder` is where the run may write. It exists, and is removed again if a mistake leaves it empty.
    """

    def decorate(function: Callable[[DictConfig, Path], Any]) -> Callable[[], None]:
        mistakes: list[UserError] = []

        def job(config: DictConfig) -> None:
            folder = Path(HydraConfig.get().runtime.output_dir)
            try:
                with user_errors():
                    check_names(config, config_name)
                    function(resolved(config), folder)
            except UserError as error:
                # Reported here, so that the other jobs of a sweep still run.
                report(error)
                mistakes.append(error)
            finally:
                remove_if_empty(folder)

        @functools.wraps(function)
        def main() -> None:
            show_traces = os.environ.get("HYDRA_FULL_ERROR") == "1"
            os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to here, in place of Hydra's own report
            try:
                with user_errors():
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except UserError as error:
                report(error)
                mistakes.append(error)
            except SystemExit as error:  # argparse leaves with code 2
                raise SystemExit(1 if error.code == 2 else error.code) from error
            if mistakes and show_traces:
                raise mistakes[0]
            if mistakes:
                raise SystemExit(1)

        return main

    return decorate


def report(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder, and those around it up to the working directory, as far as they are empty."""
    here = Path.cwd()
    for candidate in (folder.resolve(), *folder.resolve().parents):
        if candidate == here or candidate in here.parents or not candidate.is_dir() or any(candidate.iterdir()):
            return
        candidate.rmdir()


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """The config that `python train.py <overrides>` would run with.

    Raises:
        UserError: an override is wrong.
    """
    with user_errors(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(config_name, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return resolved(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))


def resolved(config: DictConfig) -> DictConfig:
    """The config without interpolations, with nothing missing."""
    config = config.copy()
    OmegaConf.resolve(config)
    for name in sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{name} is needed and not given: add {name}=... to the command line")
    return config


def check_names(config: DictConfig, config_name: str) -> None:
    """Refuse a setting that was added (+name=value) and that nothing reads."""
    known: set[str] = {str(key) for key in OmegaConf.load(CONF / f"{config_name}.yaml")}
    known |= {folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"defaults"}
    for name in map(str, config):
        if name not in known:
            raise UserError(f"{name} is not a setting{nearest(name, known)}")


def check_seed(config: DictConfig) -> None:
    if not isinstance(config.seed, int) or isinstance(config.seed, bool) or not 0 <= config.seed < 2**32:
        raise UserError(f"seed should be a whole number from 0 to {2**32 - 1}, got {config.seed!r}")


def target_of(config: DictConfig, name: str) -> Any:
    """The class or function that `_target_` names."""
    if config is None or "_target_" not in config:
        raise UserError(f"{name} should name what to build in {name}._target_, got {config}")
    module, _, wanted = str(config._target_).rpartition(".")
    try:
        found = pkgutil.resolve_name(module)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"{name}._target_={config._target_} cannot be imported: {error}") from error
    if not hasattr(found, wanted):
        raise UserError(f"{name}._target_={config._target_}: {module} has no {wanted}{nearest(wanted, dir(found))}")
    return getattr(found, wanted)


def arguments_of(config: DictConfig) -> dict[str, Any]:
    """What `_target_` is called with, as plain containers."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return {key: value for key, value in plain.items() if key not in ("_target_", "_partial_", "_convert_")}


def instantiate(config: DictConfig, name: str, **arguments: Any) -> Any:
    """Build what a config node describes, with further arguments that come from the program.

    Raises:
        UserError: the node's own values are wrong. Anything else that goes wrong keeps its type.
    """
    check_arguments(target_of(config, name), config, name)
    with user_errors(name, config):
        try:
            return hydra.utils.instantiate(config, _convert_="all", **arguments)
        except InstantiationException as error:
            raise (error.__cause__ or error) from error


def check_arguments(target: Any, config: DictConfig, name: str) -> None:
    """Compare a node with the signature it is meant for: unknown names, and values of another type."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    signed = signed_by(target)
    parameters = inspect.signature(signed).parameters
    try:
        hints = typing.get_type_hints(signed)
    except NameError:  # types that are imported for type checkers only
        hints = {}
    takes_any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in arguments_of(config).items():
        if key not in parameters and not takes_any_name:
            choices = [known for known in parameters if known != "self"]
            raise UserError(f"{name}.{key} is not an argument of {config._target_}{nearest(key, choices)}")
        try:
            TypeAdapter(hints.get(key, Any), config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Input ")
            choices = [str(choice) for choice in typing.get_args(hints[key])]
            hint = nearest(str(value), choices) if typing.get_origin(hints[key]) is typing.Literal else ""
            raise UserError(f"{name}.{key}={value}: {key} {problem}, got {value!r}{hint}") from error
        except (TypeError, ValueError):
            continue  # a type that pydantic cannot check


def signed_by(target: Any) -> Any:
    """The function whose signature says what a class or function takes."""
    constructor = target.__init__ if inspect.isclass(target) else target
    # torch.nn.RNN takes *args and **kwargs, and states its signature in its first overload
    return (typing.get_overloads(constructor) or [constructor])[0]


@contextmanager
def user_errors(name: str = "", config: DictConfig | None = None) -> Iterator[None]:
    """Turn errors about values into a `UserError` that says which value of node `name` is meant.

    Without a node, only Hydra's and OmegaConf's own errors are turned.
    """
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except OSError as error:
        if not name and error.filename is None:
            raise
        raise UserError(f"{name}: {error}" if name else f"cannot write {error.filename}: {error.strerror}") from error
    except Exception as error:
        # Lightning's MisconfigurationException is a plain Exception, and not worth an import here.
        expected = (ValueError, TypeError, RuntimeError, ImportError)
        if not name or not (isinstance(error, expected) or type(error).__name__ == "MisconfigurationException"):
            raise
        message = str(error).strip()
        values = arguments_of(config) if config is not None else {}
        named = [key for key in values if re.search(rf"\b{key}\b", message)]
        culprits = ", ".join(f"{name}.{key}={values[key]}" for key in named) or name
        raise UserError(f"{culprits}: {message}") from error


def explain(error: Exception) -> str:
    """One clear message for an error of Hydra or OmegaConf."""
    cause = error.__cause__ or error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options if not option.startswith("__")]
        return f"{group}={choice}: there is no such {group}{nearest(choice, options)} (one of: {', '.join(options)})"
    unknown_group = re.match(r"Could not override '(\S+?)'.*No match in the defaults list", str(error), re.DOTALL)
    if unknown_group:
        groups = [entry.name for entry in CONF.iterdir() if entry.is_dir()]
        return f"{unknown_group[1]} is not something to choose{nearest(unknown_group[1], groups)}"
    if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
        node = cause.parent_node
        keys = (
            [str(key) for key in node if key not in ("_target_", "_partial_", "hydra")]
            if isinstance(node, DictConfig)
            else []
        )
        if str(cause.key) not in keys and isinstance(error, ConfigCompositionException):
            known = f" (one of: {', '.join(keys)})" if keys else ""
            return f"{cause.full_key} is not a setting{nearest(str(cause.key), keys)}{known}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint at the choice that is spelt most like a word, or nothing."""
    matches = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
