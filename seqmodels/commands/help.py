"""The help page of a verb: what it does, what can be chosen and what can be set, from its YAML files."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seqmodels.config.compose import compose, settings_and_groups
from seqmodels.config.folders import CONF


def page(verb: str, program: str, overrides: list[str], config_dir: str | None = None) -> str:
    """The page of conf/<verb>.yaml, with the settings of the choices among `overrides`; those in `config_dir`, too."""
    folders = [CONF] if config_dir is None else [CONF, Path(config_dir).resolve()]
    described: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"))
    further = {"train": {"experiment", "sweep", "launcher"}, "overhead": {"experiment"}, "tune": {"experiment"}}
    groups = settings_and_groups(verb)[1] | further.get(verb, set())
    parts = [described["hydra"]["help"]["header"]]
    parts.append(f"{program} {'[GROUP=CHOICE ...] ' if groups else ''}[KEY=VALUE ...]")
    if groups:
        choices = (f"{group}: {', '.join(choices_of(group, folders))}" for group in sorted(groups))
        parts += ["== What can be chosen (GROUP=CHOICE) ==", "\n".join(choices)]
    parts += ["== What can be set (KEY=VALUE) ==", settings_text(verb)]
    if groups:
        searched = [str(folder).replace("'", "\\'") for folder in folders[1:]]
        config = compose(*overrides, *[f"hydra.searchpath=['{folder}']" for folder in searched], config_name=verb)
        chosen = OmegaConf.masked_copy(config, sorted(group for group in groups if group in config))
        parts += ["== The settings of these choices (GROUP.KEY=VALUE) ==", OmegaConf.to_yaml(chosen).rstrip()]
    return "\n\n".join([*parts, described["hydra"]["help"].get("footer", "")]).rstrip()


def choices_of(group: str, folders: list[Path]) -> list[str]:
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def settings_text(verb: str) -> str:
    """The lines of a verb's file between its defaults and what is internal, with their comments."""
    text = (CONF / f"{verb}.yaml").read_text(encoding="utf-8")
    inherited = [entry for entry in re.findall(r"^  - (\w+)$", text, re.MULTILINE) if entry not in ("verb", "_self_")]
    own = re.split(r"^(?:model_name|hydra):", text.partition("\n\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    overridden = tuple(f"{name}:" for name in re.findall(r"^(\w+):", own, re.MULTILINE))
    lines = "\n\n".join(map(settings_text, inherited)).splitlines()
    return "\n".join([*(line for line in lines if not line.startswith(overridden)), "", own.rstrip()]).lstrip("\n")
