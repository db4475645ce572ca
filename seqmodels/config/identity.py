"""The settings that determine a run's numbers, and their digest, by which an equal run is found again."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels import __version__
from seqmodels.files import digest_of

OF_SWEEPS = ("jobs", "baseline", "match")
"""Settings of a sweep, which its runs do not have."""

WITHOUT_EFFECT = (
    "checkpoint", "data.num_workers", "parity", "trainer.enable_progress_bar", "logger", "claim", "published",
    "resume", "page", *OF_SWEEPS,
)  # fmt: skip
"""Settings, and groups of settings, that cannot change the numbers of a run."""


def identity(config: DictConfig | Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that are the same for all runs whose numbers can only differ because of their seeds.

    They are a digest of the package version and of all settings that can change a run's numbers, except the seed.
    """
    settings = {name: value for name, value in decisive(config).items() if name != "seed"}
    return digest_of(json.dumps([__version__, settings], sort_keys=True, default=str).encode())[:8]


def decisive(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can change a run's numbers, by their dotted names.

    1.0 counts as 1, except in the settings of Lightning's trainer, where 1.0 is a fraction and 1 a number of batches.
    """
    settings = {name: value for name, value in flat(config).items() if not without_effect(name)}
    return {
        name: int(value)
        if isinstance(value, float) and value.is_integer() and not name.startswith("trainer.")
        else value
        for name, value in settings.items()
    }


def without_effect(name: str) -> bool:
    """Whether a setting, by its dotted name, cannot change the numbers of a run."""
    return name.startswith(tuple(f"{group}." for group in WITHOUT_EFFECT)) or name in WITHOUT_EFFECT


def flat(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The settings by their dotted names, such as optimizer.lr."""
    plain: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    return dict(named(plain))


def named(settings: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from named(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", value
