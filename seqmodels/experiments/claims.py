"""Claims: published statements, and whether they hold when repeated on a small machine.

A claim is an experiment (conf/experiment/) that says what was `published`: the `source`, how our runs differ from it,
which `metric` of a run is compared (`test`, or `unseen`, its mean over lengths that training did not have), with which
`seeds`, how many `minutes` a run may take, and the `arms` that are compared. An arm has `overrides` to the experiment,
the published `value`, and one rule that decides whether it holds:

    at_least: 0.9      every seed scores this or more
    at_most: 0.01      every seed scores this or less
    within: 0.05       the mean over the seeds is this close to the published value

A claim holds if all of its arms do. One that does not hold is a finding, not an error. The runs of all claims form a
sweep, in the folder of the claims.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seqmodels.checks import UserError, check_choice, check_seed
from seqmodels.config import CONF
from seqmodels.config.folders import override
from seqmodels.experiments.sweeps.sweep import QUIET, Composer, Run
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
    def read(cls, name: str, node: Any) -> "Arm":
        if not isinstance(node, dict):
            raise ValueError(f"arm {name} should have overrides, value and one of {', '.join(RULES)}, got {node}")
        rules = [key for key in node if key in RULES]
        if len(rules) != 1 or set(node) != {"overrides", "value", *rules}:
            raise ValueError(f"arm {name} should have overrides, value and one of {', '.join(RULES)}, got {node}")
        if rules == ["within"] and isinstance(node["value"], str):
            raise ValueError(f"arm {name} should have a number as its value for the rule within, got {node}")
        for key in ("value", *rules):
            if isinstance(node[key], bool) or not isinstance(
                node[key], (int, float, str) if key == "value" else (int, float)
            ):
                raise ValueError(f"arm {name} should have a number as its {key}, got {node[key]!r}")
        return cls(
            name, texts(f"the overrides of arm {name}", node["overrides"]), node["value"], rules[0], node[rules[0]]
        )

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
    def read(cls, name: str, node: Any, sentence: Any) -> "Claim":
        """The claim of an experiment, from the values of its `published` and its `claim`.

        Raises:
            ValueError: something is missing, or not as expected.
        """
        needed = ("source", "differs", "metric", "seeds", "minutes", "arms")
        if not isinstance(node, dict) or set(node) != set(needed):
            raise ValueError(f"published should have {', '.join(needed)}, got {node}")
        if not isinstance(sentence, str):
            raise ValueError(f"claim should be a sentence, got {sentence!r}")
        check_choice("metric", node["metric"], ["test", "unseen"])
        for key in ("seeds", "arms"):
            if not isinstance(node[key], list if key == "seeds" else dict) or not node[key]:
                raise ValueError(f"{key} should not be empty, got {node[key]!r}")
        for seed in node["seeds"]:
            check_seed(seed)
        if type(node["minutes"]) not in (int, float) or node["minutes"] <= 0:
            raise ValueError(f"minutes should be a positive number, got {node['minutes']!r}")
        arms = [Arm.read(str(arm), described) for arm, described in node["arms"].items()]
        source, differs = str(node["source"]), str(node["differs"])
        return cls(name, sentence, source, differs, node["metric"], node["seeds"], node["minutes"], arms)

    def runs(self, composer: Composer, overrides: Iterable[str] = ()) -> dict[str, list[Run]]:
        """The runs of each arm, by its name: one for each seed, with further overrides for all of them."""
        experiment = override("experiment", self.name)
        return {
            arm.name: [
                composer.run(
                    f"{self.name}, {arm.name}, seed {seed}",
                    (experiment, *arm.overrides, *overrides, *QUIET, f"seed={seed}"),
                    self.minutes,
                )
                for seed in self.seeds
            ]
            for arm in self.arms
        }


def texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{name} should be a list of words such as model=nn_gru, got {value!r}")
    return value


def read_claims(folders: Sequence[Path] = (CONF,)) -> dict[str, Claim]:
    """The experiments in config folders that say what was published, by name. The first folder with a name counts.

    Raises:
        UserError: an experiment does not say all that is needed to judge its claim.
    """
    claims: dict[str, Claim] = {}
    for file in (file for folder in folders for file in sorted((folder / "experiment").glob("*.yaml"))):
        try:
            described: Any = OmegaConf.to_container(OmegaConf.load(file))
        except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
            raise UserError(f"{file}: {' '.join(str(error).split())}") from error
        if isinstance(described, dict) and described.get("published") and file.stem not in claims:
            try:
                claims[file.stem] = Claim.read(file.stem, described["published"], described.get("claim"))
            except (TypeError, ValueError) as error:
                raise UserError(f"{file}: {error}") from error
    return claims


def table_of(claim: Claim, runs: dict[str, list[Run]]) -> tuple[list[dict[str, Any]], list[RunFolderError]]:
    """A row for each arm: what was published, the scores of its finished runs, and the verdict on them.

    Runs whose files are not as a run writes them are left out, each with an error.
    """
    rows, errors = [], []
    for arm in claim.arms:
        finished = []
        for run in runs[arm.name]:
            try:
                if (result := run.result()) is not None:
                    finished.append((result["seed"], result, score_of(claim, run, result)))
            except RunFolderError as error:
                errors.append(error)
        rows.append(row_of(claim, arm, finished, len(runs[arm.name])))
    return rows, errors


def score_of(claim: Claim, run: Run, result: dict[str, Any]) -> float | None:
    """The score of a run by the metric of the claim; None if its training diverged.

    Raises:
        RunFolderError: it was not measured.
    """
    score = result[claim.metric]
    if score is None and result["test"] is not None:
        raise RunFolderError(f"the result of {run.name} has no {claim.metric} ({run.folder})")
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
