"""The tables and the picture of a benchmark of layers."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from seqmodels.report.tables import counted, markdown_table


def line_of(row: dict[str, Any]) -> str:
    """One measurement, as it is printed while the benchmark runs."""
    size = ", ".join(str(row[name]) for name in ("time", "batch", "input", "hidden", "layers"))
    has_jax = not math.isnan(row.get("jax_ms", math.nan))
    of_jax = f", JAX {row['jax_ms']:.2f} ms, {row['jax_ratio']:.2f}x" if has_jax else ""
    return (
        f"{row['layer']:<12} {counted(row['threads'], 'thread')} ({size}) {row['mode']}: {row['ours_ms']:.2f} ms, "
        f"{row['reference']} {row['reference_ms']:.2f} ms, {row['ratio']:.2f}x" + of_jax
    )


def summary_table(table: pd.DataFrame) -> Table:
    view = Table(title="speed relative to the reference, over all sizes")
    headings = {
        "ratio": "geometric mean",
        "worst": "worst",
        "share_of_products": "share of bare products",
        "memory": "memory, median",
        "jax_ratio": "JAX / ours",
    }
    rows = summary(table)
    shown = [name for name in headings if name in rows]
    for heading in ("layer", "threads", "mode", *(headings[name] for name in shown)):
        view.add_column(heading)
    for row in rows.to_dict("records"):
        ratios = [two_digits(row[name]) for name in shown]
        view.add_row(*(str(row[name]) for name in ("layer", "threads", "mode")), *ratios)
    return view


def markdown(table: pd.DataFrame) -> str:
    """The ratios as a Markdown table: a row for each size, then the geometric mean and the worst of them.

    Where JAX was timed, its times relative to ours stand in columns of their own.
    """
    sizes = table[["time", "batch", "input", "hidden", "layers"]].astype(str).agg(", ".join, axis=1)
    columns = table["layer"] + " " + table["mode"] + ", " + table["threads"].astype(str)
    long = table.assign(size=sizes, column=columns)
    if "jax_ratio" in table:
        of_jax = long.assign(column=columns + ", JAX", ratio=table["jax_ratio"]).dropna(subset=["ratio"])
        long = pd.concat([long, of_jax])
    ratios = long.pivot(index="size", columns="column", values="ratio")
    ratios = ratios.loc[list(dict.fromkeys(sizes)), list(dict.fromkeys(long["column"]))]
    means = ratios.agg(geometric_mean).to_frame("geometric mean").T
    ratios = pd.concat([ratios, means, ratios.min().to_frame("worst").T])
    rows = [[str(size), *(two_digits(value) for value in row)] for size, row in ratios.T.items()]
    return markdown_table(["time, batch, input, hidden, layers", *ratios.columns], rows) + "\n"


def plot(table: pd.DataFrame, file: Path) -> None:
    """The ratio against the work of a pass, for training and inference."""
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, mode in zip(picture.subplots(1, 2, sharey=True), ("train", "infer"), strict=True):
        chosen = table[table["mode"] == mode]
        for color, layer in enumerate(dict.fromkeys(chosen["layer"])):
            of_layer = chosen[chosen["layer"] == layer].sort_values("gflops")
            for style, threads in zip(("-", ":", "--", "-."), sorted(set(of_layer["threads"])), strict=False):
                points = of_layer[of_layer["threads"] == threads]
                label = f"{layer}, {counted(threads, 'thread')}"
                axes.plot(points["gflops"], points["ratio"], "o" + style, color=f"C{color}", markersize=4, label=label)
        axes.axhline(1, color="gray", linewidth=1)
        axes.set(xscale="log", title=mode, xlabel="GFLOP of a pass", ylim=(0, None))
    picture.axes[0].set_ylabel("times as fast as the reference")
    picture.axes[1].legend(fontsize="small")
    picture.savefig(file, dpi=120)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The geometric mean and the worst of the ratios, over the sizes."""
    groups = table.groupby(["layer", "threads", "mode"], sort=False)
    ratios = [name for name in ("ratio", "share_of_products", "jax_ratio") if name in table]
    means = groups[ratios].agg(geometric_mean)
    memory = (table["ours_mb"] / table["reference_mb"]).groupby([table["layer"], table["threads"], table["mode"]])
    return means.assign(worst=groups["ratio"].min(), memory=memory.median()).reset_index()


def geometric_mean(values: pd.Series) -> float:
    """That of the numbers among the values; NaN if there is none."""
    return math.exp(values.dropna().map(math.log).mean())


def two_digits(value: float) -> str:
    """A ratio as it is shown; empty if it was not measured."""
    return "" if math.isnan(value) else f"{value:.2f}"
