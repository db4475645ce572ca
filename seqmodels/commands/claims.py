"""`seqmodels claims`: repeat published experiments, and judge which claims hold."""

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from seqmodels.checks import UserError, as_user_errors, check_flag, check_whole, nearest
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of
from seqmodels.config.experiment import config_folders
from seqmodels.files import write_whole
from seqmodels.stops import Stopped

if TYPE_CHECKING:
    from seqmodels.experiments.claims import Claim


@command("claims", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        import pandas as pd

        from seqmodels.experiments.claims import markdown, read_claims, table_of
        from seqmodels.experiments.sweeps.jobs import do_missing
        from seqmodels.experiments.sweeps.progress import console_of_sweep
        from seqmodels.experiments.sweeps.sweep import (
            Composer,
            Sweep,
            placed,
            refuse_if_all_failed,
            report_failures,
            share_cores,
        )

    settings = arguments_of(config)
    check(settings)
    claims = chosen(settings["name"], read_claims(config_folders()))
    if settings["seeds"] is not None:
        claims = [replace(claim, seeds=settings["seeds"]) for claim in claims]
    console = console_of_sweep()
    root = Path(settings["folder"])
    if settings["list"]:
        for claim in claims:
            console.print(f"[bold]{claim.name}[/bold]: {escape(claim.sentence)}", soft_wrap=True)
            runs = len(claim.arms) * len(claim.seeds)
            text = f"  {escape(claim.source)}; {runs} runs of at most {claim.minutes:g} minutes each"
            console.print(text, soft_wrap=True)
        return

    if settings["table"] and not root.is_dir():
        raise UserError(f"expected the runs of claims in {root}, found no such folder")
    started = time.perf_counter()
    composer = Composer()
    runs_of = {claim.name: claim.runs(composer, settings["overrides"]) for claim in claims}
    every = [run for by_arm in runs_of.values() for runs in by_arm.values() for run in runs]
    refuse_if_all_failed(every)
    jobs = share_cores(settings["jobs"], every)
    command = f"seqmodels claims {shlex.join(sys.argv[1:])}"
    sweep = Sweep(root.absolute(), command, placed(every, root))
    if not settings["table"]:
        try:
            do_missing(sweep, jobs, console)
        except Stopped as stop:
            stop.message += f"; the same command continues the runs in {root}"
            raise
    tables = [table_of(claim, runs_of[claim.name]) for claim in claims]
    rows = [row for table, _ in tables for row in table]
    bad = [error for _, left_out in tables for error in left_out]
    if settings["table"]:
        for error in bad:
            print(f"left out: {error}", file=sys.stderr)
    if bad and not any(row["runs"] or row["diverged"] for row in rows):
        raise UserError(f"none of the {len(bad)} results in {root} can be judged")
    root.mkdir(parents=True, exist_ok=True)
    write_whole(root / "claims.md", markdown(claims, rows).encode())
    write_whole(root / "claims.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())
    if settings["markdown"]:
        print(markdown(claims, rows), end="")
    else:
        console.print(screen_table(rows))
        minutes = (time.perf_counter() - started) / 60
        console.print(f"{minutes:.1f} minutes; results are in [bold]{escape(str(root))}[/bold]", soft_wrap=True)
    report_failures(sweep)


def check(settings: dict[str, Any]) -> None:
    """Refuse wrong values of the settings."""
    with as_user_errors():
        for name in ("list", "table", "markdown"):
            check_flag(name, settings[name])
        if settings["seeds"] == []:
            raise ValueError("seeds should be a list with at least one seed, got []")
        if settings["jobs"] is not None:  # share_cores checks it again, but only after everything is composed
            check_whole("jobs", settings["jobs"], 1)
        for name in ("seeds", "overrides"):
            if not isinstance(settings[name], list | None):
                raise TypeError(f"{name} should be a list, got {settings[name]!r}")
        for seed in settings["seeds"] or []:
            check_whole("seeds", seed, 0)
        if len(set(settings["seeds"] or [])) < len(settings["seeds"] or []):
            raise ValueError(f"seeds should differ, got {settings['seeds']}")


def chosen(names: Any, claims: "dict[str, Claim]") -> "list[Claim]":
    """The named claims, or all of them if none is named."""
    names = [names] if isinstance(names, str) else names
    for name in names or []:
        if name not in claims:
            raise UserError(f"there is no claim {name}{nearest(str(name), claims)} (one of: {', '.join(claims)})")
    return [claim for claim in claims.values() if not names or claim.name in names]


def screen_table(rows: list[dict[str, Any]]) -> Table:
    """The table for the screen, with a line below the last arm of each claim."""
    from seqmodels.experiments.claims import COLUMNS, cells_of

    table = Table(*COLUMNS)
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or rows[number + 1]["claim"] != row["claim"]
        table.add_row(*map(Text, cells_of(row)), end_section=last)
    return table
