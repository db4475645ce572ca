"""Error messages: one clear message for each mistake that a user can make in a config."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from seqmodels.checks import UserError, nearest
from seqmodels.config.folders import CONF

EXPECTED = (ValueError, TypeError, RuntimeError, ImportError, AssertionError)
"""The errors that constructors raise about their arguments."""

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""Hydra's launchers that need another package, and the extras that install it."""


@contextmanager
def user_errors(name: str = "", values: dict[str, Any] | None = None) -> Iterator[None]:
    """Convert errors about the values of node `name` into a `UserError` that names the value in question.

    Without a name, only errors of Hydra and OmegaConf, of Lightning's settings, of YAML, of files and of memory are
    converted.
    """
    try:
        yield
    except UserError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    except YAMLError as error:
        raise UserError(broken_yaml(error)) from error
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
        if isinstance(error, UnicodeDecodeError) and not name:
            raise UserError(f"a file of the config is not text in UTF-8: {message}") from error
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
    """The settings of a node that an error message is about, with their values; the node's name if it mentions none.

    A message about a setting begins with its name. Others that have a part in it stand there with their values.
    """
    known = values or {}
    begins = re.match(r"\w+", message)
    pattern = r"\b{}\b" if begins is None or begins[0] not in known else r"^{0}\b|\b{0}="
    named = {key: value for key, value in known.items() if re.search(pattern.format(key), message)}
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
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, text)
    if in_file := re.match(r"In '(\S+)': \w+ raised while composing config:\s*(.*)", text):
        sweeps = in_file[1].startswith("sweep/")
        expected = (
            "; expected hydra.sweeper.params to be a mapping such as {model: 'nn_rnn,nn_gru', seed: 'range(1,4)'}"
        )
        return f"{in_file[1]}.yaml: {in_file[2]}{expected if sweeps else ''}"
    lines = [line for line in text.splitlines() if line.strip(" ^") and "hydra.cc/docs" not in line]
    return " ".join(lines[:3])


def broken_yaml(error: YAMLError) -> str:
    """The message about a file that is not YAML: its name, the line, and the problem."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f"a config file is not YAML: {' '.join(str(error).split())}"
    return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: this is not YAML: {error.problem}"


def unreadable(word: str, problem: str) -> str:
    """The message about an override that does not follow Hydra's grammar; `problem` is what its parser says."""
    unexpected = re.search(r"(?:extraneous|mismatched) input '(.*?)' expecting", problem)
    if len(re.findall(r"(?<!\\)'", word)) % 2 or len(re.findall(r'(?<!\\)"', word)) % 2:
        reason = "a quote is not closed"
    elif any(word.count(left) > word.count(right) for left, right in ("[]", "{}", "()")):
        reason = "a bracket is not closed"
    elif unexpected and unexpected[1] != "<EOF>":
        reason = f"{unexpected[1]!r} is not expected where it stands"
    else:
        reason = "expected key=value"
    return f"{word} cannot be read: {reason} (text with special characters needs quotes: 'key=\"value\"')"


def unknown_key(error: Any) -> str:
    """The message about a key that its node does not have; empty if the node has it."""
    node: Any = error.parent_node
    plain: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
    keys = [str(key) for key in plain if key not in ("_target_", "_partial_", "hydra")]
    if str(error.key) in keys:
        return ""
    inside = [f"{key}.{error.key}" for key, value in plain.items() if isinstance(value, dict) and error.key in value]
    hint = f"; did you mean {inside[0]!r}?" if inside else nearest(str(error.key), keys)
    if plain == {"_target_": None} and error.key in OmegaConf.load(CONF / "block" / "prenorm.yaml"):
        hint = " without blocks; block=prenorm and block=prenorm_mlp have it"
    return f"{error.full_key} is not a setting{hint}" + (f" (one of: {', '.join(keys)})" if keys else "")
