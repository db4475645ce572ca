"""Error messages: one clear message for each mistake that a user can make in a config."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqmodels.checks import UserError, nearest
from seqmodels.config.folders import CONF

EXPECTED = (ValueError, TypeError, RuntimeError, ImportError, AssertionError)
"""The errors that constructors raise about their arguments."""

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""Hydra's launchers that need another package, and the extras that install it."""


@contextmanager
def user_errors(name: str = "", values: dict[str, Any] | None = None) -> Iterator[None]:
    """Convert errors about the values of node `name` into a `UserError` that names the value in question.

    Without a name, only errors of Hydra and OmegaConf, of Lightning's settings, of files and of memory are converted.
    """
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except OSError as error:
        if name:
            raise UserError(f"{culprits(name, values, str(error))}: {error}") from error
        if isinstance(error, BrokenPipeError):
            raise
        if error.filename is None:  # standard output, mostly
            raise UserError(f"cannot read or write: {error.strerror or error}") from error
        raise UserError(f"cannot open or write {error.filename}: {error.strerror}") from error
    except Exception as error:
        message = " ".join(line.strip() for line in str(error).splitlines()[:3])
        if isinstance(error, MemoryError) or re.search("allocate memory|out of memory", message):
            raise UserError(f"{name or 'the run'} needs more memory than is available: {message}") from error
        if re.search("could not create a primitive", message):
            problem = "this processor cannot compute this layer in this precision; try trainer.precision=32-true"
            raise UserError(f"{problem} ({message})") from error
        # Lightning's MisconfigurationException is a plain Exception; to import it here would take seconds.
        misconfigured = type(error).__name__ == "MisconfigurationException"
        if name and (missing := re.search(r"missing \d+ required .*arguments?: '(\w+)'", message)):
            raise UserError(f"{name}.{missing[1]} is needed: ~{name}.{missing[1]} cannot leave it out") from error
        if name and (unexpected := re.search(r"unexpected keyword argument '(\w+)'", message)):
            raise UserError(f"{name}.{unexpected[1]} is not a setting{nearest(unexpected[1], values or {})}") from error
        if name and (misconfigured or isinstance(error, EXPECTED)):
            raise UserError(f"{culprits(name, values, message)}: {message}") from error
        if misconfigured:
            raise UserError(str(error)) from error
        if not name and str(error).startswith("Config group override"):  # Hydra's message about model=null
            raise UserError(f"a choice should be a name, as --help lists them: {error}") from error
        raise


def culprits(name: str, values: dict[str, Any] | None, message: str) -> str:
    """The settings of a node that an error message mentions, with their values; the node's name if it mentions none."""
    named = {key: value for key, value in (values or {}).items() if re.search(rf"\b{key}\b", message)}
    return ", ".join(f"{name}.{key}={value}" for key, value in named.items()) or name


def explain(error: Exception) -> str:
    """One clear message for an error of Hydra or OmegaConf."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None and error.options is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options if not option.startswith("__")]
        if group == "hydra/launcher" and choice in EXTRAS:
            return f"{group}={choice} needs a package that is not installed: pip install 'seqmodels[{EXTRAS[choice]}]'"
        return f"{group}={choice}: there is no such {group}{nearest(choice, options)} (one of: {', '.join(options)})"
    if unknown := re.match(r"Could not override '(\S+?)'.*No match in the defaults list", text, re.DOTALL):
        groups = [entry.name for entry in CONF.iterdir() if entry.is_dir()]
        return f"{unknown[1]} is not something to choose{nearest(unknown[1], groups)}"
    if ambiguous := re.match(r"Ambiguous value for argument '((.*?)=(.*))'", text):
        word, name, values = ambiguous.groups()
        return f"{word}: several runs, one for each value, need -m; a list needs brackets, {name}=[{values}]"
    if left_out := re.match(r"Could not delete from config\. '(\S+)' does not exist", text):
        return f"{left_out[1]} is not a setting, so ~{left_out[1]} cannot leave it out"
    cause = error.__cause__ or error
    about_a_key = isinstance(cause, OmegaConfBaseException) and cause.key is not None
    if about_a_key and isinstance(error, ConfigCompositionException) and (message := unknown_key(cause)):
        return message
    quoting = " (quote special characters: 'key=\"value\"')" if "LexerNoViableAlt" in text else ""
    lines = [line for line in text.splitlines() if line.strip(" ^") and "hydra.cc/docs" not in line]
    return " ".join(lines[:3]) + quoting


def unknown_key(error: Any) -> str:
    """The message about a key that its node does not have; empty if the node has it."""
    node: Any = error.parent_node
    plain: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    keys = [str(key) for key in plain if key not in ("_target_", "_partial_", "hydra")]
    if str(error.key) in keys:
        return ""
    inside = [f"{key}.{error.key}" for key, value in plain.items() if isinstance(value, dict) and error.key in value]
    hint = f"; did you mean {inside[0]!r}?" if inside else nearest(str(error.key), keys)
    return f"{error.full_key} is not a setting{hint}" + (f" (one of: {', '.join(keys)})" if keys else "")
