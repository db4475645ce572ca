"""The settings that determine a run's numbers, and their digest, by which an equal run is found again."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
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

SHARES = ("trainer.limit_", "trainer.overfit_batches")
"""The beginnings of settings for which Lightning reads 1.0 as a fraction and 1 as a number of batches."""


def identity(config: DictConfig | Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that are the same for all runs whose numbers can only differ because of their seeds.

    They are a digest of the package version and of all settings that can change a run's numbers, except the seed. The
    content of a data file, and of the weights to start from, counts as well as its name.
    """
    settings = {name: value for name, value in decisive(config).items() if name != "seed"}
    start = Path(str(settings.get("init_from")))
    files = {"task.path": [Path(str(settings.get("task.path")))]}
    files["init_from"] = [start / "checkpoints" / "best.ckpt", start / "model.safetensors"]
    for name, places in files.items():
        if file := next((place for place in places if place.is_file()), None):
            settings[f"content of {name}"] = digest_of(file.read_bytes())
    return digest_of(json.dumps([__version__, settings], sort_keys=True, default=str).encode())[:8]


def decisive(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can change a run's numbers, by their dotted names.

    1.0 counts as 1, except in `SHARES`.
    """
    settings = {name: value for name, value in flat(config).items() if not without_effect(name)}
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() and not name.startswith(SHARES) else value
        for name, value in settings.items()
    }


def without_effect(name: str) -> bool:
    """Whether a setting, by its dotted name, cannot change the numbers of a run."""
    return name.startswith(tuple(f"{group}." for group in WITHOUT_EFFECT)) or name in WITHOUT_EFFECT


def flat(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The settings by their dotted names, such as optimizer.lr; lists and empty mappings are values."""
    plain: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    return dict(named(plain))


def named(settings: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from named(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", value
