"""The command that reproduces a run, derived from the config that the run stored."""

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seqmodels.checks import UserError
from seqmodels.config.compose import compose, settings_and_groups
from seqmodels.config.folders import CONF
from seqmodels.config.identity import OF_SWEEPS, flat

NOT_OF_A_RUN = {"resume", "claim", "published", "model_name", "task_name", "page", *OF_SWEEPS}
"""Settings that the command does not need: they belong to a sweep, describe the run, or do not affect it."""

PLAIN = re.compile(r"[A-Za-z_/][\w./+-]*(?: [\w./+-]+)*")
"""Strings that need no quotes in Hydra's grammar, apart from words such as null and true."""


def command_of(stored: dict[str, Any]) -> str:
    """The command that composes a stored config again, quoted for a shell. It names what differs from conf/train.yaml.

    Raises:
        UserError: no command of this version composes it. The message names the setting that prevents it.
    """
    words = overrides_of(stored)
    return " ".join(["python train.py", *map(shlex.quote, words)])


def overrides_of(stored: dict[str, Any]) -> list[str]:
    """The overrides that compose a stored config, in plain containers, again.

    Choices come first, identified by their names or by their classes, then each setting that still differs. A setting
    that follows from another one is written only if the stored value does not.

    Raises:
        UserError: as `command_of`.
    """
    wanted = flat({name: value for name, value in stored.items() if name not in NOT_OF_A_RUN})
    words = list(choices_of(stored))
    # The settings of a scheduler follow those of the trainer and the optimizer.
    words += [word for word in differences(wanted, composed(words)) if not word.startswith("scheduler.")]
    if missing := differences(wanted, composed(words)):
        words += missing
        if different := differences(wanted, composed(words)):
            raise UserError(f"no command of this version composes this config: {' '.join(different)} has no effect")
    return words


def composed(words: list[str]) -> dict[str, Any]:
    """The settings that overrides compose, by their dotted names."""
    config: Any = OmegaConf.to_container(compose(*words))
    return flat({name: value for name, value in config.items() if name not in NOT_OF_A_RUN})


def choices_of(stored: dict[str, Any]) -> Iterator[str]:
    """The experiment and the choices of a stored config, where they differ from the defaults."""
    defaults: Any = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"))
    chosen = {
        name: choice for entry in defaults["defaults"] if isinstance(entry, dict) for name, choice in entry.items()
    }
    experiment = experiment_of(stored.get("claim"))
    if experiment is not None:
        yield f"experiment={experiment}"
        chosen |= own_choices(experiment)
    model, _, block = str(stored.get("model_name")).partition("+")
    named = {"model": model, "block": block, "task": str(stored.get("task_name"))}
    for group in filter(settings_and_groups("train")[1].__contains__, list(chosen)):
        settings = stored.get(group)
        if isinstance(settings, dict):
            choice = choice_of(group, settings, named.get(group, chosen[group]), chosen[group])
            if choice != chosen[group]:
                yield f"{group}={choice}"
            file: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
            for name in (name for name, value in file.items() if value == "???" and name in settings):
                yield f"{group}.{name}={written(settings[name])}"


def choice_of(group: str, settings: dict[str, Any], named: str, default: str) -> str:
    """The choice of a group that a run made: the named one, the default, or any other one that has the run's class.

    If none has it, the default.
    """
    targets = {file.stem: target_in(file) for file in sorted((CONF / group).glob("*.yaml"))}
    candidates = [name for name in (named, default, *targets) if name in targets]
    return next((name for name in candidates if targets[name] == settings.get("_target_")), default)


def target_in(file: Path) -> Any:
    """The class that a file of a group names, or that the file which it extends names."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    if "_target_" not in content:
        for entry in content.get("defaults", []):
            if isinstance(entry, str) and (file.parent / f"{entry}.yaml").is_file():
                return target_in(file.parent / f"{entry}.yaml")
    return content.get("_target_")


def experiment_of(claim: Any) -> str | None:
    """The experiment that makes this claim."""
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        content: Any = OmegaConf.load(file)
        if claim is not None and content.get("claim") == claim:
            return file.stem
    return None


def own_choices(experiment: str) -> dict[str, str]:
    """The choices that an experiment overrides."""
    content: Any = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
    entries = [entry for entry in content.get("defaults", []) if isinstance(entry, dict)]
    return {key.removeprefix("override /"): choice for entry in entries for key, choice in entry.items()}


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The overrides that turn one set of dotted settings into another."""
    words = []
    for name, value in wanted.items():
        if name not in found:
            words.append(f"+{name}={written(value)}")
        elif found[name] != value or type(found[name]) is not type(value):
            words.append(f"{name}={written(value)}")
    return words + [f"~{name}" for name in found if name not in wanted]


def written(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    # A backslash is literal unless a quote follows it.
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text) + '"'
