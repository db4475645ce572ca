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
from seqmodels.processes import all_processes, number_of_processes


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    settings = HydraConfig.get()
    resumes = config.resume is not None
    if resumes:
        with quick_imports():
            from seqmodels.runs.resume import continued, finished

        config = continued(config, list(settings.overrides.task), folder)
        if result := finished(config, folder):
            print(f"This run has finished after {result['steps']} steps: its results are in {folder}")
            return
    else:
        config.claim = claim_of(config)
    if settings.mode == RunMode.MULTIRUN and number_of_processes(config.trainer) > 1:
        raise UserError("-m starts runs of one process, and trainer.devices starts several: start each run by itself")
    with all_processes(config.trainer) as rank, nullcontext() if rank else only_writer(folder):
        with quick_imports():  # torch and Lightning take seconds to import, and --help should not wait for them
            from seqmodels.runs.build import build
            from seqmodels.runs.run import run

        run(build(config, folder), folder, resumes)
