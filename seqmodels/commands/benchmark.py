"""`seqmodels benchmark`: time layers against the references they name, their loops, or another layer.

Where JAX is installed (the extra `jax`), RNN, GRU and LSTM are also timed as its users write them, by `jax.lax.scan`
under `jax.jit` (speed/jax_rival.py): `jax_ms`, and `jax_ratio`, JAX's time relative to ours. All of them then have no
more CPUs than threads.

A table goes to the screen; benchmark.csv, benchmark.md and benchmark.png go into the folder of the run.
"""

from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.console import Console

from seqmodels.checks import UserError, as_user_errors, check_choice, check_seed, check_whole
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import CONF, compose, layer_of

EXAMPLES = {"layers": "[manual_gru]", "sizes": "[[50,32,8,64,1]]", "threads": "[1]"}


@command("benchmark")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        import pandas as pd
        import torch

        from seqmodels.report.speed import line_of, markdown, plot, summary_table
        from seqmodels.speed.benchmark import Conditions, measure, using_threads
        from seqmodels.speed.jax_rival import on_cpus

    check(config)
    layers = {name: layer_named(name, config.backend) for name in config.layers}
    against = None if config.against is None else sizes_left_out(config.against)
    conditions = Conditions(config.backend, config.dtype, config.device, config.rounds, config.seed, with_jax(config))
    console, rows = Console(), []
    for threads in config.threads if config.device == "cpu" else [torch.get_num_threads()]:
        with using_threads(threads), on_cpus(threads) if conditions.jax else nullcontext():
            for name, layer in layers.items():
                for size in config.sizes:
                    rows += [
                        row | {"threads": threads} for row in measure(name, layer, tuple(size), conditions, against)
                    ]
                    console.print(line_of(rows[-2]), line_of(rows[-1]), sep="\n", soft_wrap=True)
    table = pd.DataFrame(rows)
    console.print(summary_table(table))
    table.to_csv(folder / "benchmark.csv", index=False, float_format="%.5g")
    (folder / "benchmark.md").write_text(markdown(table), encoding="utf-8")
    plot(table, folder / "benchmark.png")
    console.print(f"Results are in [bold]{folder}[/bold]", soft_wrap=True)


def layer_named(name: str, backend: str) -> partial:
    """The layer to be timed.

    Raises:
        UserError: it has no reference, and computes one step after the other itself.
    """
    from seqmodels.layers import RecurrentLayer

    layer = sizes_left_out(name)
    made: Any = layer.func
    timed = issubclass(made, RecurrentLayer) and (
        made.reference is not None or made.scan is not RecurrentLayer.scan or backend == "compiled"
    )
    if not timed:
        raise UserError(
            f"layers should name layers with a reference, or with a scan to compare with their loop, got {name}, "
            "which has neither"
        )
    return layer


def sizes_left_out(name: str) -> partial:
    """The layer of conf/model/<name>.yaml without its sizes, which are those of the benchmark, and with time first."""
    layer = layer_of(compose(f"model={name}").model)
    left_out = ("hidden_size", "num_layers", "batch_first", "backend")
    return partial(layer.func, **{key: value for key, value in layer.keywords.items() if key not in left_out})


def with_jax(config: DictConfig) -> bool:
    """Whether to time JAX, too.

    Raises:
        UserError: it is wanted but not installed, or not on the CPU in single or double precision.
    """
    wanted, possible = str(config.jax).lower(), config.device == "cpu" and config.dtype in ("float32", "float64")
    if wanted == "true" and not possible:
        raise UserError(
            f"jax=true is for device=cpu with dtype=float32 or float64, got {config.device} and {config.dtype}"
        )
    installed = find_spec("jax") is not None
    if wanted == "true" and not installed:
        raise UserError("jax=true needs a package that is not installed: pip install 'seqmodels[jax]'")
    return wanted != "false" and possible and installed


def check(config: DictConfig) -> None:
    """Refuse wrong values of the settings."""
    import torch

    from seqmodels.speed.benchmark import TOLERANCES

    with as_user_errors():
        check_seed(config.seed)
        check_whole("rounds", config.rounds, 1)
        for name in ("layers", "sizes", "threads"):
            if not isinstance(config[name], ListConfig) or not config[name]:
                raise ValueError(f"{name} should be a list, such as {name}={EXAMPLES[name]}, got {config[name]!r}")
        for threads in config.threads:
            check_whole("threads", threads, 1)
        for size in config.sizes:
            if not isinstance(size, ListConfig) or len(size) != 5:
                raise ValueError(f"sizes should be rows [time, batch, input, hidden, layers], got {size!r}")
            for number in size:
                check_whole("sizes", number, 1)
        names = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
        for name in config.layers:
            check_choice("layers", name, names)
        if config.against is not None:
            check_choice("against", config.against, names)
        check_choice("dtype", config.dtype, TOLERANCES)
        check_choice("jax", str(config.jax).lower(), ["auto", "true", "false"])
        check_choice("backend", config.backend, ["auto", "autograd", "bptt", "compiled"])
    if config.device not in ("cpu", "cuda") or (config.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"device should be 'cpu' or, on a machine with a GPU, 'cuda', got {config.device!r}")
