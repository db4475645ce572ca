"""`seqmodels train`, which is `python train.py`: train a model on a task."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqmodels.commands.door import command, quick_imports
from seqmodels.config.experiment import claim_of
from seqmodels.files import only_writer


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():  # torch and Lightning take seconds to import, and --help should not wait for them
        from seqmodels.build import build
        from seqmodels.resume import continued, finished
        from seqmodels.run import run

    resumes = config.resume is not None
    with only_writer(folder):
        if resumes:
            config = continued(config, list(HydraConfig.get().overrides.task), folder)
            if result := finished(config, folder):
                print(f"This run has finished after {result['steps']} steps: its results are in {folder}")
                return
        else:
            config.claim = claim_of(config)
        run(build(config, folder), folder, resumes)
