"""`seqmodels export RUN`: the model of a run as one file, for programs without this package."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqmodels.checks import UserError, as_user_errors, check_choice
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of
from seqmodels.files import write_whole


@command("export", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.export import ENDINGS, check_arguments, export_model
        from seqmodels.restore import load_run

    settings = arguments_of(config)
    with as_user_errors():
        check_choice("checkpoint", settings["checkpoint"], ("best", "last", "previous"))
    if settings["to"] == "":
        raise UserError("to= needs a file or a folder")
    if config.format == "safetensors":
        share(settings)
        return
    choices = {name: settings[name] for name in ("format", "length", "padded", "streaming", "tolerance")}
    with as_user_errors():
        check_choice("format", config.format, [*ENDINGS, "safetensors"])
        check_arguments(**choices)
    run = run_folder(settings["name"])
    name = "step" if config.streaming else "model"
    file = file_to_write(settings["to"], run, name + ENDINGS[config.format])
    model = load_run(run, settings["checkpoint"], tuple(listed(settings["trusted"])))
    if writes_long_loop(model.layer, config.length):
        remedy = "; without length= the file has a loop, for any length" if config.format == "onnx" else ""
        print(
            f"the loop over length={config.length} steps is unrolled, which can take minutes{remedy}", file=sys.stderr
        )
    export = export_model(model, **choices)
    write_whole(file, export.content)
    largest = ", ".join(f"{difference:.1e} (batch {batch})" for batch, difference in export.differences.items())
    print(f"wrote    {file} ({len(export.content) / 1e3:,.0f} kB)")
    for title, ports in [("inputs", export.inputs), ("outputs", export.outputs)]:
        for port in ports:
            print(f"{title:<9}{port}")
            title = ""
    print(f"checked  up to length {export.steps}; largest difference, relative to the largest answer: {largest}")


def share(settings: dict[str, Any]) -> None:
    """Write the weights alone, with the config beside them: a folder from which `load_run` makes the model again."""
    from seqmodels.restore import save_weights

    for name in ("length", "padded", "streaming"):
        if settings[name]:
            raise UserError(f"format=safetensors holds weights and no program: leave out {name}={settings[name]}")
    run = run_folder(settings["name"])
    folder = run / "shared" if settings["to"] is None else Path(str(settings["to"]))
    file = save_weights(run, folder, settings["checkpoint"], tuple(listed(settings["trusted"])))
    print(f"wrote    {file}, and config.yaml beside it; seqmodels.load_run({str(folder)!r}) returns the model")


def run_folder(named: Any) -> Path:
    """The one folder that was named."""
    names = listed(named)
    if len(names) != 1:
        given = " and ".join(names) or "none"
        raise UserError(f"export needs one run folder, as in seqmodels export outputs/TASK/MODEL/TIME, got {given}")
    return Path(names[0])


def listed(words: Any) -> list[str]:
    """Words as a list, which may have come as a single one, or as none."""
    return [] if words is None else [str(word) for word in (words if isinstance(words, list) else [words])]


def file_to_write(to: object, run: Path, name: str) -> Path:
    """The file `to`, or one of this name in the folder `to` or in the run folder."""
    place = run if to is None else Path(str(to))
    file = place / name if to is None or place.is_dir() else place
    ending = Path(name).suffix
    if to is not None and (file.suffix != ending or not file.parent.is_dir()):
        raise UserError(f"to={to} should be an existing folder, or a file ending in {ending} in an existing folder")
    return file


def writes_long_loop(layer: object, length: int | None) -> bool:
    """Whether an export unrolls so many steps that the user should know."""
    from seqmodels.layers import RecurrentLayer
    from seqmodels.layers.blocks import mixers_in
    from seqmodels.layers.cell import Cell

    mixer = mixers_in(layer)[0]
    return isinstance(mixer, RecurrentLayer) and type(mixer).scan is Cell.scan and (length or 0) > 100
