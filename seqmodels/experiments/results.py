"""A table of finished runs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from seqmodels.report.tables import significant

NOT_LISTED = {"seed", "trainer.max_steps", "claim", "model_name", "task_name"}
"""Settings that have a column of their own, or that change no number."""

COLUMNS = {
    "task": "task",
    "model": "model",
    "seed": "seed",
    "metric": "metric",
    "test": "test",
    "unseen": "unseen",
    "chance": "chance",
    "solved": "solved",
    "steps": "steps",
    "steps_per_second": "steps/s",
    "parameters": "parameters",
}


def collect(folder: Path) -> pd.DataFrame:
    """One row for each `result.json` below a folder, sorted by task and from the best to the worst test metric.

    The column `unseen`, the mean over test lengths that training did not have, exists if any run has one; `settings`
    exists if two runs of the same model on the same task differ in more than their seed.

    Raises:
        FileNotFoundError: there is no `result.json`.
        ValueError: one of them is not the result of a run.
    """
    results, configs = [], []
    for file in sorted(folder.rglob("result.json")):
        try:
            result = {"unseen": None} | json.loads(
                file.read_text(encoding="utf-8")
            )  # runs of earlier versions do not have it
            results.append({name: result[name] for name in COLUMNS})
            configs.append(settings_of(file.with_name("config.yaml")))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"expected the result of a run in {file}, got {type(error).__name__}: {error}") from error
    if not results:
        raise FileNotFoundError(f"expected run folders with a result.json below {folder}, found none")
    table = pd.DataFrame(results)[list(COLUMNS)].rename(columns=COLUMNS)
    settings = pd.DataFrame(configs)
    for _, rows in settings.groupby([table["task"], table["model"]]):
        differing = rows.loc[:, rows.nunique(dropna=False) > 1]
        for row, values in differing.iterrows():
            table.loc[row, "settings"] = " ".join(f"{name}={value}" for name, value in values.dropna().items())
    if table["unseen"].isna().all():
        table = table.drop(columns="unseen")
    if not table["settings"].any():
        table = table.drop(columns="settings")
    table["order"] = table["test"].where(table["metric"] != "accuracy", -table["test"])
    return table.sort_values(["task", "order", "model", "seed"]).drop(columns="order")


def settings_of(file: Path) -> dict[str, str]:
    """The settings of a run by the names one types, as strings; empty where its config is gone."""
    if not file.exists():
        return {}
    config: Any = OmegaConf.to_container(OmegaConf.load(file))
    (settings,) = pd.json_normalize(config).to_dict("records")
    return {
        str(name): "null" if value is None else str(value)
        for name, value in settings.items()
        if name not in NOT_LISTED and not str(name).startswith("published.")
    }


def cells_of(table: pd.DataFrame) -> list[list[str]]:
    """The cells as strings: four significant digits of measurements, whole steps per second."""
    text = table.astype(object)
    for name in {"test", "unseen", "chance"} & set(table):
        text[name] = ["" if pd.isna(value) else significant(value) for value in table[name]]
    text["steps/s"] = [f"{value:.0f}" for value in table["steps/s"]]
    text["solved"] = ["yes" if solved else "no" for solved in table["solved"]]
    return [[str(cell) for cell in row] for row in text.to_numpy()]
