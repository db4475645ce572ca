"""The way in: from what was typed to checked objects. The one place that knows Hydra.

Whatever a user can get wrong ends as a `UserError`, whose message says what came, what was expected and the nearest
right spelling. `command` prints it and exits with code 1; HYDRA_FULL_ERROR=1 shows the stack trace instead.
"""

import argparse
import functools
import gc
import os
import pkgutil
import re
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqmodels.checks import UserError, nearest
from seqmodels.signatures import ANY_NAME, accepted_by

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
"""An installed package carries conf/ inside, a checkout has it beside the package."""


def command(config_name: str) -> Callable[[Callable[[DictConfig, Path], Any]], Callable[[], None]]:
    """Make `function(config, folder)` a command line program that is configured by conf/<config_name>.yaml.

    `folder` is where the run may write. It exists, and is removed again if a mistake leaves it empty.
    """

    def decorate(function: Callable[[DictConfig, Path], Any]) -> Callable[[], None]:
        mistakes: list[UserError] = []
        started = time.time()

        def job(config: DictConfig) -> None:
            hydra_config = HydraConfig.get()
            folder = Path(hydra_config.runtime.output_dir)
            try:
                with user_errors():
                    check_names(config, config_name)
                    function(resolved(config), folder)
            except UserError as error:
                # Reported here, so that the other jobs of a sweep still run.
                sweep = hydra_config.mode == RunMode.MULTIRUN
                report(error, " ".join(hydra_config.overrides.task) if sweep else "")
                mistakes.append(error)
            finally:
                remove_if_empty(folder, started)

        @functools.wraps(function)
        def main() -> None:
            show_traces = os.environ.get("HYDRA_FULL_ERROR") == "1"
            # Errors come through to here, in place of Hydra's and argparse's own reports.
            errors_through = patch.dict(os.environ, HYDRA_FULL_ERROR="1")
            usage_through = patch.object(argparse.ArgumentParser, "error", refuse_words)
            try:
                with user_errors(), errors_through, usage_through:
                    hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except UserError as error:
                report(error)
                mistakes.append(error)
            except KeyboardInterrupt as stop:
                report(UserError(str(stop) or "interrupted"))
                raise SystemExit(1) from stop
            if mistakes and show_traces:
                raise mistakes[0]
            if mistakes:
                raise SystemExit(1)

        return main

    return decorate


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, which would go through everything again and again, and all of it stays."""
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()


def report(error: UserError, job: str = "") -> None:
    print(f"error: {f'[{job}] ' if job else ''}{error}", file=sys.stderr)


def refuse_words(parser: argparse.ArgumentParser, message: str) -> None:
    """In place of argparse's page of usage."""
    raise UserError(f"{message} (overrides read key=value; options such as -m come before them; --help shows both)")


class Parser(argparse.ArgumentParser):
    """For commands without a config: a wrong word is a mistake like any other, so one line and exit code 1."""

    def error(self, message: str) -> NoReturn:
        report(UserError(f"{message} (--help says what can be given)"))
        raise SystemExit(1)


def remove_if_empty(folder: Path, started: float) -> None:
    """Remove an empty folder that is not older than `started`, and within the working directory such ones around it."""
    here = Path.cwd()
    for candidate in (folder.resolve(), *folder.resolve().parents):
        inside = here in candidate.parents
        if candidate == here or not candidate.is_dir() or any(candidate.iterdir()):
            return
        if candidate.stat().st_mtime < started or not (inside or candidate == folder.resolve()):
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
    defaults: Any = OmegaConf.load(CONF / f"{config_name}.yaml")
    groups = {key for entry in defaults.defaults if isinstance(entry, DictConfig) for key in entry}
    known = {str(key) for key in {*defaults, *groups} - {"defaults"}}
    for setting in map(str, config):
        if setting not in known:
            raise UserError(f"{setting} is not a setting{nearest(setting, known)}")
    for name in sorted(map(str, groups & set(config))):
        if not isinstance(config[name], DictConfig):
            raise UserError(f"{name} should be a choice with settings of its own, got {config[name]!r}")


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
    except Exception as error:  # whatever a module can raise while it is imported
        problem = f"{type(error).__name__}: {error}" if module else "expected module.Class"
        raise UserError(f"{name}._target_={config._target_} cannot be imported: {problem}") from error
    if not callable(getattr(found, wanted, None)):
        hint = nearest(wanted, dir(found))
        raise UserError(f"{name}._target_={config._target_}: {module} has no class of the name {wanted}{hint}")
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
    for key in arguments:
        if key in config:
            raise UserError(f"{name}.{key} is set by the program, and cannot be chosen; leave it out")
    check_arguments(target_of(config, name), config, name)
    with user_errors(name, config):
        try:
            return hydra.utils.instantiate(config, _convert_="all", **arguments)
        except InstantiationException as error:
            raise (error.__cause__ or error) from error


def check_arguments(target: Any, config: DictConfig, name: str) -> None:
    """Compare a node with the signature it is meant for: unknown names, and values of another type."""
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
    """What values a type stands for, as one would say it."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}
    arguments = typing.get_args(hint)
    if hint in words:
        return words[hint]
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, arguments))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(described, arguments))
    if typing.get_origin(hint) in (list, Sequence) and arguments:
        return f"a list of {described(arguments[0]).removeprefix('a ')}s"
    return getattr(hint, "__name__", str(hint))


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
        if name:
            raise UserError(f"{culprits(name, config, str(error))}: {error}") from error
        if error.filename is None:
            raise
        raise UserError(f"cannot write to, or read, {error.filename}: {error.strerror}") from error
    except Exception as error:
        message = " ".join(line.strip() for line in str(error).splitlines()[:3])
        if isinstance(error, MemoryError) or re.search("allocate memory|out of memory", message):
            raise UserError(f"{name or 'the run'} needs more memory than there is: {message}") from error
        if not name and type(error).__name__ == "MisconfigurationException":
            raise UserError(str(error)) from error
        if not name and str(error).startswith("Config group override"):  # Hydra's, of model=null
            raise UserError(f"a choice should be a name, as --help lists them: {error}") from error
        # Lightning's MisconfigurationException is a plain Exception, and not worth an import here.
        expected = (ValueError, TypeError, RuntimeError, ImportError, AssertionError)
        if not name or not (isinstance(error, expected) or type(error).__name__ == "MisconfigurationException"):
            raise
        raise UserError(f"{culprits(name, config, message)}: {message}") from error


def culprits(name: str, config: DictConfig | None, message: str) -> str:
    """The settings of a node that an error message speaks of, with their values; else the node's name."""
    values = arguments_of(config) if config is not None else {}
    named = [key for key in values if re.search(rf"\b{key}\b", message)]
    return ", ".join(f"{name}.{key}={values[key]}" for key in named) or name


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
            plain: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
            inside = [
                f"{key}.{cause.key}" for key, value in plain.items() if isinstance(value, dict) and cause.key in value
            ]
            hint = f"; did you mean {inside[0]!r}?" if inside else nearest(str(cause.key), keys)
            return f"{cause.full_key} is not a setting{hint}{known}"
    lines = [line for line in str(error).splitlines() if line.strip()]
    quoting = " (quote special characters: 'key=\"value\"')" if "LexerNoViableAlt" in str(error) else ""
    return " ".join(lines[:3]) + quoting
