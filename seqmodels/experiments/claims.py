"""Claims: published statements, and whether they hold when repeated on a small machine.

A claim is an experiment (conf/experiment/) that says what was `published`: the `source`, how our runs differ from it,
which `metric` of a run is compared (`test`, or `unseen`, its mean over lengths that training did not have), with which
`seeds`, how many `minutes` a run may take, and the `arms` that are compared. An arm has `overrides` to the experiment,
the published `value`, and one rule that decides whether it holds:

    at_least: 0.9      every seed scores this or more
    at_most: 0.01      every seed scores this or less
    within: 0.05       the mean over the seeds is this close to the published value

A claim holds if all of its arms do. Each run has one thread, and its folder is <folder>/NAME/ARM/SEED. A claim
that does not hold is a finding, not an error.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from omegaconf import OmegaConf

from seqmodels.config import CONF
from seqmodels.experiments.jobs import Job
from seqmodels.report.tables import markdown_table, significant
from seqmodels.untrusted.reading import RunFolderError, printable, without_markup

RULES: dict[str, tuple[str, Callable[[list[float], float, Any], bool]]] = {
    "at_least": ("every seed ≥", lambda scores, bound, published: min(scores) >= bound),
    "at_most": ("every seed ≤", lambda scores, bound, published: max(scores) <= bound),
    "within": ("mean within ±", lambda scores, bound, published: abs(fmean(scores) - published) <= bound),
}
"""How a rule reads, and whether scores satisfy it."""

VERDICTS = {True: "holds", False: "does not hold", None: "missing"}

COLUMNS = ["claim", "arm", "metric", "published", "ours (runs)", "holds if", "verdict", "minutes"]


@dataclass(frozen=True)
class Arm:
    """One side of a comparison."""

    name: str
    overrides: list[str]
    value: float | str
    """The published number; a word where the source shows a curve or proves a statement."""
    rule: str
    bound: float

    @classmethod
    def read(cls, name: str, node: dict[str, Any]) -> "Arm":
        rules = [key for key in node if key in RULES]
        if len(rules) != 1 or set(node) != {"overrides", "value", *rules}:
            raise ValueError(f"arm {name} should have overrides, value and one of {', '.join(RULES)}, got {node}")
        if rules == ["within"] and isinstance(node["value"], str):
            raise ValueError(f"arm {name} should have a number as its value for the rule within, got {node}")
        return cls(name, list(node["overrides"]), node["value"], rules[0], float(node[rules[0]]))

    def holds(self, scores: list[float]) -> bool:
        return RULES[self.rule][1](scores, self.bound, self.value)


@dataclass(frozen=True)
class Claim:
    """An experiment that repeats something published."""

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

    def jobs(self, root: Path, overrides: Iterable[str] = ()) -> dict[str, list[Job]]:
        """The runs of each arm, by its name: one for each seed, with further overrides for all of them."""
        folder = root.resolve() / self.name
        return {
            arm.name: [
                Job(
                    f"{self.name}, {arm.name}, seed {seed}",
                    (f"experiment={self.name}", *arm.overrides, *overrides),
                    seed,
                    folder / arm.name / str(seed),
                    self.minutes,
                )
                for seed in self.seeds
            ]
            for arm in self.arms
        }


def read_claims() -> dict[str, Claim]:
    """The experiments that say what was published, by name."""
    claims = {}
    for file in sorted((CONF / "experiment").glob("*.yaml")):
        described: Any = OmegaConf.to_container(OmegaConf.load(file))
        if described.get("published"):
            claims[file.stem] = Claim.read(file.stem, described["published"], described["claim"])
    return claims


def table_of(claim: Claim, jobs: dict[str, list[Job]]) -> tuple[list[dict[str, Any]], list[RunFolderError]]:
    """A row for each arm: what was published, the scores of its finished runs, and the verdict on them.

    Runs whose files are not as a run writes them are left out, each with an error.
    """
    rows, errors = [], []
    for arm in claim.arms:
        finished = []
        for job in jobs[arm.name]:
            try:
                if (result := job.result()) is not None:
                    finished.append((job.seed, result, score_of(claim, job, result)))
            except RunFolderError as error:
                errors.append(error)
        rows.append(row_of(claim, arm, finished, len(jobs[arm.name])))
    return rows, errors


def score_of(claim: Claim, job: Job, result: dict[str, Any]) -> float | None:
    """What is compared of a run; None if its training diverged.

    Raises:
        RunFolderError: it was not measured.
    """
    score = result[claim.metric]
    if score is None and result["test"] is not None:
        raise RunFolderError(f"{job.folder / 'result.json'} has no {claim.metric}")
    return score


def row_of(
    claim: Claim, arm: Arm, finished: list[tuple[int, dict[str, Any], float | None]], expected: int
) -> dict[str, Any]:
    """The row of an arm with its finished runs (seed, result, score). If one diverged, the arm does not hold."""
    scores = [score for _, _, score in finished if score is not None]
    holds = len(scores) == len(finished) and arm.holds(scores) if len(finished) == expected else None
    return {
        "claim": claim.name,
        "arm": arm.name,
        "metric": printable(f"{claim.metric} {finished[0][1]['metric']}", 50) if finished else claim.metric,
        "published": arm.value,
        "mean": fmean(scores) if scores else None,
        "spread": stdev(scores) if len(scores) > 1 else None,
        "runs": len(scores),
        "diverged": len(finished) - len(scores),
        "rule": f"{RULES[arm.rule][0]} {arm.bound:g}",
        "verdict": VERDICTS[holds],
        "minutes": sum(result["seconds"] for _, result, _ in finished) / 60,
        "source": claim.source,
        "seeds": " ".join(str(seed) for seed, _, _ in finished),
        "scores": " ".join("diverged" if score is None else f"{score:.6g}" for _, _, score in finished),
    }


def cells_of(row: dict[str, Any]) -> list[str]:
    """The cells of a row as strings."""
    spread = "" if row["spread"] is None else f" ± {significant(row['spread'], 2)}"
    counts = f"{row['runs']}, {row['diverged']} diverged" if row["diverged"] else str(row["runs"])
    mean = "" if row["mean"] is None else f"{significant(row['mean'])}{spread} "
    ours = f"{mean}({counts})" if row["runs"] + row["diverged"] else ""
    published = row["published"] if isinstance(row["published"], str) else significant(row["published"])
    return [
        row["claim"], row["arm"], row["metric"], published, ours, row["rule"], row["verdict"], f"{row['minutes']:.1f}",
    ]  # fmt: skip


def verdict_on(claim: Claim, rows: list[dict[str, Any]]) -> str:
    """A claim holds if all of its arms do."""
    verdicts = {row["verdict"] for row in rows if row["claim"] == claim.name}
    return next(VERDICTS[worst] for worst in (False, None, True) if VERDICTS[worst] in verdicts)


def markdown(claims: list[Claim], rows: list[dict[str, Any]]) -> str:
    """The table, and below it what each claim says, its source, and how our runs differ from those published."""
    cells = (
        [without_markup(cell) if name == "metric" else cell for name, cell in zip(COLUMNS, cells_of(row), strict=True)]
        for row in rows
    )
    lines = [markdown_table(COLUMNS, cells) + "\n"]
    for claim in claims:
        verdict = verdict_on(claim, rows)
        lines.append(f"**{claim.name}**: {claim.sentence} ({claim.source}) {claim.differs} Verdict: {verdict}.\n")
    return "\n".join(lines)
