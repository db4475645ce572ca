"""A finished run answers other files, and streams, as it answered its own test."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import seqmodels
from seqmodels.checks import UserError
from seqmodels.predict.answers import answers_to
from seqmodels.predict.tables import TableForm
from seqmodels.restore import RunFolderError

SHORT = ["trainer.max_steps=6", "trainer.val_check_interval=3", "parity=off", "data.batch_size=16"]
LAYERS = {
    "rnn of two layers": ["model=manual_rnn", "model.hidden_size=8", "model.num_layers=2"],
    "lstm of torch": ["model=nn_lstm", "model.hidden_size=8"],
    "scan in blocks": ["model=min_gru", "model.hidden_size=8", "block=prenorm_mlp", "block.kernel_size=3"],
    "transformer": ["model=transformer", "model.hidden_size=8", "model.heads=2"],
    "both directions": ["model=manual_gru", "model.hidden_size=8", "model.bidirectional=true"],
}


def long_table(every_step=False):
    """Thirty-six sequences of 2 to 7 steps, half of each class; y is missing here and there."""
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(36), rng.integers(2, 8, 36))
    label = number % 2 if not every_step else rng.integers(0, 2, len(number))
    x, y = rng.standard_normal((2, len(number)))
    y[rng.random(len(y)) < 0.2] = np.nan
    names = np.array(["even, so", "odd"])
    table = pd.DataFrame({"who": [f"s{i}" for i in number], "kind": names[label], "x": x + label, "y": 5 + 3 * y})
    return table.assign(split=np.array(["train", "train", "val", "test"])[number % 4])


def series(count=2):
    """Series of 60 hours, with a temperature known in advance."""
    rng = np.random.default_rng(0)
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    parts = [
        pd.DataFrame({"place": f"p{i}", "time": hours, "load": 50 * i + rng.standard_normal(60).cumsum(),
                      "price": rng.standard_normal(60), "warm": rng.standard_normal(60)})
        for i in range(count)
    ]  # fmt: skip
    return pd.concat(parts)


def words(path, *more):
    return [f"task.path={path}", *SHORT, *more]


SEQUENCES = ["task=sequences", "task.inputs=[x,y]", "task.id=who", "task.label=kind", "task.split=given"]
TABLES = ["task=table", "task.inputs=[load,price]", "task.targets=[load,price]", "task.window=5", "task.horizon=3"]
FULL = [*TABLES, "task.id=place", "task.time=time", "task.known=[hour,warm]", "task.scaling=series"]


def same(predicted, own, keys):
    """Whether all answers of a run's own predictions are among those predicted, to the last digit."""
    predicted, own = predicted.set_index(keys), own.set_index(keys)
    own = own[[name for name in own if not name.startswith("target")]]
    assert len(own)
    assert list(predicted) == list(own)
    return predicted.loc[own.index].equals(own)


@pytest.fixture
def trained(train, tmp_path):
    """A function from a table and words to a predictor, the run's own predictions, and the test rows of the table."""

    def trained(table, *more, name="run"):
        table.to_csv(tmp_path / "mine.csv", index=False)
        folder = train(*words(tmp_path / "mine.csv", *more), name=name)
        own = pd.read_csv(folder / "predictions.csv", dtype={"id": str})
        (tmp_path / "mine.csv").unlink()
        return seqmodels.load_predictor(folder), own

    return trained


@pytest.mark.parametrize(
    ("layer", "every_step"),
    [("rnn of two layers", False), ("scan in blocks", True), ("transformer", False), ("both directions", True),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in [("lstm of torch", True), ("scan in blocks", False),
                                                                ("transformer", True), ("both directions", False)])],
)  # fmt: skip
def test_sequences_are_answered_as_in_the_test_to_the_last_digit(layer, every_step, trained, tmp_path):
    table = long_table(every_step)
    missing = "forward" if every_step else "mask"
    settings = [f"task.every_step={every_step}".lower(), f"task.missing={missing}"]
    predictor, own = trained(table, *SEQUENCES, *settings, *LAYERS[layer])
    keys = ["id", "step"] if every_step else ["id"]
    assert list(own) == [*keys, "target", "answer", "probability_even, so", "probability_odd"]
    for name, part in {"test": table[table["split"] == "test"], "all": table}.items():
        part.drop(columns=["kind", "split"]).to_csv(tmp_path / f"{name}.csv", index=False, sep=";", decimal=",")
        predicted = predictor.predict(tmp_path / f"{name}.csv")
        assert same(predicted, own, keys)
        assert len(predicted) == (len(part) if every_step else part["who"].nunique())

    if every_step and layer == "both directions":
        with pytest.raises(UserError, match="reads in two directions, and needs the whole sequence"):
            predictor.step({"x": 1, "y": 2})
        return
    streamed = pd.concat([predictor.step(row) for row in table.to_dict("records")], ignore_index=True)
    if not every_step:
        assert streamed["step"].tolist() == (table.groupby("who").cumcount() + 1).tolist()
        streamed = streamed.groupby("id", sort=False).tail(1).drop(columns="step").reset_index(drop=True)
    pd.testing.assert_frame_equal(streamed, predicted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("full", "rnn of two layers"), ("forward", "transformer"), ("difference", "both directions"),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in [("plain", "lstm of torch"), ("mask", "scan in blocks"),
                                                                ("full", "scan in blocks"),
                                                                ("quantiles", "rnn of two layers")])],
)  # fmt: skip
def test_tables_are_answered_as_in_the_test_to_the_last_digit(kind, layer, trained, tmp_path):
    table = series() if kind == "full" else series(1)
    settings = {
        "full": FULL,
        "difference": [*TABLES, "task.difference=true", "task.time=time"],
        "quantiles": [*TABLES, "task.loss=quantile"],
        "mask": [*TABLES, "task.missing=mask"],
        "forward": [*TABLES, "task.missing=forward"],
    }.get(kind, TABLES)
    if kind in ("mask", "forward"):
        table.loc[[3, 30, 31, 57], "load"] = np.nan
    predictor, own = trained(table, *settings, *LAYERS[layer])
    keys = [name for name in ("id", "after", "step") if name in own]
    assert ("answer_load_0.9" in own) == (kind == "quantiles")
    table.to_csv(tmp_path / "new.csv", index=False, sep="\t")
    predicted = predictor.predict(tmp_path / "new.csv")
    assert same(predicted, own, keys)

    streamed = [predictor.step(row) for row in table.astype({"time": str}).to_dict("records")]
    streamed = pd.concat([answers for answers in streamed if answers is not None], ignore_index=True)
    pd.testing.assert_frame_equal(streamed, predicted, rtol=1e-6)


def test_the_test_alone_needs_the_rows_that_its_windows_read(trained, tmp_path):
    table = series(1)
    predictor, own = trained(table, *TABLES, "task.time=time")
    first = table.index[table["time"].map(lambda time: time.isoformat()) == own["after"].iloc[0]][0]
    table.loc[first - 4 :].to_csv(tmp_path / "new.csv", index=False)
    predicted = predictor.predict(tmp_path / "new.csv")
    assert same(predicted, own, ["after", "step"])
    assert (
        predicted["after"].iloc[-1] == table["time"].iloc[-1].isoformat()
    )  # a forecast of what is not yet in the file
    assert len(predicted) == len(own) + 3 * 3


def test_dates_are_read_as_in_training(trained, tmp_path):
    """Of the days 01/02 to 03/02 alone one cannot tell whether they are in January or in February."""
    table = series(1)
    table["time"] = (table["time"] + pd.Timedelta(days=31)).dt.strftime("%d/%m/%Y %H:%M")
    predictor, own = trained(table, *TABLES, "task.time=time", "task.day_first=true")
    assert own["after"].str.startswith("2024-02-0").all()
    table.to_csv(tmp_path / "new.csv", index=False)
    assert same(predictor.predict(tmp_path / "new.csv"), own, ["after", "step"])
    streamed = pd.concat([answers for row in table.to_dict("records") if (answers := predictor.step(row)) is not None])
    keys = ["after", "step"]
    expected = own.set_index(keys)["answer_load"]
    np.testing.assert_allclose(streamed.set_index(keys).loc[expected.index, "answer_load"], expected, atol=1e-5)


def test_a_series_too_short_for_an_answer_is_named(trained, tmp_path):
    table = series()
    predictor, _ = trained(table, *TABLES, "task.id=place")
    table.iloc[:64].to_csv(tmp_path / "new.csv", index=False)
    examples = predictor.read(tmp_path / "new.csv")
    assert list(examples.left_out) == ["p1"]
    assert len(examples) == 56
    table.iloc[:65].to_csv(tmp_path / "new.csv", index=False)
    assert not predictor.read(tmp_path / "new.csv").left_out
    table.iloc[:4].to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match=r"new.csv is too short: it holds nothing for this model to answer"):
        predictor.predict(tmp_path / "new.csv")


def test_a_series_that_begins_with_a_gap_has_nothing_to_be_filled_with(trained, tmp_path):
    table = series(1)
    predictor, _ = trained(table, *TABLES, "task.missing=forward")
    table.loc[0, "load"] = np.nan
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match=r"column 'load' should begin with a number .* found a gap in line 2"):
        predictor.predict(tmp_path / "new.csv")
    with pytest.raises(ValueError, match="column 'load' should begin with a number"):
        predictor.step(table.iloc[0].to_dict())


def test_a_stream_fills_gaps_forward_as_a_file_does(trained, tmp_path):
    """Rows in which only what is known in advance is given are not measured, and end the forecasts."""
    table = series(1)
    predictor, _ = trained(table, *TABLES, "task.known=[warm]", "task.missing=forward")
    table.loc[[3, 4, 5, 6, 7, 8, 9, 10, 30], "load"] = np.nan
    table.loc[table.index >= 50, ["load", "price"]] = np.nan
    table.to_csv(tmp_path / "new.csv", index=False)
    predicted = predictor.predict(tmp_path / "new.csv")
    streamed = [answers for row in table.to_dict("records") if (answers := predictor.step(row)) is not None]
    pd.testing.assert_frame_equal(pd.concat(streamed, ignore_index=True), predicted, rtol=1e-5)


def test_files_are_written_as_the_run_was_told(trained, tmp_path):
    """The decimal mark of 1,5;2.5 cannot be found."""
    table = series(1)
    table["note"] = ["1.5", *["2,5"] * 59]
    text = table.to_csv(index=False, sep=";", decimal=",")
    (tmp_path / "mine.csv").write_text(text)
    task = seqmodels.tasks.real.Table(str(tmp_path / "mine.csv"), ["load"], ["load"], decimal=",", separator=";")
    assert (task.facts["separator"], task.facts["decimal"]) == (";", ",")
    form = TableForm(**{name: value for name, value in task.facts.items() if name != "reader"})
    assert len(form.read(tmp_path / "mine.csv")) == 60 - 24 + 1


def test_rows_to_forecast_hold_what_is_known_and_nothing_else(trained, tmp_path):
    table = series()
    predictor, own = trained(table, *FULL)
    keys = ["id", "after", "step"]
    last = own[own["id"] == "p1"].tail(3)
    ahead = table[(table["place"] == "p1")].copy()
    ahead.loc[ahead["time"] > last["after"].iloc[0], ["load", "price"]] = np.nan
    ahead.to_csv(tmp_path / "new.csv", index=False)
    assert same(predictor.predict(tmp_path / "new.csv"), last, keys)
    ahead.iloc[20, 2] = np.nan
    ahead.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match="column 'load' should hold a number in every row, found a gap in line 22"):
        predictor.predict(tmp_path / "new.csv")


def test_a_target_that_is_no_input_may_be_missing(trained, tmp_path):
    table = series(1)
    predictor, own = trained(table, "task=table", "task.inputs=[price]", "task.targets=[load]", "task.window=5")
    table[["price"]].to_csv(tmp_path / "new.csv", index=False)
    assert same(predictor.predict(tmp_path / "new.csv"), own, ["after", "step"])


def test_rows_of_several_series_may_alternate(trained, tmp_path):
    table = series()
    predictor, own = trained(table, *FULL)
    rows = table.sort_values(["time", "place"]).astype({"time": str}).to_dict("records")
    streamed = pd.concat([answers for row in rows if (answers := predictor.step(row)) is not None])
    keys = ["id", "after", "step"]
    expected = own.set_index(keys)["answer_load"]
    np.testing.assert_allclose(streamed.set_index(keys).loc[expected.index, "answer_load"], expected, atol=1e-5)


def test_numbers_are_in_the_units_of_the_file(trained, tmp_path):
    table = long_table()
    table["kind"] = table.groupby("who")["x"].transform("mean") * 100 + 1000.5
    _, own = trained(table, *SEQUENCES, "task.missing=mask")
    assert list(own) == ["id", "target", "answer"]
    assert own["target"].between(500, 1500).all()
    assert own["answer"].between(500, 1500).all()
    means = table.groupby("who")["kind"].first()
    assert own["target"].tolist() == means[own["id"]].tolist()


def test_of_many_classes_the_probability_of_the_answer_is_written(trained, monkeypatch):
    table = long_table()
    _, every = trained(table, *SEQUENCES, "task.missing=mask")
    monkeypatch.setattr("seqmodels.predict.sequences.MOST_PROBABILITIES", 1)
    _, one = trained(table, *SEQUENCES, "task.missing=mask", name="second")
    assert list(one) == ["id", "target", "answer", "probability"]
    assert one["probability"].equals(every.filter(like="probability").max(axis=1).rename("probability"))


def test_an_answer_does_not_depend_on_the_company(trained):
    predictor, _ = trained(long_table(), *SEQUENCES, "task.missing=mask")
    sequences = torch.randn(100, 5, 4).unbind()
    alone = [answers_to(predictor.model, [sequence])[0] for sequence in sequences]
    assert all(map(torch.equal, alone, answers_to(predictor.model, sequences)))


def test_forecasts_of_one_column_are_tables_too(train, tmp_path):
    folder = train("task=sunspots", "model=nn_gru", *SHORT)
    own = pd.read_csv(folder / "predictions.csv")
    assert same(seqmodels.load_predictor(folder).predict("data/sunspots.csv"), own, ["after", "step"])


# What a stranger may have written

CHANGES = {
    "no facts": (lambda facts: None, "is not on files|predict needs a run on files of your own"),
    "another reader": (lambda facts: facts | {"reader": "os.system"}, "predict needs a run on files of your own"),
    "a list as reader": (lambda facts: facts | {"reader": ["table"]}, "predict needs a run on files of your own"),
    "an unknown fact": (lambda facts: facts | {"path": "/etc/passwd"}, r"facts.path is not as a run writes it"),
    "a fact is missing": (lambda facts: {k: v for k, v in facts.items() if k != "scales"}, r"facts.scales is not as"),
    "text as number": (lambda facts: facts | {"centers": ["0", "0"]}, r"facts.centers.0 is not as a run writes it"),
    "not finite": (lambda facts: facts | {"centers": [math.nan, 0.0]}, r"facts.centers.0 is not as a run writes it"),
    "scale zero": (lambda facts: facts | {"scales": [0.0, 1.0]}, r"facts.scales.0 is not as a run writes it"),
    "too few scales": (lambda facts: facts | {"scales": [1.0]}, "should be equally many"),
    "more inputs": (
        lambda facts: facts | {"inputs": list("xyz"), "centers": [0.0] * 3, "scales": [1.0] * 3},
        "its facts are for a model with input_size=6, and this one has 4",
    ),
    "fewer classes": (lambda facts: facts | {"classes": ["a"]}, "output_size=1, and this one has 2"),
    "an answer at each step": (lambda facts: facts | {"every_step": True}, "every_step=True, and this one has False"),
    "long names": (lambda facts: facts | {"classes": ["a" * 2000, "b"]}, r"facts.classes.0 is not as a run writes it"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The folder of a run on sequences."""
    from seqmodels.config import compose
    from seqmodels.runs.build import build
    from seqmodels.runs.run import run

    folder = tmp_path_factory.mktemp("good")
    long_table().to_csv(folder / "mine.csv", index=False)
    (folder / "run").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqmodels.runs.run.draw", lambda *parts: None)
        settings = [*words(folder / "mine.csv", *SEQUENCES, "task.missing=mask"), "logger=none"]
        run(build(compose("trainer.enable_progress_bar=false", *settings), folder / "run"), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("change", CHANGES)
def test_facts_that_no_run_writes_are_refused(change, good, tmp_path):
    folder = shutil.copytree(good, tmp_path / "bad")
    result = json.loads((folder / "result.json").read_text())
    function, complaint = CHANGES[change]
    result["facts"] = function(result["facts"])
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(RunFolderError, match=complaint) as error:
        seqmodels.load_predictor(folder)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000
