"""The claim of an experiment, and whether a run may carry it."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.config.folders import CONF

CHOICES = ("task", "model", "block")
"""The groups that a claim is about."""


def claim_of(config: DictConfig) -> str | None:
    """The claim of the run's experiment; None if a task or model was typed that neither it nor one of its arms has."""
    if config.claim is None:
        return None
    settings = HydraConfig.get()
    own = choices_of_file(str(settings.runtime.choices["experiment"]))
    arms = [own | choices_in(arm["overrides"]) for arm in ((config.published or {}).get("arms") or {}).values()]
    return str(config.claim) if own | choices_in(settings.overrides.task) in [own, *arms] else None


def config_folders() -> list[Path]:
    """The folders in which the current command finds its configs; the user's, such as --config-dir, come first."""
    sources = [source.path for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return sorted(map(Path, sources), key=lambda folder: folder == CONF)


def choices_in(words: list[str]) -> dict[str, str]:
    """The task and the model that overrides choose, or the classes that replace theirs."""
    pairs = [word.lstrip("+").partition("=")[::2] for word in words]
    return {name.removesuffix("._target_"): value for name, value in pairs if name.removesuffix("._target_") in CHOICES}


def choices_of_file(experiment: str) -> dict[str, str]:
    """The task and the model that an experiment's file chooses."""
    choices: dict[str, str] = {}
    for name in ("train", f"experiment/{experiment}"):
        files = [folder / f"{name}.yaml" for folder in config_folders()]
        file = next((file for file in files if file.is_file()), None)
        entries: Any = OmegaConf.to_container(OmegaConf.load(file)).get("defaults", []) if file else []  # type: ignore[union-attr]
        for entry in entries:
            if isinstance(entry, dict):
                choices |= {key.removeprefix("override /"): value for key, value in entry.items()}
    return {name: choices[name] for name in CHOICES}
