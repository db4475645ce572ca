"""What is written about a comparison: tables for people, papers and programs, and pictures."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from seqmodels.experiments.comparisons.comparison import Comparison
from seqmodels.experiments.comparisons.names import short_names
from seqmodels.experiments.comparisons.scores import FACTS, records
from seqmodels.files import write_whole
from seqmodels.report.comparisons import pictures
from seqmodels.report.folder import write_picture
from seqmodels.report.tables import latex_table, markdown_table, significant, with_interval
from seqmodels.untrusted.reading import without_markup


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the tables and pictures of a comparison into a folder.

    runs.csv (a row for each run), comparison.csv (a row for each group), comparison.md, comparison.tex, heatmap.png,
    intervals.png, curves.png and, for tasks that are tested at several lengths, lengths.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = comparison.pairs.drop(columns="label").rename(columns={"low": "difference_low", "high": "difference_high"})
    groups = comparison.groups.merge(pairs, on=comparison.by, how="left") if len(pairs) else comparison.groups
    for name, table in {"runs.csv": comparison.runs, "comparison.csv": groups}.items():
        write_whole(folder / name, table.to_csv(index=False, lineterminator="\n").encode())
    write_whole(folder / "comparison.md", markdown(comparison).encode())
    write_whole(folder / "comparison.tex", latex_table(*header_and_rows(comparison), comparison.title).encode())
    for name, figure in drawn(comparison).items():
        write_picture(figure, folder / f"{name}.png")


def drawn(comparison: Comparison) -> dict[str, Figure]:
    """The pictures of a comparison by their names."""
    tables = comparison.runs, comparison.groups, comparison.curves, comparison.lengths
    return pictures(*tables, comparison.pooled, comparison.score)


def markdown(comparison: Comparison) -> str:
    """The table and the warnings as Markdown."""
    header, rows = header_and_rows(comparison)
    table = markdown_table(
        [without_markup(name) for name in header], [[without_markup(cell) for cell in row] for row in rows]
    )
    lines = [without_markup(comparison.title), "", table, ""]
    lines += [f"- {without_markup(warning)}" for warning in comparison.warnings]
    return "\n".join(lines).rstrip() + "\n"


def header_and_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table of a comparison as strings: a header, and a row for each group."""
    groups, pairs = comparison.groups, comparison.pairs
    partners = {tuple(row[name] for name in comparison.by): row for row in records(pairs)}
    short = short_names([name for name in comparison.by if name not in FACTS])
    rows = []
    for row in records(groups):
        cells = {short.get(name, name): row[name] for name in comparison.by}
        if not comparison.pooled:
            cells["metric"] = row["metric"]
        cells["mean [95 %]"] = with_interval(row["mean"], row["low"], row["high"])
        cells["seeds"] = str(row["seeds"])
        share = f"[{row['solved_low']:.2f}, {row['solved_high']:.2f}]"
        cells["solved [95 %]"] = f"{row['solved']} of {row['runs']} {share}"
        if groups["diverged"].any():
            cells["diverged"] = str(row["diverged"] or "")
        cells["parameters"] = "" if pd.isna(row["parameters"]) else f"{row['parameters']:.0f}"
        if len(pairs):
            cells |= pair_cells(partners.get(tuple(row[name] for name in comparison.by)))
        rows.append(cells)
    return list(rows[0]), [list(cells.values()) for cells in rows]


def pair_cells(pair: dict[str, Any] | None) -> dict[str, str]:
    """The difference from the baseline, its corrected p-value, the verdict, and the seeds needed for one."""
    cells = {"difference [95 %]": "", "p": "", "verdict": "baseline", "seeds needed": ""}
    if pair is None:
        return cells
    cells["verdict"] = pair["verdict"]
    if pair["pairs"]:
        cells["difference [95 %]"] = with_interval(pair["difference"], pair["low"], pair["high"], sign="+")
        cells["p"] = significant(pair["p_holm"], 2)
    if pair["verdict"] == "undecided" and not math.isnan(pair["seeds_needed"]):
        needed = pair["seeds_needed"]
        cells["seeds needed"] = f"about {needed:.0f}" if needed <= 1000 else "over 1000"
    return cells
