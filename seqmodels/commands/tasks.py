"""`seqmodels tasks`: list the tasks, or show the named ones in full."""

from pathlib import Path

from omegaconf import DictConfig

from seqmodels.commands.door import command, quick_imports
from seqmodels.commands.listing import show


@command("tasks", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.catalogue import task_lines, task_text, tasks_page

    show(config, task_lines, task_text, tasks_page)
