"""The best settings of a search, as an experiment that `train.py` takes."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial

from seqmodels.config import compose
from seqmodels.config.folders import name_in
from seqmodels.experiments.tuning.search import Search
from seqmodels.experiments.tuning.trials import score_of
from seqmodels.report.tables import counted, significant


def experiment_of(search: Search, best: FrozenTrial) -> str:
    """The best settings as a file for conf/experiment/, chosen by `train.py experiment=NAME`."""
    words = search.words_with(search.settings_with_width(best))
    config = compose(*words)
    choices = HydraConfig.get().runtime.choices
    names = dict.fromkeys(name_in(word) for word in words)
    base = choices.get("experiment")
    groups = dict.fromkeys(["model", "task", *(name for name in names if name in choices and name != "experiment")])
    defaults: list[Any] = [*([base] if base else []), *({f"override /{name}": choices[name]} for name in groups)]
    settings = OmegaConf.create({"claim": None, "published": None} if base else {})
    for name in names:
        if name not in choices:
            OmegaConf.update(settings, name, OmegaConf.select(config, name), force_add=True)
    score = f"{search.metric} {significant(score_of(best))}"
    return (
        "# @package _global_\n"
        f"# The best of {counted(len(search.rows()), 'trial')} of `seqmodels tune`: validation {score}, "
        f"{search.budget.seeds_text}.\n"
        f"{OmegaConf.to_yaml(OmegaConf.create({'defaults': [*defaults, '_self_']}))}\n"
        f"{OmegaConf.to_yaml(settings) if len(settings) else ''}"
    )
