"""`seqmodels train`, which is `python train.py`: train a model on a task."""

from pathlib import Path

from omegaconf import DictConfig

from seqmodels.commands.door import command, quick_imports


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():  # torch and Lightning take seconds to import, and --help should not wait for them
        from seqmodels.build import build
        from seqmodels.run import run

    run(build(config, folder), folder)
