"""Continuing an interrupted run: its config, with the few settings that may change."""

from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError
from seqmodels.config import arguments_of, target_of
from seqmodels.config.compose import settings_and_groups
from seqmodels.files import digest_of
from seqmodels.restore import reserved_in, within
from seqmodels.untrusted.reading import RunFolderError, digests_in, printable, read_config, read_result

CHANGEABLE = {
    "checkpoint.steps", "checkpoint.minutes", "data.num_workers", "parity", "trainer.enable_progress_bar",
    "trainer.max_steps",
}  # fmt: skip
"""Settings that change no number of the steps already done."""

MODULES = (
    "seqmodels.layers", "seqmodels.tasks", "torch.nn.modules.rnn", "torch.optim", "lightning.pytorch.trainer",
    "lightning.pytorch.loggers",
)  # fmt: skip
"""The modules that define the classes of a run. The list is code: no file can add to it."""


def continued(typed: DictConfig, words: list[str], folder: Path) -> DictConfig:
    """The config of the run in a folder, with the settings that were typed, as `typed` composes the `words`.

    Raises:
        UserError: there is no run in the folder, or a setting changes the steps that it has done.
    """
    if folder.resolve() != Path(typed.resume).resolve() or not str(typed.resume).strip():
        raise UserError(f"resume={typed.resume} continues one run in its own folder: leave out -m and hydra.run.dir")
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"resume={folder}: there is no config.yaml, so no run has begun there")
    stored = OmegaConf.create(read_config(file))
    settings, groups = settings_and_groups("train")
    for name in sorted(settings - set(stored)):
        raise UserError(f"this run is of an earlier version, which had no {name}, and cannot be continued")
    check_classes(stored, words)
    config = stored.copy()
    for name in {word.lstrip("+~").partition("=")[0] for word in words} - {"resume"}:
        if name.startswith("hydra.") or name == "experiment" or "@" in name:
            raise UserError(f"{name} cannot be chosen with resume=, which continues a run in its folder as it began")
        if (value := OmegaConf.select(typed, name)) is None and name in groups:
            raise UserError(f"{name} cannot be left out")
        OmegaConf.update(config, name, value, merge=False, force_add=True)
    check_changes(stored, config)
    return config


def check_classes(stored: DictConfig, words: list[str]) -> None:
    """Refuse to build a class of another package, unless it is typed as well: the folder may be a stranger's."""
    typed = {word.lstrip("+").partition("=")[2] for word in words}
    for name, node in stored.items():
        if not isinstance(node, DictConfig):
            continue
        target: Any = node.get("_target_")
        for key in reserved_in(arguments_of(node)):
            raise UserError(f"{name!s}.{printable(key)} asks for an object, which no run writes")
        if target is None or target in typed:
            continue
        # What is imported has to be ours, and so does the module that defines what is found there.
        if within(str(target), ("torch.nn", *MODULES, "lightning.pytorch")):
            found = target_of(node, str(name))
            if isinstance(found, type) and within(found.__module__, MODULES):
                continue
        target = printable(target, 100)
        raise UserError(
            f"the run in this folder uses {target}: if you trust it, type {name!s}._target_={target} as well"
        )


def check_changes(stored: DictConfig, config: DictConfig) -> None:
    """Refuse a config that would have led to other numbers."""
    before, after = flat(stored), flat(config)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    refused = [name for name in changed if name not in CHANGEABLE]
    if refused:
        changes = ", ".join(f"{name} (from {before.get(name)} to {after.get(name)})" for name in refused)
        raise UserError(f"a run continues with the settings it began with; these would change its numbers: {changes}")
    least, most = before["trainer.max_steps"], after["trainer.max_steps"]
    if most == least:
        return
    if not isinstance(most, int) or most < least:
        raise UserError(f"trainer.max_steps may only grow when a run is continued: it was {least}, got {most!r}")
    follows = [name for name, value in before.items() if name.startswith("scheduler.") and value == least]
    if follows:
        raise UserError(
            f"trainer.max_steps cannot grow: {follows[0]}={least} follows it, "
            "so the steps already done would have had other learning rates"
        )


def finished(config: DictConfig, folder: Path) -> dict[str, Any] | None:
    """The result of the run in a folder, if it has one for this config."""
    try:
        result = read_result(folder / "result.json")
    except RunFolderError:
        return None
    same = digests_in(result).get("config.yaml") == digest_of(OmegaConf.to_yaml(config).encode())
    return result if same else None


def flat(config: DictConfig) -> dict[str, Any]:
    """The settings by the names one types."""
    (settings,) = pd.json_normalize(OmegaConf.to_container(config)).to_dict("records")  # type: ignore[arg-type]
    return {str(name): value for name, value in settings.items()}
