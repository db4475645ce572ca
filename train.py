"""Train a sequence model: python train.py model=manual_rnn task=adding. What can be chosen: python train.py --help"""

from pathlib import Path

from omegaconf import DictConfig

from seqmodels.config import command, quick_imports


@command("train")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.run import run  # torch and Lightning take seconds to import, and --help should not wait for them

    run(config, folder)


if __name__ == "__main__":
    main()
