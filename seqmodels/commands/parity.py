"""`seqmodels parity`: compare a layer with its reference at the shapes of a task, and train nothing."""

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from seqmodels.checks import as_user_errors, check_seed, check_whole
from seqmodels.commands.door import command, quick_imports


@command("parity")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.config import arguments_of, layer_of, user_errors
        from seqmodels.parity import compare_for_task, why_not_compared
        from seqmodels.report.tables import parity_table
        from seqmodels.runs.build import build_task

    with as_user_errors():
        check_seed(config.seed)
    with user_errors("data", arguments_of(config.data)):
        check_whole("batch_size", config.data.batch_size, 1)
    task, layer = build_task(config.task), layer_of(config.model)
    with user_errors("model", arguments_of(config.model)):
        features = config.embedding_size or task.input_size
        report = compare_for_task(layer, task, config.data.batch_size, features, config.seed)
    if report is None:
        print(why_not_compared(layer))
        return
    Console().print(parity_table(report))
    report.check()
