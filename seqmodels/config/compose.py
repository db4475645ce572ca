"""Compose a config from the files of conf/ and the overrides, and check its names."""

import functools
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError, nearest
from seqmodels.config.folders import CONF
from seqmodels.config.mistakes import user_errors
from seqmodels.processes import rank_in

WITHOUT_SETTINGS = ("experiment", "sweep", "launcher")
"""Choices that change the settings of others and have none of their own."""

UNUSED: dict[str, Any] = {"block": {"_target_": None}, "init_from": None, "freeze": []}
"""Settings that a run does not have where they have these values: so it equals the runs of earlier versions."""


def compose(*overrides: str, config_name: str = "train") -> DictConfig:
    """The config that `python train.py <overrides>` would run with, checked.

    Within a command, configs are taken from the folders of that command, including its --config-dir.

    Raises:
        UserError: an override is wrong.
    """
    return own_settings(unchecked(*overrides, config_name=config_name), config_name)


def unchecked(*overrides: str, config_name: str = "train") -> DictConfig:
    """The config composed from files and overrides, with unresolved interpolations and Hydra's own settings."""
    running = GlobalHydra.instance().is_initialized()
    with user_errors(), nullcontext() if running else hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config_name, list(overrides), return_hydra_config=True)


def own_settings(composed: DictConfig, verb: str, **values: Any) -> DictConfig:
    """The settings of a composed config without Hydra's own, checked; `values` replace those composed.

    Raises:
        UserError: a setting is unknown, missing or left out.
    """
    HydraConfig.instance().set_config(composed)  # interpolations read it
    with user_errors():
        settings = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        settings.update(values)
        return checked_config(settings, verb)


def checked_config(config: DictConfig, config_name: str) -> DictConfig:
    """The config with its interpolations resolved, after a check that no setting is missing or unknown.

    Raises:
        UserError: a setting is unknown, missing or left out.
    """
    known, groups = settings_and_groups(config_name)
    for name in sorted(set(map(str, config)) - known):
        raise UserError(f"{name} is not a setting{nearest(name, known)}")
    for name in sorted(known - set(config)):
        raise UserError(f"{name} is needed: ~{name} cannot leave it out")
    for name in sorted(groups):
        if not isinstance(config[name], DictConfig):
            raise UserError(f"{name} should be a choice with settings of its own, got {config[name]!r}")
    config = config.copy()
    OmegaConf.resolve(config)
    for name in sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"{name} is needed and not given: add {name}=... to the command line")
    return OmegaConf.masked_copy(config, [str(name) for name in config if not is_unused(str(name), config[name])])


def is_unused(name: str, value: Any) -> bool:
    """Whether a run with this value of a setting is one that does not have the setting."""
    return name in UNUSED and value == UNUSED[name]


@functools.cache
def settings_and_groups(config_name: str) -> tuple[frozenset[str], frozenset[str]]:
    """The top-level names of a config, and the subset that are choices with settings of their own."""
    file: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{config_name}.yaml"))
    names, groups = set(file) - {"defaults", "hydra"}, set()
    for entry in file["defaults"]:
        if isinstance(entry, dict):
            groups |= {key for key in entry if not key.startswith("override ") and key not in WITHOUT_SETTINGS}
        elif entry != "_self_":
            inherited_names, inherited_groups = settings_and_groups(entry)
            names, groups = names | inherited_names, groups | inherited_groups
    return frozenset(names | groups), frozenset(groups)


def name_of_model(choices: Mapping[str, str], target: str, overrides: list[str]) -> str:
    """The name of a run's model: its file in conf/model, or the class that replaces the one in the file.

    The blocks around it follow a plus sign, as in min_gru+prenorm.
    """
    replaced = any(word.lstrip("+").startswith("model._target_=") for word in overrides)
    return in_block(target.rpartition(".")[2] if replaced else choices["model"], choices["block"])


def in_block(model: str, block: str) -> str:
    """The name of a model in the blocks of a file in conf/block."""
    return model if block == "none" else f"{model}+{block}"


OmegaConf.register_new_resolver("name_of_model", name_of_model)


def run_folder(resumed: str | None, trainer: DictConfig, new: str) -> str:
    """Where a run writes: into the folder of the run that it continues, or into a new one.

    Of several processes only the first writes. The name of a new folder tells the time, which is another one for each.
    """
    if resumed is not None:
        return str(resumed)
    return "." if rank_in(trainer) else new


OmegaConf.register_new_resolver("run_folder", run_folder)
