"""`seqmodels predict RUN new.csv`: a finished model, applied to another file or to a stream."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqmodels.checks import UserError, as_user_errors, check_choice, check_whole
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of
from seqmodels.files import writing_whole


@command("predict", named=True, lists=("trusted",))
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        import torch

        from seqmodels.predict import load_predictor
        from seqmodels.predict.form import without_advice
        from seqmodels.report.tables import counted, listed
        from seqmodels.tasks.real.csv_files import DECIMALS, SEPARATORS
        from seqmodels.untrusted.reading import printable

    settings = arguments_of(config)
    with as_user_errors():
        check_choice("checkpoint", settings["checkpoint"], ("best", "last", "previous"))
        check_whole("threads", settings["threads"], 1)
        for name, choices in (("separator", SEPARATORS), ("decimal", DECIMALS)):
            if settings[name] is not None:
                check_choice(name, settings[name], choices)
    run, file = run_and_file(settings["name"])
    torch.set_num_threads(settings["threads"])
    predictor = load_predictor(run, settings["checkpoint"], tuple(map(str, settings["trusted"] or [])))
    for name in ("separator", "decimal"):
        if settings[name] is not None:
            setattr(predictor.form, name, settings[name])
    if file == "-":
        if settings["output"] != "predictions.csv":
            raise UserError("output is for a file: a stream is answered on standard output")
        answer_stream(predictor)
        return
    output = output_file(settings["output"], run, file)
    try:
        examples = predictor.read(file)
    except (OSError, ValueError) as error:  # the readers advise on the settings of a task
        raise UserError(without_advice(str(error))) from error
    count = 0
    with writing_whole(output) as opened:
        for piece in predictor.answers(examples):
            piece.to_csv(opened, index=False, header=count == 0)
            count += len(piece)
    print(f"wrote {output} ({counted(count, 'answer')})")
    if examples.left_out:
        print(f"left out, as too short for an answer: series {printable(listed(examples.left_out))}")


def answer_stream(predictor: Any) -> None:
    """Answer each line of standard input on standard output."""
    from seqmodels.predict.stream import answers_to_lines

    begun = False
    try:
        for table in answers_to_lines(sys.stdin.buffer, predictor.stream):
            print(table.to_csv(index=False, header=not begun, lineterminator="\n"), end="", flush=True)
            begun = True
    except BrokenPipeError as error:  # nobody reads any more, as after `| head -1`
        raise SystemExit(1) from error


def run_and_file(named: Any) -> tuple[Path, str]:
    """The run folder and the file that were named."""
    names = [str(name) for name in (named if isinstance(named, list) else [named]) if name is not None]
    if len(names) != 2:
        given = " and ".join(names) or "nothing"
        raise UserError(
            f"predict needs a run folder and a file, as in seqmodels predict outputs/TASK/MODEL/TIME new.csv, or - for "
            f"standard input; got {given}"
        )
    return Path(names[0]), names[1]


def output_file(named: Any, run: Path, file: str) -> Path:
    """The file to write, which replaces neither the file that is read nor one in the folder of the run."""
    if not isinstance(named, str) or not named.strip():
        raise UserError(f"output should be the file to write, got {named!r}")
    output = Path(named)
    of_run = output.exists() and run.resolve() in output.resolve().parents
    if of_run or output.resolve() == Path(file).resolve():
        raise UserError(f"output={output} would replace {output if of_run else file}: choose another file")
    if not output.parent.is_dir() or (output.exists() and not output.is_file()):  # such as a folder, or a device
        raise UserError(f"output={output} should be a file in an existing folder")
    return output
