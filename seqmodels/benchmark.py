"""Speed: layers against the references they name, in one process, interleaved.

    python -m seqmodels.benchmark
    python -m seqmodels.benchmark layers=[manual_gru] sizes=[[100,64,32,128,2]] threads=[1] dtype=float64 device=cuda

For each size ours and the reference get equal weights and inputs, and their outputs and gradients are compared before
anything is timed. Training is a forward pass and a backward pass from a fixed gradient of the outputs, to inputs and
parameters; inference is a forward pass in inference mode. A third arm takes the bare matrix products of the same shapes
with `torch.mm`, one for each step where steps depend on each other: the time of a layer that does nothing else.
A table goes to the screen; benchmark.csv, benchmark.md and benchmark.png into the folder of the run.
"""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What torch's memory profiler says of itself.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import pandas as pd
import torch
from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from seqmodels.checks import check_whole
from seqmodels.config import CONF, UserError, command, instantiate, nearest, target_of

Arm = Callable[[], object]
TOLERANCES = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 0.1, "float16": 0.1}
"""Largest difference from the reference, relative to the largest entry, at which timing makes sense."""


def main_table(config: DictConfig, console: Console) -> pd.DataFrame:
    """A row for each layer, size, number of threads and mode."""
    rows = []
    for threads in config.threads if config.device == "cpu" else [torch.get_num_threads()]:
        with using_threads(threads):
            for name in config.layers:
                for size in config.sizes:
                    rows += [{"layer": name, "threads": threads} | row for row in measure(config, name, size)]
                    console.print(line_of(rows[-2]), line_of(rows[-1]), sep="\n", soft_wrap=True)
    return pd.DataFrame(rows)


def measure(config: DictConfig, name: str, size: Any) -> Iterator[dict[str, Any]]:
    """Training and inference of one layer at one size: milliseconds, and megabytes at the peak."""
    steps, batch, features, hidden, layers = size
    options = {"input_size": features, "hidden_size": hidden, "num_layers": layers}
    options |= {"dtype": getattr(torch, config.dtype), "device": config.device}
    torch.manual_seed(config.seed)
    ours = build(config, name, options)
    reference = ours.reference(**options)
    reference.load_state_dict(ours.state_dict())
    inputs = torch.randn(steps, batch, features, dtype=options["dtype"], device=config.device)
    gradient = torch.randn_like(reference(inputs)[0])
    check_equal(config, name, size, results(ours, inputs, gradient), results(reference, inputs, gradient))
    modes = {
        "train": ([training(layer, inputs, gradient) for layer in (ours, reference)], 3),
        "infer": ([inference(layer, inputs) for layer in (ours, reference)], 1),
    }
    gates = len(ours.weight_hh_l0) // hidden
    for mode, (arms, passes) in modes.items():
        products = bare_products(size, gates, passes == 3, inputs)
        seconds = interleaved([*arms, products], config.rounds, config.device)
        memory = [peak_memory(arm, config.device) for arm in arms]
        yield {
            "mode": mode,
            "reference": f"nn.{ours.reference.__name__}",
            "time": steps,
            "batch": batch,
            "input": features,
            "hidden": hidden,
            "layers": layers,
            "dtype": config.dtype,
            "device": config.device,
            "backend": config.backend,
            "ours_ms": seconds[0] * 1e3,
            "reference_ms": seconds[1] * 1e3,
            "products_ms": seconds[2] * 1e3,
            "ratio": seconds[1] / seconds[0],
            "share_of_products": seconds[2] / seconds[0],
            "ours_mb": memory[0],
            "reference_mb": memory[1],
            "gflops": passes * 2e-9 * steps * batch * gates * hidden * (features + (2 * layers - 1) * hidden),
        }


def build(config: DictConfig, name: str, options: dict[str, Any]) -> Any:
    """The layer of conf/model/<name>.yaml, at the size of `options`."""
    described: Any = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    if getattr(target_of(described, "layers"), "reference", None) is None:
        raise UserError(f"layers should name layers with a reference to be timed against, and {name} has none")
    only = {key: described[key] for key in ("_target_", "nonlinearity") if key in described}
    dtype, device = options["dtype"], options["device"]
    sizes = {key: value for key, value in options.items() if key not in ("dtype", "device", "input_size")}
    described = OmegaConf.create(only | sizes | {"backend": config.backend})
    return instantiate(described, "layers", input_size=options["input_size"], dtype=dtype, device=device)


def training(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> Arm:
    inputs = inputs.clone().requires_grad_()

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
        layer(inputs)[0].backward(gradient)

    return step


def inference(layer: nn.Module, inputs: Tensor) -> Arm:
    return torch.inference_mode()(lambda: layer(inputs))


def bare_products(size: Any, gates: int, train: bool, like: Tensor) -> Arm:
    """The matrix products of a pass, and nothing else."""
    steps, batch, features, hidden, layers = size
    rows = gates * hidden
    weight = like.new_ones(rows, hidden) / hidden
    state, sums = like.new_ones(batch, hidden), like.new_ones(batch, rows)
    all_states, all_sums = like.new_ones(steps * batch, hidden), like.new_ones(steps * batch, rows)
    inputs = [like.new_ones(steps * batch, width) for width in [features] + [hidden] * (layers - 1)]
    weights = [like.new_ones(rows, part.size(1)) for part in inputs]
    d_inputs = [torch.empty_like(part) for part in inputs]
    d_weights = [torch.empty_like(part) for part in weights]
    d_weight = torch.empty_like(weight)

    @torch.inference_mode()
    def products() -> None:
        for sequence, weight_ih, d_sequence, d_weight_ih in zip(inputs, weights, d_inputs, d_weights, strict=True):
            torch.mm(sequence, weight_ih.t(), out=all_sums)
            for _ in range(steps):
                torch.mm(state, weight.t(), out=sums)
            if train:
                for _ in range(steps):
                    torch.mm(sums, weight, out=state)
                torch.mm(all_sums.t(), all_states, out=d_weight)
                torch.mm(all_sums.t(), sequence, out=d_weight_ih)
                torch.mm(all_sums, weight_ih, out=d_sequence)

    return products


def results(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> list[Tensor]:
    inputs = inputs.clone().requires_grad_()
    output, _ = layer(inputs)
    return [output, *torch.autograd.grad(output, [inputs, *layer.parameters()], gradient)]


def check_equal(config: DictConfig, name: str, size: Any, found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        if not error <= TOLERANCES[config.dtype]:
            raise UserError(f"{name} differs from its reference at {list(size)} by {error:.1e}: nothing was timed")


def interleaved(arms: list[Arm], rounds: int, device: str) -> list[float]:
    """The median seconds of each arm, the arms taking turns; short ones are repeated within their turn."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    def seconds(arm: Arm, repeats: int = 1) -> float:
        synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            arm()
        synchronize()
        return (time.perf_counter() - started) / repeats

    for _ in range(2):
        once = [seconds(arm) for arm in arms]
    repeats = [max(1, round(0.01 / each)) for each in once]
    turns = [[seconds(arm, many) for arm, many in zip(arms, repeats, strict=True)] for _ in range(rounds)]
    return [statistics.median(turn) for turn in zip(*turns, strict=True)]


def peak_memory(arm: Arm, device: str) -> float:
    """Megabytes that an arm has at most at once, beyond what was there before."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        arm()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
    now = most = 0
    for change in changes:
        now += change.nbytes()
        most = max(most, now)
    return most / 2**20


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def line_of(row: dict[str, Any]) -> str:
    size = ", ".join(str(row[name]) for name in ("time", "batch", "input", "hidden", "layers"))
    return (
        f"{row['layer']:<12} {row['threads']} threads ({size}) {row['mode']}: {row['ours_ms']:.2f} ms, "
        f"{row['reference']} {row['reference_ms']:.2f} ms, {row['ratio']:.2f}x"
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Geometric mean and worst ratio over the sizes."""
    groups = table.groupby(["layer", "threads", "mode"], sort=False)
    means = groups[["ratio", "share_of_products"]].agg(geometric_mean)
    memory = (table["ours_mb"] / table["reference_mb"]).groupby([table["layer"], table["threads"], table["mode"]])
    return means.assign(worst=groups["ratio"].min(), memory=memory.median()).reset_index()


def geometric_mean(values: pd.Series) -> float:
    return math.exp(values.map(math.log).mean())


def show(table: pd.DataFrame, console: Console) -> None:
    view = Table(title="times faster than the reference, over all sizes")
    for heading in ("layer", "threads", "mode", "geometric mean", "worst", "share of bare products", "memory, median"):
        view.add_column(heading)
    for row in summary(table).to_dict("records"):
        ratios = [f"{row[name]:.2f}" for name in ("ratio", "worst", "share_of_products", "memory")]
        view.add_row(*(str(row[name]) for name in ("layer", "threads", "mode")), *ratios)
    console.print(view)


def markdown(table: pd.DataFrame) -> str:
    """Ratios as a table for a README: a row for each size, and the geometric mean and the worst of all."""
    sizes = table[["time", "batch", "input", "hidden", "layers"]].astype(str).agg(", ".join, axis=1)
    columns = table["layer"] + " " + table["mode"] + ", " + table["threads"].astype(str)
    ratios = table.assign(size=sizes, column=columns).pivot(index="size", columns="column", values="ratio")
    ratios = ratios.loc[list(dict.fromkeys(sizes)), list(dict.fromkeys(columns))]
    ratios = pd.concat(
        [ratios, ratios.agg(geometric_mean).to_frame("geometric mean").T, ratios.min().to_frame("worst").T]
    )
    rows = [["time, batch, input, hidden, layers", *ratios.columns], ["---"] * (len(ratios.columns) + 1)]
    rows += [
        [str(size), *(f"{value:.2f}" for value in row)]
        for size, row in zip(ratios.index, ratios.to_numpy(), strict=True)
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def plot(table: pd.DataFrame, file: Path) -> None:
    """Ratio against the work of a pass, for training and inference."""
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, mode in zip(picture.subplots(1, 2, sharey=True), ("train", "infer"), strict=True):
        chosen = table[table["mode"] == mode]
        for color, layer in enumerate(dict.fromkeys(chosen["layer"])):
            of_layer = chosen[chosen["layer"] == layer].sort_values("gflops")
            for style, threads in zip(("-", ":", "--", "-."), sorted(set(of_layer["threads"])), strict=False):
                points = of_layer[of_layer["threads"] == threads]
                label = f"{layer}, {threads} thread{'' if threads == 1 else 's'}"
                axes.plot(points["gflops"], points["ratio"], "o" + style, color=f"C{color}", markersize=4, label=label)
        axes.axhline(1, color="gray", linewidth=1)
        axes.set(xscale="log", title=mode, xlabel="GFLOP of a pass", ylim=(0, None))
    picture.axes[0].set_ylabel("times faster than torch.nn")
    picture.axes[1].legend(fontsize="small")
    picture.savefig(file, dpi=120)


def check(config: DictConfig) -> None:
    try:
        check_whole("rounds", config.rounds, 1)
        for name in ("layers", "sizes", "threads"):
            if not isinstance(config[name], ListConfig) or not config[name]:
                raise ValueError(f"{name} should be a list of at least one, got {config[name]!r}")
        for threads in config.threads:
            check_whole("threads", threads, 1)
        for size in config.sizes:
            if len(size) != 5:
                raise ValueError(f"sizes should be rows [time, batch, input, hidden, layers], got {list(size)}")
            for number in size:
                check_whole("sizes", number, 1)
        names = [file.stem for file in (CONF / "model").glob("*.yaml")]
        for name in config.layers:
            if name not in names:
                raise ValueError(f"layers should name files of conf/model, got {name!r}{nearest(str(name), names)}")
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    if config.dtype not in TOLERANCES:
        raise UserError(f"dtype should be one of {', '.join(TOLERANCES)}, got {config.dtype!r}")
    if config.device not in ("cpu", "cuda") or (config.device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"device should be cpu, or cuda where there is one, got {config.device!r}")


@command("benchmark")
def main(config: DictConfig, folder: Path) -> None:
    check(config)
    console = Console()
    table = main_table(config, console)
    show(table, console)
    table.to_csv(folder / "benchmark.csv", index=False, float_format="%.5g")
    (folder / "benchmark.md").write_text(markdown(table))
    plot(table, folder / "benchmark.png")
    console.print(f"Results are in [bold]{folder}[/bold]", soft_wrap=True)


if __name__ == "__main__":
    main()
