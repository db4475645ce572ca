"""Forecasting from tables: what windows hold, how they are split and scaled, the baselines, and the tables refused."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from answers import shipped
from sklearn.linear_model import Ridge

from seqmodels.data import SequenceData
from seqmodels.tasks.real import Table
from seqmodels.tasks.real.table_reader import TableReader

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "val", "test")


def rows(count=200, seed=0, series=1):
    """A long table with dates, two columns of numbers, and one that is known in advance."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(series):
        dates = pd.date_range("2020-01-01", periods=count, freq="D").strftime("%Y-%m-%d")
        x = rng.standard_normal(count).cumsum() + 10 * number
        y = np.sin(np.arange(count) / 5) + 0.1 * rng.standard_normal(count)
        parts.append(pd.DataFrame({"day": dates, "name": f"s{number}", "x": x, "y": y, "k": np.arange(count) % 5}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def task_of(tmp_path):
    """Builds a task from a table and settings."""

    def build(table, **settings):
        table.to_csv(tmp_path / "mine.csv", index=False)
        return Table(str(tmp_path / "mine.csv"), **{"inputs": ["x", "y"], "targets": ["y"], "window": 6} | settings)

    return build


def whole(task, split):
    return task.read(split, torch.arange(task.examples(split)))


def evaluate(task, forecast):
    """The test metric of answers in the scale of the model."""
    metric = task.metric()
    metric.update(*task.scored(forecast, whole(task, "test")[1]))
    return metric.compute().item()


# Windows


@pytest.mark.parametrize("scaling", ["all", "series"])
def test_inputs_targets_and_known_columns_are_the_rows_they_should_be(task_of, scaling):
    table = rows(40, series=4)
    arguments = {"targets": ["y", "x"], "known": ["k", "weekday"], "horizon": 3, "time": "day", "id": "name"}
    task = task_of(table, **arguments, scaling=scaling)
    assert (task.input_size, task.output_size) == (2 + 1 + 2, 6)
    groups = table.groupby("name")
    for split in SPLITS:
        inputs, targets = whole(task, split)
        decoded = task.decode(targets, split).reshape(-1, 3, 2)
        assert len(inputs) == len(task.firsts[split]) > 0
        for example, first in enumerate(task.firsts[split]):
            window, ahead = table.iloc[first : first + 6], table.iloc[first + 6 : first + 9]
            assert len({*window["name"], *ahead["name"]}) == 1
            np.testing.assert_allclose(decoded[example], ahead[["y", "x"]], rtol=1e-4, atol=1e-5)
            number = int(window["name"].iloc[0][1:]) if scaling == "series" else 0
            scaled = (window[["x", "y"]] - task.reader.centers[number][:2]) / task.reader.scales[number][:2]
            np.testing.assert_allclose(inputs[example, :, :2], scaled, rtol=1e-4, atol=1e-5)
            # the last three steps show what is known of the rows to forecast
            known = (ahead["k"] - task.reader.centers[number][2]) / task.reader.scales[number][2]
            np.testing.assert_allclose(inputs[example, -3:, 2], known, rtol=1e-4, atol=1e-5)
            angle = 2 * np.pi * pd.to_datetime(ahead["day"]).dt.day_of_week / 7
            np.testing.assert_allclose(inputs[example, -3:, 3], np.sin(angle), atol=1e-5)
    for (_, group), center, scale in zip(groups, task.reader.centers, task.reader.scales, strict=False):
        if scaling == "series":
            trained = group[group["day"] < task.report["windows"][1]["targets from"]]
            np.testing.assert_allclose(center, trained[["x", "y", "k"]].mean(), rtol=1e-6)
            np.testing.assert_allclose(scale, trained[["x", "y", "k"]].std(ddof=0), rtol=1e-6)


def test_differences_are_changes_and_answers_continue_the_last_value(task_of):
    table = rows(80)
    task = task_of(table, inputs=["x"], targets=["x"], horizon=4, difference=True)
    _, targets = whole(task, "test")
    for decoded, first in zip(task.decode(targets, "test"), task.firsts["test"], strict=True):
        np.testing.assert_allclose(decoded, table["x"].iloc[first + 6 : first + 10], rtol=1e-4, atol=1e-4)
    assert evaluate(task, torch.zeros_like(targets)) == pytest.approx(task.baselines["drift"], rel=1e-5)
    assert task.firsts["train"][0] == 1  # the first row has no change


def test_series_of_a_table_in_order_of_time_are_put_together(task_of):
    table = rows(40, series=3)
    together = task_of(table, id="name", time="day")
    mixed = task_of(table.sort_values(["day", "name"]), id="name", time="day")
    assert all(torch.equal(*pair) for pair in zip(whole(together, "val"), whole(mixed, "val"), strict=True))


# Gaps


def test_gaps_are_masked_or_filled_forward_and_never_scored(task_of):
    table = rows(100)
    table.loc[[20, 21, 85, 90], "y"] = np.nan
    with pytest.raises(
        ValueError, match=r"found a gap in line 22 \(4 such rows of 100\); task.missing=mask or forward"
    ):
        task_of(table)
    for missing in ("mask", "forward"):
        task = task_of(table, missing=missing)
        inputs, targets = (torch.cat(parts) for parts in zip(*(whole(task, split) for split in SPLITS), strict=True))
        assert not inputs.isnan().any()
        assert not targets.isnan().any()  # windows without any target are left out
        assert task.report["windows"][-1]["windows"] == 4
        if missing == "mask":
            assert inputs.shape[2] == 4
            assert (inputs[:, :, 3] == 1).sum(1).max() == 2
            assert (inputs[:, :, 1][inputs[:, :, 3] == 1] == 0).all()
        else:
            first = task.firsts["train"].tolist().index(16)
            assert inputs[first, 4:, 1].unique().numel() == inputs[first, 3:, 1].unique().numel() == 1
    task = task_of(table, missing="mask", horizon=5)
    inputs, targets = whole(task, "test")
    assert targets.isnan().sum() > 0
    outputs = torch.zeros_like(targets).requires_grad_()
    loss = task.loss(outputs, targets)
    loss.backward()
    torch.testing.assert_close(loss, (targets**2).nanmean())
    assert (outputs.grad[targets.isnan()] == 0).all()
    assert evaluate(task, torch.zeros_like(targets)) == pytest.approx(task.chance, rel=1e-5)


# Splits


def first_and_last(task, split):
    firsts = task.firsts[split]
    return task.rows.times[firsts + 6].min(), task.rows.times[firsts + 5 + task.reader.horizon].max()


@pytest.mark.parametrize("series", [1, 3])
@pytest.mark.parametrize("borders", [{}, {"val_from": "2020-05-01", "test_from": "2020-06-15"}, {"val_from": 0.5}])
def test_splits_by_time_share_no_target(task_of, series, borders):
    arguments = {"id": "name"} if series > 1 else {}
    task = task_of(rows(series=series), time="day", horizon=4, **arguments, **borders)
    (_, trained), (validated, checked), (tested, _) = (first_and_last(task, split) for split in SPLITS)
    assert trained < validated < checked < tested
    for name, start in (("val_from", validated), ("test_from", tested)):
        if isinstance(borders.get(name), str):
            assert start == np.datetime64(borders[name])
    if not borders:
        shares = np.cumsum([task.examples(split) for split in SPLITS]) / (series * (200 - 9))
        np.testing.assert_allclose(shares[:2], [0.7, 0.85], atol=0.04)


def test_splits_by_id_share_no_series_and_splits_without_times_divide_each_series(task_of):
    task = task_of(rows(60, series=10), id="name", split="id")
    members = [set(task.rows.series[task.firsts[split]]) for split in SPLITS]
    assert [len(part) for part in members] == [7, 1, 2]
    assert set.union(*members) == set(range(10))
    task = task_of(rows(60, series=3), id="name")
    for split, share in zip(SPLITS, (37, 8, 9), strict=True):
        assert np.bincount(task.rows.series[task.firsts[split]]).tolist() == [share] * 3


def test_until_ends_the_table(task_of):
    task = task_of(rows(), time="day", until="2020-05-31")
    assert str(task.rows.times.max())[:10] == "2020-05-31"
    assert task.report[next(iter(task.report))][0]["rows used"] == len(task.rows.values)


def test_a_series_that_begins_after_the_end_is_gone(task_of):
    table = rows(60, series=3)
    table.loc[table["name"] == "s0", "day"] = pd.date_range("2021-01-01", periods=60).strftime("%Y-%m-%d")
    task = task_of(table, time="day", id="name", scaling="series", until="2020-12-31")
    assert task.rows.names == task.reader.names == ["s1", "s2"]
    assert task.reader.centers[0][0] == pytest.approx(table["x"][60:102].mean(), abs=2)


# No leaks


MODES = [
    {"time": "day", "known": ["k"]},
    {"time": "day", "difference": True, "horizon": 2},
    {"time": "day", "id": "name", "scaling": "series"},
    {"id": "name"},
    {"id": "name", "split": "id"},
    {"missing": "forward"},
]


def changed_after_training(task_of, mode):
    """Two tasks whose tables differ only in rows that the test alone forecasts."""
    table = rows(120, series=4 if "id" in mode else 1)
    task = task_of(table, **mode)
    later = np.zeros(len(table), dtype=bool)
    for first in task.firsts["test"]:
        later[first + 6 : first + 6 + task.reader.horizon] = True
    if mode.get("split") == "id":
        later = np.isin(task.rows.series, task.rows.series[task.firsts["test"]])
    table.loc[later, ["x", "y"]] = table.loc[later, ["x", "y"]] * -50 + 1000
    return task, task_of(table, **mode)


def differences(task, other):
    found = [name for name in ("centers", "scales") if getattr(task.reader, name) != getattr(other.reader, name)]
    for split in ("train", "val"):
        if not all(torch.equal(*pair) for pair in zip(whole(task, split), whole(other, split), strict=True)):
            found.append(split)
    return found


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_nothing_that_comes_before_the_test_knows_its_values(task_of, mode):
    task, other = changed_after_training(task_of, mode)
    assert not differences(task, other)
    assert not torch.equal(whole(task, "test")[1], whole(other, "test")[1])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_scaling_that_saw_the_test_would_be_found(task_of, mode, monkeypatch):
    fit = TableReader.fit
    monkeypatch.setattr(TableReader, "fit", lambda self, rows, training: fit(self, rows, np.ones_like(training)))
    assert differences(*changed_after_training(task_of, mode)) == ["centers", "scales", "train", "val"]


def noise(seed, series):
    table = rows(240, seed, series)
    table["y"] = np.random.default_rng(1000 + seed).standard_normal(len(table))
    return table


def gain(task):
    """How much better than chance a linear model is in the test, as a fraction of chance."""
    inputs, targets = whole(task, "train")
    model = Ridge().fit(inputs.flatten(1), targets)
    answers = torch.tensor(model.predict(whole(task, "test")[0].flatten(1)), dtype=torch.float32)
    return 1 - evaluate(task, answers.reshape(-1, task.output_size)) / task.chance


LEAKS = [{"time": "day", "known": ["k", "weekday"]}, {"id": "name", "split": "id"}, {"id": "name", "scaling": "series"}]


@pytest.mark.parametrize("mode", LEAKS, ids=str)
def test_noise_is_forecast_no_better_than_by_chance(task_of, mode):
    gains = [gain(task_of(noise(seed, 6 if "id" in mode else 1), horizon=2, **mode)) for seed in range(20)]
    assert -0.2 < np.mean(gains) < 0.005
    assert max(gains) < 0.05


def test_a_window_that_shows_the_target_would_be_found(task_of):
    table = noise(0, 1)
    table["k"] = table["y"]  # y under another name, read ahead
    assert gain(task_of(table, horizon=2, known=["k"])) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("mode", LEAKS, ids=str)
def test_noise_is_forecast_no_better_than_by_chance_by_a_recurrent_network(task_of, mode):
    gains = []
    for seed in range(20):
        task = task_of(noise(seed, 6 if "id" in mode else 1), **mode)
        torch.manual_seed(seed)
        layer, head = torch.nn.GRU(task.input_size, 16, batch_first=True), torch.nn.Linear(16, 1)
        optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=5e-3)
        batches = SequenceData(task, train_batches=200, seed=seed, batch_size=64).batches("train")
        for inputs, targets in (batches[index] for index in range(len(batches))):
            optimizer.zero_grad()
            task.loss(head(layer(inputs)[0][:, -1]), targets).backward()
            optimizer.step()
        with torch.no_grad():
            gains.append(1 - evaluate(task, head(layer(whole(task, "test")[0])[0][:, -1])) / task.chance)
    print(mode, np.mean(gains), max(gains))
    assert np.mean(gains) < 0.005
    assert max(gains) < 0.05


# Scores


def test_baselines_are_those_of_a_calculation_by_hand(task_of):
    table = rows(150)
    task = task_of(table, horizon=3, period=5)
    y = table["y"].to_numpy()
    first = task.firsts["test"] + 6
    steps = first[:, None] + np.arange(3)
    errors = {"persistence": y[first - 1][:, None] - y[steps], "seasonal": y[steps - 5] - y[steps]}
    assert task.baselines == pytest.approx({name: np.sqrt((error**2).mean()) for name, error in errors.items()})
    trained = y[: task.firsts["train"][-1] + 9]
    assert task.chance == pytest.approx(np.sqrt(((trained.mean() - y[steps]) ** 2).mean()))
    task = task_of(table, horizon=3, period=2)
    seasonal = y[first[:, None] + [-2, -1, -2]] - y[steps]
    assert task.baselines["seasonal"] == pytest.approx(np.sqrt((seasonal**2).mean()))


def test_details_have_the_errors_of_each_target_in_its_units(task_of):
    table = rows(150)
    task = task_of(table, targets=["x", "y"], horizon=2)
    targets = whole(task, "test")[1]
    details = task.details(targets + 0.1, targets)
    (by_target, by_step) = details.values()
    for row, scale in zip(by_target, task.reader.scales[0], strict=True):
        assert row["model"] == pytest.approx(0.1 * scale, rel=1e-4)
    assert [row["model"] for row in by_step] == pytest.approx([0.1, 0.1], rel=1e-4)
    assert evaluate(task, targets + 0.1) == pytest.approx(0.1, rel=1e-4)
    last = whole(task, "test")[0][:, -1].repeat(1, 2)
    assert evaluate(task, last) == pytest.approx(task.baselines["persistence"], rel=1e-5)
    assert by_target[0]["persistence"] > 0


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
def test_the_loss_is_by_choice_and_the_metric_stays(task_of, loss):
    task = task_of(rows(), loss=loss, quantiles=[0.25, 0.5, 0.9], horizon=2)
    targets = whole(task, "test")[1]
    errors = torch.tensor([-0.5, 0.5, 2.0])
    if loss == "quantile":
        assert task.output_size == 6
        outputs = (targets.unsqueeze(2) + errors).flatten(1)
        expected = (0.75 * 0.0 + 0.25 * 0.5 + 0.5 * 0.5 + 0.1 * 2.0) / 3
        (share,) = (table for title, table in task.details(outputs, targets).items() if "quantile" in title)
        assert [row["share"] for row in share] == [0, 1, 1]
    else:
        outputs = targets + 2
        expected = {"mse": 4, "mae": 2, "huber": 1.5}[loss]
    assert task.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-4)
    unit = 0.5 if loss == "quantile" else 2
    assert evaluate(task, outputs) == pytest.approx(unit * task.reader.scales[0][1], rel=1e-4)
    torch.manual_seed(0)
    answers = torch.zeros_like(outputs).requires_grad_()
    for _ in range(3):
        (gradient,) = torch.autograd.grad(task.loss(answers, targets), answers)
        assert gradient.abs().sum() > 0


def test_the_reader_is_described_by_its_facts_alone(task_of):
    table = rows(60, series=3)
    task = task_of(table, id="name", time="day", known=["yearday"], scaling="series", horizon=2)
    facts = json.loads(json.dumps(task.facts))
    assert facts.pop("reader") == "table"
    assert facts.pop("quantiles") is facts.pop("separator") is facts.pop("decimal") is None
    reader = TableReader(**facts)
    read = reader.rows_of(table)
    again = reader.windows(read)
    firsts = torch.from_numpy(task.firsts["test"])
    assert torch.equal(again.inputs(firsts), whole(task, "test")[0])
    targets = whole(task, "test")[1]
    assert torch.equal(reader.decode(targets, read, task.firsts["test"]), task.decode(targets, "test"))
    other = table[:30].assign(name="s9")
    with pytest.raises(ValueError, match="series 's9' was not in training"):
        reader.windows(reader.rows_of(other))


# Refusals


def with_row(table, row, column, value):
    table = table.astype({column: object})
    table.loc[row, column] = value
    return table


BAD = {
    "text": (
        lambda t: with_row(t, 3, "x", "many"),
        {},
        "column 'x' should hold a number in every row, found 'many' in line 5",
    ),
    "gap": (lambda t: with_row(t, 3, "x", None), {}, "found a gap in line 5 (1 such rows of 200); task.missing="),
    "leading gap": (
        lambda t: with_row(t, 0, "x", None),
        {"missing": "forward"},
        "column 'x' should begin with a number",
    ),
    "known gap": (
        lambda t: with_row(t, 9, "k", None),
        {"missing": "mask", "known": ["k"]},
        "known='k': column 'k' should hold a number in every row, found a gap in line 11",
    ),
    "backwards": (
        lambda t: t[::-1],
        {"time": "day"},
        "2020-07-17 follows 2020-07-18 in line 3; if there are several series, set task.id",
    ),
    "twice": (lambda t: with_row(t, 5, "day", "2020-01-05"), {"time": "day"}, "2020-01-05 comes twice in line 7"),
    "no date": (
        lambda t: with_row(t, 5, "day", "soon"),
        {"time": "day"},
        "should hold a date or a number in every row, found 'soon'",
    ),
    "apart": (
        lambda t: t.assign(name=["a", "b"] * 100),
        {"id": "name"},
        "hold the rows of a series together, and 'a' goes on in line 4",
    ),
    "no id": (
        lambda t: with_row(t, 7, "name", None),
        {"id": "name"},
        "should name a series in every row, found a gap in line 9",
    ),
    "constant": (lambda t: t.assign(x=1), {}, "column 'x' should vary, and is constant over training"),
    "empty": (lambda t: t[:0], {}, "there is none below the header"),
    "short": (lambda t: t[:5], {}, "window=6 with horizon=1 needs 7 rows, and the table has 5"),
    "short series": (
        lambda t: t.assign(name=["a"] * 195 + ["b"] * 5),
        {"id": "name"},
        "and series 'b' has 5 (1 such series of 2)",
    ),
    "long window": (None, {"window": 200}, "window=200 with horizon=1 needs 201 rows, and the table has 200"),
    "no test": (None, {"window": 198}, "leave none for"),
    "column": (None, {"inputs": ["X"]}, "inputs should be a column of"),
    "target column": (None, {"targets": ["z"]}, "targets should be a column of"),
    "no targets": (None, {"targets": []}, "targets should name the columns to forecast, got none"),
    "no inputs": (None, {"inputs": []}, "inputs should name the columns to forecast from, got none"),
    "twice in inputs": (None, {"inputs": ["x", "x"]}, "inputs should be names of columns, each once, got ['x', 'x']"),
    "known target": (None, {"known": ["y"]}, "known='y' is a target: reading it ahead would give the answer away"),
    "known, unknown": (
        None,
        {"known": ["minute"], "time": "day"},
        "got 'minute'; from the dates of task.time also hour, weekday, monthday, yearday",
    ),
    "large": (
        lambda t: with_row(t, 3, "x", 1e301),
        {},
        "column 'x' should hold a number below 1e+30 in every row, found '1e+301' in line 5",
    ),
    "day_first": (None, {"day_first": "yes"}, "day_first should be True or False, got 'yes'"),
    "known without time": (None, {"known": ["hour"]}, "known='hour' is found from dates: name their column, task.time"),
    "known of numbers": (
        lambda t: t.assign(day=range(200)),
        {"known": ["hour"], "time": "day"},
        "needs dates, and time='day' holds numbers",
    ),
    "time input": (None, {"inputs": ["day"], "time": "day"}, "inputs should not contain time='day', got ['day']"),
    "id target": (None, {"targets": ["k"], "id": "k"}, "targets should not contain id='k', got ['k']"),
    "time is id": (None, {"time": "day", "id": "day"}, "time and id should be two columns"),
    "window": (None, {"window": 0}, "window should be a positive whole number, got 0"),
    "horizon": (None, {"horizon": 0}, "horizon should be a positive whole number, got 0"),
    "period": (None, {"period": 0}, "period should be a positive whole number, got 0"),
    "loss": (None, {"loss": "l1"}, "loss should be 'mse', 'mae', 'huber' or 'quantile', got 'l1'"),
    "quantiles": (None, {"quantiles": [0.1, 0.9]}, "include the median, 0.5, got [0.1, 0.9]"),
    "missing": (None, {"missing": "drop"}, "missing should be 'refuse', 'mask' or 'forward', got 'drop'"),
    "split": (None, {"split": "random"}, "split should be 'time' or 'id', got 'random'"),
    "one series": (None, {"split": "id"}, "split='id' needs three series or more, got 1"),
    "scaling": (None, {"scaling": "series"}, "scaling='series' needs a column that tells the series apart"),
    "scaling by id": (None, {"scaling": "series", "id": "name", "split": "id"}, "scaling='series' needs split='time'"),
    "masked changes": (
        None,
        {"missing": "mask", "difference": True},
        "difference=true needs missing='forward' or 'refuse'",
    ),
    "border": (None, {"test_from": "2020-03-01"}, "test_from should be a fraction between 0 and 1 without task.time"),
    "kind of border": (None, {"time": "day", "test_from": 1921}, "test_from should be a fraction, or a date as in"),
    "order of borders": (None, {"val_from": 0.9}, "val_from should be before test_from, got 0.9 and 0.85"),
    "until too early": (None, {"time": "day", "until": "1999-01-01"}, "until leaves no row"),
    "until": (None, {"until": 1955}, "until=1955 needs the column of times"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(task_of, case):
    change, settings, message = BAD[case]
    table = rows()
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        task_of(table if change is None else change(table), **settings)


@pytest.mark.parametrize("case", ["text", "known target"])
def test_what_is_refused_ends_with_one_line_and_exit_code_1(tmp_path, case):
    change, settings, message = BAD[case]
    (change or (lambda table: table))(rows()).to_csv(tmp_path / "mine.csv", index=False)
    settings = {"path": "mine.csv", "inputs": ["x", "y"], "targets": ["y"], "window": 6} | settings
    words = [f"task.{name}={str(value).replace(' ', '')}" for name, value in settings.items()]
    command = [sys.executable, str(ROOT / "train.py"), "task=table", *words, "hydra.run.dir=run"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 1
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_weather_in_seattle_has_two_targets_and_baselines():
    task = shipped("seattle_weather")
    assert (task.input_size, task.output_size) == (4, 24)
    assert task.baselines.keys() == {"persistence", "seasonal"}
    assert task.solved_at < task.chance


def test_names_of_series_are_those_of_the_file(task_of):
    table = rows(40, series=4)
    table["name"] = table["name"].map({"s0": "01", "s1": "1", "s2": "02", "s3": "2"})
    assert task_of(table, id="name").rows.names == ["01", "1", "02", "2"]


def test_a_scale_for_each_of_too_many_series_is_refused(task_of, monkeypatch):
    monkeypatch.setattr("seqmodels.tasks.real.table_reader.MOST_SCALES", 5)
    with pytest.raises(ValueError, match=r"for at most 5 columns of all series together, got 3 series with 2 each"):
        task_of(rows(series=3), id="name", scaling="series")
    assert task_of(rows(series=2), id="name", scaling="series").facts["names"] == ["s0", "s1"]


@pytest.mark.parametrize("how", ["found", "said"])
def test_days_come_first_in_every_part_if_they_do_in_the_whole(task_of, tmp_path, how):
    table = rows()
    table["day"] = pd.to_datetime(table["day"]).dt.strftime("%d/%m/%Y")
    part = table[31:43]  # 01/02/2020 to 12/02/2020, the first days of February
    part.to_csv(tmp_path / "part.csv", index=False)
    if how == "said":
        with pytest.raises(ValueError, match=r"write dates as 2024-02-13, or set task\.day_first"):
            task_of(part, time="day", window=2)
        task = task_of(part, time="day", window=2, day_first=True, inputs=["y"])
    else:
        task = task_of(table, time="day", val_from="10/05/2020")
        assert task.report["windows"][1]["targets from"] == "2020-05-10"
    times = TableReader(**task.reader.facts).read(tmp_path / "part.csv")[0].times
    assert (times == np.arange("2020-02-01", "2020-02-13", dtype="datetime64[D]")).all()


def test_no_score_beyond_chance_counts_as_solved(tmp_path):
    """Persistence is worse than the mean where values have nothing to do with one another."""
    pd.DataFrame({"x": np.random.default_rng(0).standard_normal(300)}).to_csv(tmp_path / "noise.csv", index=False)
    task = Table(str(tmp_path / "noise.csv"), ["x"], ["x"], window=4)
    assert task.solved_at == task.chance < task.baselines["persistence"]
