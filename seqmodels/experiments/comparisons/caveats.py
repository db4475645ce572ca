"""Warnings about a comparison: what a reader should know before believing it, one sentence each."""

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from seqmodels.experiments.comparisons.statistics import fewest_pairs
from seqmodels.report.tables import counted, listed

ENOUGH = 6
"""The fewest seeds with which the interval of a mean can cover it 95 % of the time."""

MANY = 8
"""If runs differ in more settings than this, no table would show them all."""


def about_unread(
    unfinished: Sequence[str], unread: Sequence[str], damaged: Exception | None, sweep: bool
) -> Iterator[str]:
    """What is missing from a table of runs that was read from a folder."""
    if damaged is not None:
        yield f"{damaged}; in place of the runs that it names, all below its folder are compared."
    if unfinished:
        yield f"{counted(len(unfinished), 'run')} {has(unfinished)} not finished: {listed(unfinished)}."
    if unread:
        again = " To repeat such a run, remove its folder and type the command of the sweep again." if sweep else ""
        number = counted(len(unread), "result")
        yield f"{number} could not be read, and {are(unread)} left out: {listed(unread)}.{again}"


def about_left_out(left_out: Sequence[str], score: str, without_curve: Sequence[str]) -> Iterator[str]:
    """Runs that are not in the comparison, or not in all of its pictures."""
    if left_out:
        yield (
            f"{counted(len(left_out), 'run')} {has(left_out)} no finite value of {score}, chance or solved, and "
            f"{are(left_out)} left out: {listed(left_out)}."
        )
    if without_curve:
        yield (
            f"{counted(len(without_curve), 'run')} {has(without_curve)} no readable metrics.csv, "
            "and therefore no learning curve."
        )


def about_seeds(runs: pd.DataFrame, groups: pd.DataFrame, pairs: pd.DataFrame, pooled: bool) -> Iterator[str]:
    """Too few seeds, different ones, and runs that diverged."""
    fewest, most = groups["seeds"].min(), groups["seeds"].max()
    if fewest == 1:
        alone = list(groups.loc[groups["seeds"] == 1, "label"])
        yield (
            f"{len(alone)} of {counted(len(groups), 'group')} {has(alone)} only one seed, which says nothing "
            f"about other seeds, so there is no interval: {ENOUGH} seeds are needed."
        )
    few = groups.loc[groups["seeds"].between(2, ENOUGH - 1), "seeds"]
    if len(few) and not pooled:
        share = 100 * (1 - 2.0 ** (1 - few.min()))
        yield (
            f"With {few.min()} seeds a 95 % interval covers the true mean at most about {share:.0f} % of the time: "
            f"{ENOUGH} seeds are needed."
        )
    if fewest < most:
        yield f"The groups have different numbers of seeds, from {fewest} to {most}."
    seeds = [frozenset(part) for _, part in runs.groupby(["task", "label"])["seed"]]
    if len(set(seeds)) > 1 and fewest == most:
        yield "The groups have different seeds, so they were not trained and tested on the same data."
    if pooled:
        tasks = runs.groupby("label")["task"].agg(frozenset)
        every = frozenset(runs["task"])
        lacking = [f"{label} ({listed(sorted(every - own))})" for label, own in tasks.items() if own != every]
        if lacking:
            yield f"The means are not over the same tasks. Groups without runs on some tasks: {listed(lacking)}."
    if len(pairs):
        needed = fewest_pairs(comparisons := max(1, int((pairs["pairs"] > 0).sum())))
        if (pairs["pairs"] < needed).any():
            few_pairs = "pair" if (least := int(pairs["pairs"].min())) == 1 else "pairs"
            pool = "" if pooled or runs["task"].nunique() == 1 else "; without task in by=, the tasks are pooled"
            yield (
                f"With {counted(comparisons, 'comparison')}, {least} {few_pairs} of runs can never show that two "
                f"groups differ: {needed} are needed{pool}."
            )
        sizes = runs.groupby("label").apply(lambda part: len(part[["task", "seed"]].drop_duplicates()))
        if not pooled and "task" in pairs:
            sizes = runs.groupby(["task", "label"])["seed"].nunique()
            keys = list(zip(pairs["task"], pairs["label"], strict=True))
        else:
            keys = list(pairs["label"])
        unpaired = sum(int(sizes[key]) - count for key, count in zip(keys, pairs["pairs"], strict=True))
        if unpaired:
            yield (
                f"{counted(unpaired, 'run')} {has(range(unpaired))} no partner with the same seed in the baseline, and "
                f"{are(range(unpaired))} left out of the differences."
            )
    if diverged := int(runs["diverged"].sum()):
        count = "counts" if diverged == 1 else "count"
        yield (
            f"{counted(diverged, 'run')} diverged, and {count} as unsolved, with the worst score of all runs on the "
            "task, or chance if that is worse."
        )


def about_settings(runs: pd.DataFrame, settings: list[str], by: list[str]) -> Iterator[str]:
    """Differences in settings other than the seed and those compared, and different budgets.

    Where models are compared, their own settings may differ, and so may those of tasks between tasks.
    """
    settings = [name for name in ("model", *settings) if name not in by and name != "seed"]
    budget = "trainer.max_steps"
    within: set[str] = set()
    between: set[str] = set()
    for _, of_task in runs.groupby("task"):
        for _, group in of_task.groupby("label"):
            within.update(unequal(group, settings))
        own = [name for name in settings if not ("model" in by and name.startswith(("model.", "block.")))]
        between.update(unequal(of_task, own))
    within = {name for name in within if name.partition(".")[0] not in within - {name}}
    if within:
        yield f"Runs of the same group differ in more than the seed: {listed(sorted(within), 5)}; {apart(by, within)}."
    if between - within - {budget}:
        names = listed(sorted(between - within - {budget}), 5)
        yield f"The groups differ in more than what is compared: {names}."
    if budget in within | between:
        steps = pd.to_numeric(runs[budget], errors="coerce")
        ends = f"from {steps.min():.0f} to {steps.max():.0f}"
        yield f"Runs on the same task had different budgets: {budget} ranges {ends}."


def apart(by: list[str], within: set[str]) -> str:
    """What to type to tell runs apart that differ in these settings."""
    names = [*by, *sorted(within)]
    typable = all(re.fullmatch(r"\w+(\.\w+)*", name) for name in names)  # a stranger's setting may have any name
    if len(within) > MANY or not typable:
        return "a folder with fewer runs, such as that of one sweep, tells them apart"
    return f"by=[{','.join(names)}] tells them apart"


def about_baseline(column: str | None, baseline: str | None, pairs: pd.DataFrame) -> Iterator[str]:
    """A baseline without another group to compare with it."""
    if column is not None and pairs.empty:
        yield f"All groups have {column}={baseline}, so there is nothing to compare the baseline with."


def about_repeats(repeated: int) -> Iterator[str]:
    if repeated:
        yield (
            f"{counted(repeated, 'run')} {'was' if repeated == 1 else 'were'} repeated later with the same settings "
            "and seed: only the latest counts."
        )


def about_versions(runs: pd.DataFrame, by: list[str]) -> Iterator[str]:
    """Runs of different versions of the package, of torch, or of the code."""
    for name, what in {"version": "seqmodels", "torch": "torch", "commit": "the code (commits)"}.items():
        found = sorted(set(runs[name].str.removesuffix("-dirty")))
        if len(found) > 1 and name not in by:
            yield f"The runs were made with different versions of {what}: {listed([one[:12] for one in found])}."
    dirty = int(runs["commit"].str.endswith("-dirty").sum())
    if dirty:
        yield f"{counted(dirty, 'run')} used code with changes that were not committed."


def unequal(runs: pd.DataFrame, settings: Iterable[str]) -> list[str]:
    """The settings in which the runs differ."""
    return [name for name in settings if runs[name].nunique(dropna=False) > 1]


def are(things: Sequence) -> str:
    return "is" if len(things) == 1 else "are"


def has(things: Sequence) -> str:
    return "has" if len(things) == 1 else "have"
