"""The help page of a verb: what it does, what can be chosen and what can be set, from its YAML files."""

import re
from typing import Any

from omegaconf import OmegaConf

from seqmodels.config.compose import compose, settings_and_groups
from seqmodels.config.folders import CONF


def page(verb: str, program: str, overrides: list[str]) -> str:
    """The page of conf/<verb>.yaml, with the settings of the choices among `overrides`."""
    described: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{verb}.yaml"))
    groups = settings_and_groups(verb)[1] | ({"experiment"} if verb in ("train", "overhead") else set())
    parts = [described["hydra"]["help"]["header"]]
    parts.append(f"{program} {'[GROUP=CHOICE ...] ' if groups else ''}[KEY=VALUE ...]")
    if groups:
        choices = (f"{group}: {', '.join(choices_of(group))}" for group in sorted(groups))
        parts += ["== What can be chosen (GROUP=CHOICE) ==", "\n".join(choices)]
    parts += ["== What can be set (KEY=VALUE) ==", settings_text(verb)]
    if groups:
        config = compose(*overrides, config_name=verb)
        chosen = OmegaConf.masked_copy(config, sorted(group for group in groups if group in config))
        parts += ["== The settings of these choices (GROUP.KEY=VALUE) ==", OmegaConf.to_yaml(chosen).rstrip()]
    return "\n\n".join([*parts, described["hydra"]["help"].get("footer", "")]).rstrip()


def choices_of(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def settings_text(verb: str) -> str:
    """The lines of a verb's file between its defaults and what is internal, with their comments."""
    text = (CONF / f"{verb}.yaml").read_text(encoding="utf-8")
    inherited = [entry for entry in re.findall(r"^  - (\w+)$", text, re.MULTILINE) if entry not in ("verb", "_self_")]
    own = re.split(r"^(?:model_name|hydra):", text.partition("\n\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return "\n\n".join([*map(settings_text, inherited), own.rstrip()])
