"""Claims: published statements, run again on a small machine, and whether they hold there.

    python -m seqmodels.claims                              # all of them; again, and it goes on where it stopped
    python -m seqmodels.claims adding_gru copy_guess        # some
    python -m seqmodels.claims adding_gru task.length=50 --seeds 101 --folder outputs/other
    python -m seqmodels.claims --list
    python -m seqmodels.claims --table                      # of the runs that are there; none is started

A claim is an experiment that says what was `published`: the `source`, how our runs differ from it, which `metric` of a
run is compared (`test`, or `unseen`, its mean over lengths that training did not have), with which `seeds`, how many
`minutes` a run may take, and the `arms` that are compared. An arm has `overrides` to the experiment, the published
`figure`, and one rule, by which it holds:

    at_least: 0.9      every seed scores this or more
    at_most: 0.01      every seed scores this or less
    within: 0.05       the mean over the seeds is this close to the published figure

A claim holds if all of its arms do. Each run is `python train.py experiment=NAME <overrides> seed=SEED` in a process of
its own with one thread, and leaves its folder at <folder>/NAME/ARM/SEED; one that is there with the same config is not
run again. That something does not hold is a finding, and no error.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from seqmodels.config import CONF, Parser, UserError, check_names, compose, nearest
from seqmodels.config import report as complain
from seqmodels.report.tables import significant as figure

TRAIN = "from seqmodels.config import command; from seqmodels.run import run; command('train')(run)()"
"""What train.py does; an installed package comes without that file."""

QUIET = ["logger=none", "trainer.enable_progress_bar=false"]
RULES: dict[str, tuple[str, Callable[[list[float], float, Any], bool]]] = {
    "at_least": ("every seed ≥", lambda scores, bound, published: min(scores) >= bound),
    "at_most": ("every seed ≤", lambda scores, bound, published: max(scores) <= bound),
    "within": ("mean within ±", lambda scores, bound, published: abs(fmean(scores) - published) <= bound),
}
"""How a rule reads, and whether scores keep it."""

VERDICTS = {True: "holds", False: "does not hold", None: "missing"}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    name: str
    overrides: list[str]
    figure: float | str  # words, where the source shows a curve or proves a statement
    rule: str
    bound: float

    @classmethod
    def read(cls, name: str, node: dict[str, Any]) -> "Arm":
        rules = [key for key in node if key in RULES]
        if len(rules) != 1 or set(node) != {"overrides", "figure", *rules}:
            raise ValueError(f"arm {name} should have overrides, figure and one of {', '.join(RULES)}, got {node}")
        if rules == ["within"] and isinstance(node["figure"], str):
            raise ValueError(f"arm {name} should have a number as its figure, to be within a distance of, got {node}")
        return cls(name, list(node["overrides"]), node["figure"], rules[0], float(node[rules[0]]))

    def holds(self, scores: list[float]) -> bool:
        return RULES[self.rule][1](scores, self.bound, self.figure)


@dataclass(frozen=True)
class Claim:
    """An experiment and what was published."""

    name: str
    sentence: str
    source: str
    differs: str
    metric: str
    seeds: list[int]
    minutes: float
    arms: list[Arm]

    @classmethod
    def read(cls, name: str, node: dict[str, Any], sentence: str) -> "Claim":
        arms = [Arm.read(arm, described) for arm, described in node["arms"].items()]
        return cls(name, sentence, **node | {"arms": arms})

    def jobs(self, root: Path, overrides: Iterable[str] = ()) -> "list[Job]":
        return [Job(self, arm, seed, root.resolve(), tuple(overrides)) for arm in self.arms for seed in self.seeds]


@dataclass(frozen=True)
class Job:
    """One run of an arm."""

    claim: Claim
    arm: Arm
    seed: int
    root: Path
    further: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / self.claim.name / self.arm.name / str(self.seed)

    @property
    def overrides(self) -> list[str]:
        return [f"experiment={self.claim.name}", *self.arm.overrides, *self.further, *QUIET]

    @property
    def config(self) -> DictConfig:
        config = composed(*self.overrides).copy()
        config.seed = self.seed
        return config

    def result(self) -> dict[str, Any] | None:
        """What the run left, if it has been through.

        Raises:
            UserError: another run is in its place.
        """
        try:
            found = OmegaConf.load(self.folder / "config.yaml")
            result = json.loads((self.folder / "result.json").read_text())
        except (OSError, ValueError):
            return None
        if plain(found) != plain(self.config):
            raise UserError(
                f"{self.folder} holds a run with another config: "
                "give the settings it was run with, choose another --folder, or remove it"
            )
        return result

    def run(self) -> str:
        """Train in a process of its own; gives a line that says how it went.

        Raises:
            UserError: the run failed, or took too long.
        """
        if (self.folder / "config.yaml").exists():
            shutil.rmtree(self.folder)  # it was interrupted
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log.txt"
        quoted = str(self.folder).replace("\\", "\\\\").replace('"', '\\"')
        command = [sys.executable, "-c", TRAIN, *self.overrides, f"seed={self.seed}", f'hydra.run.dir="{quoted}"']
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        limit = 60 * self.claim.minutes
        with log.open("w") as output:
            try:
                subprocess.run(command, stdout=output, stderr=output, timeout=limit, env=environment, check=True)
            except subprocess.TimeoutExpired as error:
                raise UserError(f"{self}: stopped after {self.claim.minutes:g} minutes ({log})") from error
            except subprocess.CalledProcessError as error:
                said = log.read_text().strip().splitlines() or [""]
                raise UserError(f"{self}: {said[-1].removeprefix('error: ')} ({log})") from error
        result = json.loads((self.folder / "result.json").read_text())
        score = "" if result[self.claim.metric] is None else figure(result[self.claim.metric])
        return f"{self}: {self.claim.metric} {result['metric']} {score}, {result['seconds']:.0f} s"

    def __str__(self) -> str:
        return f"{self.claim.name}, {self.arm.name}, seed {self.seed}"


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config of all seeds of an arm; to compose one takes a while."""
    return compose(*overrides)


def plain(config: Any) -> dict[str, Any]:
    """The settings of a run that can change its numbers."""
    settings: Any = OmegaConf.to_container(config)
    return {key: value for key, value in settings.items() if key not in ("claim", "published")}


def read_claims() -> dict[str, Claim]:
    """The experiments that say what was published, by name."""
    claims = {}
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        described: Any = OmegaConf.to_container(OmegaConf.load(file))
        if described.get("published"):
            claims[file.stem] = Claim.read(file.stem, described["published"], described["claim"])
    return claims


def row_of(arm: Arm, jobs: list[Job]) -> dict[str, Any]:
    """An arm in the table: what was published, what its finished runs say, and whether that keeps the rule."""
    claim = jobs[0].claim
    results = [result for result in (job.result() for job in jobs) if result is not None]
    scores = [result[claim.metric] for result in results]
    complete = len(scores) == len(jobs)
    return {
        "claim": claim.name,
        "arm": arm.name,
        "metric": f"{claim.metric} {results[0]['metric']}" if results else claim.metric,
        "published": arm.figure,
        "mean": fmean(scores) if scores else None,
        "spread": stdev(scores) if len(scores) > 1 else None,
        "runs": len(scores),
        "rule": f"{RULES[arm.rule][0]} {arm.bound:g}",
        "verdict": VERDICTS[arm.holds(scores) if complete else None],
        "minutes": sum(result["seconds"] for result in results) / 60,
        "source": claim.source,
        "seeds": " ".join(str(job.seed) for job in jobs if job.result() is not None),
        "scores": " ".join(f"{score:.6g}" for score in scores),
    }


def table_of(jobs: list[Job]) -> list[dict[str, Any]]:
    """A row for each arm."""
    arms: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        arms.setdefault((job.claim.name, job.arm.name), []).append(job)
    return [row_of(group[0].arm, group) for group in arms.values()]


COLUMNS = ["claim", "arm", "metric", "published", "ours (runs)", "holds if", "verdict", "minutes"]


def shown(row: dict[str, Any]) -> list[str]:
    """The cells of a row as text."""
    spread = "" if row["spread"] is None else f" ± {figure(row['spread'], 2)}"
    ours = "" if row["mean"] is None else f"{figure(row['mean'])}{spread} ({row['runs']})"
    published = row["published"] if isinstance(row["published"], str) else figure(row["published"])
    return [
        row["claim"], row["arm"], row["metric"], published, ours, row["rule"], row["verdict"], f"{row['minutes']:.1f}",
    ]  # fmt: skip


def verdict_on(claim: Claim, rows: list[dict[str, Any]]) -> str:
    """All arms have to hold."""
    verdicts = {row["verdict"] for row in rows if row["claim"] == claim.name}
    return next(VERDICTS[worst] for worst in (False, None, True) if VERDICTS[worst] in verdicts)


def markdown(claims: list[Claim], rows: list[dict[str, Any]]) -> str:
    """The table, and below it what each claim says, where it comes from, and how our runs differ from those."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(shown, rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    for claim in claims:
        text += ["", f"**{claim.name}**: {claim.sentence} ({claim.source}) {claim.differs} Verdict: "]
        text[-1] += f"{verdict_on(claim, rows)}."
    return "\n".join(text) + "\n"


def view(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for name in COLUMNS:
        table.add_column(name)
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or rows[number + 1]["claim"] != row["claim"]
        table.add_row(*shown(row), end_section=last)
    return table


def write(claims: list[Claim], rows: list[dict[str, Any]], folder: Path) -> None:
    """claims.md and claims.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claims.md").write_text(markdown(claims, rows))
    pd.DataFrame(rows).to_csv(folder / "claims.csv", index=False)


def run_all(jobs: list[Job], processes: int, console: Console) -> list[UserError]:
    """Run what is not there yet, several at a time; gives what went wrong."""
    for job in jobs:
        check_names(job.config, "train")
    missing = [job for job in jobs if job.result() is None]
    if len(missing) < len(jobs):
        console.print(f"{len(jobs) - len(missing)} of {len(jobs)} runs are there already")
    errors = []

    def run(job: Job) -> str | UserError:
        try:
            return job.run()
        except UserError as error:
            return error

    with ThreadPoolExecutor(processes) as pool:
        try:
            for number, outcome in enumerate(pool.map(run, missing), start=1):
                console.print(f"[{number}/{len(missing)}] {outcome}", markup=False, soft_wrap=True)
                if isinstance(outcome, UserError):
                    errors.append(outcome)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return errors


def chosen(words: list[str], claims: dict[str, Claim]) -> tuple[list[Claim], list[str]]:
    """The claims that were named, or all; and overrides for each of their runs.

    Raises:
        UserError: there is no such claim.
    """
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    for name in names:
        if name not in claims:
            raise UserError(f"{name} is no claim{nearest(name, claims)} (one of: {', '.join(claims)})")
    return [claim for claim in claims.values() if not names or claim.name in names], overrides


def whole_numbers(name: str, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise UserError(f"--{name} should be whole numbers such as 1,2,3, got {text!r}") from error


def main(words: list[str] | None = None) -> None:
    parser = Parser(
        prog="python -m seqmodels.claims", description="Published statements, run again on a small machine."
    )
    parser.add_argument("words", nargs="*", metavar="NAME or KEY=VALUE", help="claims, all if none is named; overrides")
    parser.add_argument("--list", action="store_true", help="what claims there are, and run nothing")
    parser.add_argument("--table", action="store_true", help="of the runs that are there, and run nothing")
    parser.add_argument("--folder", default="outputs/claims", type=Path, help="of the runs (default: outputs/claims)")
    parser.add_argument("--seeds", help="other ones than the claims name, such as 101,102")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (default: one a core)")
    parser.add_argument("--markdown", action="store_true", help="print the table as that of claims.md")
    arguments = parser.parse_intermixed_args(words)
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        claims, overrides = chosen(arguments.words, read_claims())
        if arguments.list:
            for claim in claims:
                runs = len(claim.jobs(arguments.folder))
                console.print(f"[bold]{claim.name}[/bold]: {claim.sentence}", soft_wrap=True)
                console.print(f"  {claim.source}; {runs} runs of at most {claim.minutes:g} minutes", soft_wrap=True)
            return
        started = time.perf_counter()
        if arguments.jobs < 1:
            raise UserError(f"--jobs should be 1 or more, got {arguments.jobs}")
        if arguments.seeds:
            claims = [replace(claim, seeds=whole_numbers("seeds", arguments.seeds)) for claim in claims]
        jobs = [job for claim in claims for job in claim.jobs(arguments.folder, overrides)]
        errors = [] if arguments.table else run_all(jobs, arguments.jobs, console)
        rows = table_of(jobs)
    except UserError as error:
        complain(error)
        raise SystemExit(1) from error
    except KeyboardInterrupt as stop:
        complain(UserError(f"interrupted; the same command goes on with what is in {arguments.folder}"))
        raise SystemExit(1) from stop
    write(claims, rows, arguments.folder)
    if arguments.markdown:
        print(markdown(claims, rows), end="")
    else:
        console.print(view(rows))
        minutes = (time.perf_counter() - started) / 60
        console.print(f"{minutes:.1f} minutes; results are in [bold]{arguments.folder}[/bold]", soft_wrap=True)
    for failure in errors:
        complain(failure)
    if errors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
