"""Pictures of the lens: hidden states, their principal components, gradients, eigenvalues and saturation."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from seqmodels.lens import Known, Lens
from seqmodels.report.sheet import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, SKY, add_legend

CATEGORIES = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY, "#8C564B"]
"""The colours of up to eight values; more values are coloured by a colour map."""
PANELS = 6
"""The most matrices whose eigenvalues are drawn."""
POINTS = 900
"""The most states that are drawn as points."""
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def draw_states(figure: Figure, lens: Lens) -> None:
    """The outputs of a few sequences over time, a row for each unit, in the same order for all."""
    states = lens.states.double().numpy()
    order = np.argsort(lens.states.double().numpy().mean(axis=(0, 1)), kind="stable")
    most = float(np.abs(states).max()) or 1.0
    grid = figure.subplots(1, len(states), sharey=True, squeeze=False)[0]
    for number, (axes, sequence) in enumerate(zip(grid, states, strict=True)):
        image = axes.imshow(
            sequence[:, order].T, aspect="auto", interpolation="none", cmap="RdBu_r", vmin=-most, vmax=most,
            extent=(-0.5, len(sequence) - 0.5, len(order) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title(f"sequence {number + 1}", fontsize="medium")
        axes.set(xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    grid[0].set_ylabel("unit, sorted by mean")
    figure.colorbar(image, ax=list(grid), pad=0.02, shrink=0.9)


def draw_components(figure: Figure, lens: Lens) -> None:
    """The states of many sequences in the plane of their first two principal components, coloured by what is known."""
    places, values = lens.components.places.numpy().reshape(-1, 2), lens.known.values.numpy().flatten()
    chosen = np.linspace(0, len(places) - 1, min(len(places), POINTS)).astype(int)
    places, values = places[chosen], values[chosen]
    axes: Axes = figure.subplots()
    known = ~np.isnan(values)
    if not known.all():
        axes.plot(*places[~known].T, ".", color=GRAY, alpha=0.35, markersize=3, markeredgewidth=0)
    kinds = np.unique(values[known])
    if len(kinds) <= len(CATEGORIES) and np.all(kinds == np.round(kinds)):
        for kind, color, marker in zip(kinds, CATEGORIES, MARKERS, strict=False):
            axes.plot(
                *places[values == kind].T, marker, linestyle="", color=color, alpha=0.75, markersize=3.5,
                markeredgewidth=0, label=name_of(lens.known, kind),
            )  # fmt: skip
        add_legend(figure, columns=len(kinds) if len(kinds) < 7 else 4)
    elif known.any():
        colors = axes.scatter(places[known, 0], places[known, 1], c=values[known], s=9, cmap="viridis", linewidths=0)
        whole = np.all(kinds == np.round(kinds))
        figure.colorbar(colors, ax=axes, pad=0.02, ticks=MaxNLocator(6, integer=True) if whole else None)
    for share, name, label in zip(lens.components.shares, "xy", ("first", "second"), strict=True):
        axes.set(**{f"{name}label": f"{label} component, {share:.0%} of the variance"})
    axes.locator_params(nbins=5)


def name_of(known: Known, kind: float) -> str:
    """The name of a value of what is known."""
    if known.names is not None and 0 <= kind < len(known.names):
        return known.names[int(kind)].replace("$", r"\$")
    return f"{kind:.0f}"


def draw_gradients(figure: Figure, lens: Lens) -> None:
    """The norm of the gradient against distance in time: the median over sequences, and a band with 80 % of them."""
    axes: Axes = figure.subplots()
    norms = lens.gradients.double().numpy()
    norms = norms[:, ~np.isnan(norms).all(axis=0)]
    distances = np.arange(norms.shape[1])
    low, middle, high = np.nanquantile(norms, [0.1, 0.5, 0.9], axis=0) if norms.size else np.empty((3, 0))
    seen = middle > 0
    axes.fill_between(distances, np.where(low > 0, low, np.nan), high, where=seen, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(distances[seen], middle[seen], color=BLUE, marker="." if seen.sum() < 40 else "")
    if seen.any():
        axes.set_yscale("log")
    if not seen.all():
        axes.axvspan(float(np.argmin(seen)) - 0.5, len(seen) - 0.5, color=GRAY, alpha=0.2, linewidth=0)
        axes.annotate("exactly 0", (float(np.argmin(seen)), 0.95), xycoords=("data", "axes fraction"), va="top")
    axes.set(xlabel="distance in steps before the answer", ylabel="norm of the gradient")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def draw_eigenvalues(figure: Figure, lens: Lens) -> None:
    """The eigenvalues of the recurrent weights, a matrix in each panel, and the unit circle."""
    shown = lens.spectra[:PANELS]
    columns = 1 if len(shown) == 1 else 2
    rows = math.ceil(len(shown) / columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    turn = np.linspace(0, 2 * math.pi, 200)
    for axes, spectrum in zip(grid.flat, shown, strict=False):
        values = spectrum.values.numpy()
        axes.plot(np.cos(turn), np.sin(turn), color=GRAY, linewidth=1)
        axes.plot(values.real, values.imag, "o", color=BLUE, alpha=0.75, markersize=3, markeredgewidth=0)
        where, _, gate = spectrum.name.partition(", ")
        largest = f"{gate or where}: up to {np.abs(values).max():.2f}"
        axes.set_title(f"{where}\n{largest}" if gate else largest, fontsize="small", parse_math=False)
        axes.set_aspect("equal", adjustable="box")
        axes.locator_params(nbins=5)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel("real part", fontsize="medium")
    figure.supylabel("imaginary part", fontsize="medium")


def draw_saturation(figure: Figure, lens: Lens) -> None:
    """The share of saturated values of each gate and unit, as bars: lower end, between, upper end."""
    axes: Axes = figure.subplots()
    rows = lens.saturation[:16]
    places = np.arange(len(rows))
    lows = np.array([row.low for row in rows])
    highs = np.array([row.high or 0.0 for row in rows])
    axes.barh(places, lows, color=BLUE, height=0.62)
    axes.barh(places, highs, left=1 - highs, color=ORANGE, height=0.62)
    axes.barh(places, 1 - lows - highs, left=lows, color=GRAY, alpha=0.18, height=0.62)
    axes.set_yticks(places, [row.name for row in rows], parse_math=False)
    axes.set(xlim=(0, 1), xlabel="share of units and steps")
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    marks = [(BLUE, "lower end"), (ORANGE, "upper end")]
    lines = [Line2D([], [], color=color, linewidth=6, label=label) for color, label in marks]
    add_legend(figure, extra=lines)
