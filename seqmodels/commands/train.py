"""`seqmodels train`, which is `python train.py`: train a model on a task."""

from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqmodels.commands.door import command, quick_imports
from seqmodels.config.experiment import claim_of
from seqmodels.experiments.sweeps.sweep import without_sweep
from seqmodels.experiments.sweeps.typed import sweeps_of_hydra
from seqmodels.files import only_writer
from seqmodels.processes import all_processes, rank_in


@command("train", sweeps=sweeps_of_hydra)
def main(config: DictConfig, folder: Path) -> None:
    typed, resumes = config, config.resume is not None
    if resumes:
        config = config_to_continue(typed, folder)
    first = rank_in(config.trainer) == 0
    with only_writer(folder) if first else nullcontext():
        if resumes:
            from seqmodels.runs.resume import finished

            config = config_to_continue(typed, folder)  # which another run may have changed before it ended
            if finished(config, folder, reports=first):
                return
        elif first:
            config.claim = carried(config)
        with all_processes(config.trainer):
            with quick_imports():  # torch and Lightning take seconds to import, and --help should not wait for them
                from seqmodels.runs.build import build
                from seqmodels.runs.run import run

            run(build(without_sweep(config), folder), folder, resumes)


def carried(config: DictConfig) -> str | None:
    """The claim of the experiment; None, and a message, if the run is about another task or model."""
    claim = claim_of(config)
    if claim is None and config.claim is not None:
        print("This run carries no claim: the claim of its experiment is about another task or model.")
    return claim


def config_to_continue(config: DictConfig, folder: Path) -> DictConfig:
    """The config of the run in the folder, with what was typed."""
    with quick_imports():
        from seqmodels.runs.resume import continued

    return continued(config, list(HydraConfig.get().overrides.task), folder)
