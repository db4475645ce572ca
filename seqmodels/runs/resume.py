"""Continuing an interrupted run: its config, with the few settings that may change."""

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError
from seqmodels.config import arguments_of, target_of
from seqmodels.config.compose import UNUSED, settings_and_groups
from seqmodels.config.folders import name_in
from seqmodels.config.identity import OF_SWEEPS, decisive, flat, without_effect
from seqmodels.files import digest_of
from seqmodels.report.tables import counted
from seqmodels.restore import reserved_in, within
from seqmodels.untrusted.reading import RunFolderError, digests_in, printable, read_config, read_file, read_result

MODULES = (
    "seqmodels.layers", "seqmodels.tasks", "torch.nn.modules.rnn", "torch.optim", "lightning.pytorch.trainer",
    "lightning.pytorch.loggers.tensorboard", "lightning.pytorch.loggers.wandb", "seqmodels.runs.loggers",
)  # fmt: skip
"""The modules that define the classes of a run. The list is part of the code, so no file can extend it."""


def continued(typed: DictConfig, words: list[str], folder: Path) -> DictConfig:
    """Returns the stored config of the run in `folder`, changed by what was typed.

    `words` are the typed overrides; `typed` is the config composed from them.

    Raises:
        UserError: there is no run in the folder, or a setting changes the steps that it has done.
    """
    if not str(typed.resume).strip():
        raise UserError("resume= needs the folder of a run")
    if folder.resolve() != Path(typed.resume).resolve():
        raise UserError(f"resume={typed.resume} continues one run in its own folder: leave out -m and hydra.run.dir")
    check_entries(folder)
    stored = OmegaConf.create(read_config(folder / "config.yaml"))
    settings, _ = settings_and_groups("train")
    for name in sorted(settings - set(stored) - {*UNUSED, *OF_SWEEPS}):
        raise UserError(f"this run was made by an earlier version without {name} and cannot be continued")
    check_classes(stored, words)
    config = stored.copy()
    for word in words:
        name = name_in(word)
        if name == "resume":
            continue
        if name.startswith("hydra.") or name == "experiment" or "@" in name:
            raise UserError(f"{name} cannot be combined with resume=, which continues a run with its own settings")
        if word.startswith("~"):
            node, _, key = name.rpartition(".")
            parent = OmegaConf.select(config, node)
            if isinstance(parent, DictConfig):
                parent.pop(key, None)
        elif name in UNUSED and name not in typed:  # such as block=none
            config.pop(name, None)
        else:
            OmegaConf.update(config, name, OmegaConf.select(typed, name), merge=False, force_add=True)
    check_changes(stored, config)
    return config


def check_entries(folder: Path) -> None:
    """Refuse the folder of a run with links or devices in it, through which a continued run would write elsewhere."""
    for entry in (*folder.iterdir(), *(folder / "checkpoints").glob("*")):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise RunFolderError(f"{printable(entry)} is a link or a device, which no run writes")


def check_classes(stored: DictConfig, words: list[str]) -> None:
    """Refuse to build a class of another package, unless it is typed as well: the folder may be a stranger's."""
    typed = {word.lstrip("+").partition("=")[2] for word in words}
    for name, node in stored.items():
        if not isinstance(node, DictConfig):
            continue
        target: Any = node.get("_target_")
        for key in reserved_in(arguments_of(node)):
            raise UserError(f"{name!s}.{printable(key)} would make Hydra build an object, which no run writes")
        if target is None or target in typed:
            continue
        # The module that defines the class must be on the list, and what is imported, or a public alias of it, too.
        if within(str(target), ("torch.nn", *MODULES, "lightning.pytorch")):
            found = target_of(node, str(name))
            if isinstance(found, type) and within(found.__module__, MODULES):
                continue
        target = printable(target, 100)
        raise UserError(
            f"the run in this folder uses {target}: if you trust it, type {name!s}._target_={target} as well"
        )


def fixed_settings(config: DictConfig) -> str:
    """The digest of the settings that may not change, by which a checkpoint knows the config it belongs to."""
    settings = {name: value for name, value in decisive(config).items() if name != "trainer.max_steps"}
    return digest_of(json.dumps(settings, sort_keys=True, default=str).encode())


def check_changes(stored: DictConfig, config: DictConfig) -> None:
    """Refuse changes that would have altered the steps already done."""
    before, after = flat(stored), flat(config)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    refused = [name for name in changed if name != "trainer.max_steps" and not without_effect(name)]
    if refused:
        changes = ", ".join(f"{name} (from {before.get(name)} to {after.get(name)})" for name in refused)
        raise UserError(f"a run continues with the settings it began with; these would change its numbers: {changes}")
    least, most = before["trainer.max_steps"], after["trainer.max_steps"]
    if most == least:
        return
    if not isinstance(most, int) or most < least:
        raise UserError(f"trainer.max_steps may only grow when a run is continued: it was {least}, got {most!r}")
    follows = [name for name, value in before.items() if name.startswith("scheduler.") and value == least]
    follows += [name for name in ("trainer.val_check_interval", "trainer.log_every_n_steps") if before[name] > least]
    if follows:
        raise UserError(
            f"trainer.max_steps cannot grow: {follows[0]}={before[follows[0]]} follows it, "
            "so the steps already done would have been others"
        )


def finished(config: DictConfig, folder: Path, reports: bool = True) -> bool:
    """Whether the run in a folder has a result for this config; if it `reports`, it says so.

    Raises:
        UserError: the result is that training diverged.
    """
    try:
        result = read_result(folder / "result.json")
        digests = digests_in(result)
        for name in digests.keys() - {"config.yaml"}:
            read_file(folder / name, digest=digests[name])
    except RunFolderError:
        return False
    if digests.get("config.yaml") != digest_of(OmegaConf.to_yaml(config).encode()):
        return False
    if result.get("diverged_at") is not None:
        raise UserError(f"this run has diverged at step {result['diverged_at']}, and would do so again ({folder})")
    if reports:
        print(f"This run has finished after {counted(result['steps'], 'step')}: its results are in {folder}")
    return True


def plain_settings(config: str) -> dict[str, Any]:
    """The settings of a run's config, which is YAML, by their dotted names."""
    return flat(yaml.safe_load(config))
