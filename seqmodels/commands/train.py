"""`seqmodels train`, which is `python train.py`: train a model on a task."""

from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqmodels.checks import UserError
from seqmodels.commands.door import command, quick_imports
from seqmodels.config.experiment import claim_of
from seqmodels.files import only_writer
from seqmodels.processes import all_processes, number_of_processes, rank_in


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    settings, typed = HydraConfig.get(), config
    resumes = config.resume is not None
    if settings.mode == RunMode.MULTIRUN and number_of_processes(config.trainer) > 1:
        raise UserError("-m starts runs of one process, and trainer.devices starts several: start each run by itself")
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
            config.claim = claim_of(config)
        with all_processes(config.trainer):
            with quick_imports():  # torch and Lightning take seconds to import, and --help should not wait for them
                from seqmodels.runs.build import build
                from seqmodels.runs.run import run

            run(build(config, folder), folder, resumes)


def config_to_continue(config: DictConfig, folder: Path) -> DictConfig:
    """The config of the run in the folder, with what was typed."""
    with quick_imports():
        from seqmodels.runs.resume import continued

    return continued(config, list(HydraConfig.get().overrides.task), folder)
