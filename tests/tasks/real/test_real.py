"""The tasks with given data: what their splits hold, and which files they refuse."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seqmodels.batches import generator_for
from seqmodels.tasks.real import Digits, Forecast, Text

SUNSPOTS = pd.read_csv(Path(__file__).parents[3] / "data" / "sunspots.csv")["sunspots"].to_numpy()
CO2 = pd.read_csv(Path(__file__).parents[3] / "data" / "co2.csv")["co2"].to_numpy()


def whole(task, split):
    """A split in order; validation and test as the batches of their evaluation contain it."""
    if split == "train":
        return task.read("train", torch.arange(task.examples("train")))
    batches = [task.batch(split, i, 32, torch.Generator()) for i in range(math.ceil(task.examples(split) / 32))]
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def test_digits_are_all_used_once():
    for read, shape in [("rows", (8, 8)), ("pixels", (64, 1))]:
        task = Digits(read)
        images = torch.cat([task.data[split][0] for split in ("train", "val", "test")])
        assert images.shape == (1797, *shape)
        assert len({image.numpy().tobytes() for image in images}) == 1797
        assert 0 <= images.min() < images.max() <= 1
    inputs, targets = whole(task, "test")
    assert inputs.shape[0] == targets.shape[0] == 300
    assert torch.equal(inputs[:, :, 0].reshape(-1, 8, 8), Digits("rows").data["test"][0])


def test_a_training_batch_is_drawn_from_the_training_split():
    task = Digits()
    training = {image.numpy().tobytes() for image in task.data["train"][0]}
    inputs, _ = task.batch("train", 3, 64, generator_for(1, "train", 3))
    assert {image.numpy().tobytes() for image in inputs} <= training


@pytest.mark.parametrize(
    ("series", "task"),
    [
        (SUNSPOTS, Forecast("data/sunspots.csv", "sunspots", window=24)),
        (CO2, Forecast("data/co2.csv", "co2", window=52, difference=True)),
    ],
    ids=["sunspots", "co2"],
)
def test_forecasts_are_of_the_values_in_order_and_splits_are_chronological(series, task):
    found = [task.decode(whole(task, split)[1], split)[:, 0].numpy() for split in ("train", "val", "test")]
    used = series[len(series) - sum(map(len, found)) :]
    np.testing.assert_allclose(np.concatenate(found), used, rtol=1e-5, atol=1e-5)

    actual, before = found[2], used[len(used) - len(found[2]) - 1 : -1]
    training = series[: len(series) - len(found[1]) - len(found[2])]
    assert math.isclose(task.baselines["persistence"], np.sqrt(np.mean((actual - before) ** 2)), rel_tol=1e-5)
    assert math.isclose(task.chance, np.sqrt(np.mean((actual - training.mean()) ** 2)), rel_tol=1e-5)


@pytest.mark.parametrize("difference", [False, True])
def test_scaling_and_inputs_know_nothing_of_the_future(tmp_path, difference):
    """Values after training may change as they will: what training sees stays the same."""
    rng = np.random.default_rng(0)
    series = rng.standard_normal(100).cumsum()
    tasks = []
    for name, ending in [("a", series[80:]), ("b", series[80:] * 50 + 1000)]:
        pd.DataFrame({"x": np.concatenate([series[:80], ending])}).to_csv(tmp_path / f"{name}.csv")
        tasks.append(Forecast(str(tmp_path / f"{name}.csv"), "x", window=6, difference=difference))
    for part in (0, 1):
        torch.testing.assert_close(whole(tasks[0], "train")[part], whole(tasks[1], "train")[part], rtol=0, atol=0)
    levels = np.diff(series) if difference else series
    inputs, targets = whole(tasks[0], "val")
    scaled = (levels - levels.mean()) / levels.std()
    first = len(whole(tasks[0], "train")[1])
    correlation = np.corrcoef(inputs[0, :, 0], scaled[first : first + 6])[0, 1]
    assert correlation > 0.999999
    assert not torch.isclose(inputs[0, -1, 0], targets[0, 0])


def test_forecast_metric_is_in_the_units_of_the_file():
    task = Forecast("data/sunspots.csv", "sunspots")
    inputs, targets = whole(task, "test")
    metric = task.metric()
    metric.update(*task.scored(inputs[:, -1], targets))  # persistence, as a model that repeats its last input
    assert math.isclose(metric.compute(), task.baselines["persistence"], rel_tol=1e-5)
    assert not task.is_solved(task.baselines["persistence"])


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, {}, "there is none at"),
        ("", {}, "should be a CSV file"),
        ("a,value\n1,2,3,4\n1\n1,2,3,4,5\n", {}, "should be a CSV file"),
        ("time,valve\n1,2\n", {}, "a column of .* (time, valve), got 'value'; did you mean 'valve'?"),
        ("value\n1\n2\nthree\n4\n", {}, "found 'three' in line 4 (1 such rows of 4)"),
        ("time,value\n1,1\n2,\n3,\n4,4\n", {}, "found a gap in line 3 (2 such rows of 4)"),
        ("value\n1\ninf\n", {}, "in line 3"),
        ("value\n" + "1\n2\n" * 10, {"window": 24}, "window=24 with horizon=1 needs 25 rows, and the table has 20"),
        ("value\n" + "1\n" * 100, {"window": 4}, "should vary"),
        ("value\n" + "1\n2\n" * 50, {"window": 0}, "window should be a positive whole number, got 0"),
    ],
)
def test_forecast_refuses_files_it_cannot_read(tmp_path, content, arguments, message):
    file = tmp_path / "mine.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises((OSError, ValueError), match=re.escape(message).replace(r"\.\*", ".*")):
        Forecast(str(file), "value", **arguments)


def test_the_shortest_series_that_is_allowed_is_enough(tmp_path):
    file = tmp_path / "short.csv"
    file.write_text("value\n" + "".join(f"{i % 3}\n" for i in range(31)))
    task = Forecast(str(file), "value", window=24)
    assert [task.examples(split) for split in ("train", "val", "test")] == [4, 1, 2]


def test_text_reads_each_next_character(tmp_path):
    file = tmp_path / "text.txt"
    text = "the quick brown fox jumps over the lazy dog. " * 20 + "ends with an umlaut: ü" + "the lazy dog " * 5
    file.write_text(text, encoding="utf-8")
    task = Text(str(file), length=10)

    def spell(ids):
        return "".join("?" if i == 0 else task.characters[i - 1] for i in ids.tolist())

    joined = "".join(spell(sequence) for sequence in whole(task, "test")[0])
    start = len(text) * 9 // 10
    assert joined == text[start : start + len(joined)].replace("ü", "?").replace(":", "?")
    for split in ("train", "val", "test"):
        inputs, targets = whole(task, split)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert task.input_size == task.output_size == len(set(text[: len(text) * 8 // 10])) + 1


def test_text_baselines_against_counting_by_hand(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("abacabad" * 40)
    task = Text(str(file), length=7)
    train, test = "abacabad" * 32, "abacabad" * 4
    alphabet = "?abcd"
    pairs = [(a, b) for a, b in itertools.pairwise(train)]
    scored = [test[i : i + 2] for i in range((len(test) - 1) // 7 * 7)]

    def count(a, b):
        return 1 + pairs.count((a, b))

    bigram = [-math.log2(count(*pair) / sum(count(pair[0], b) for b in alphabet)) for pair in scored]
    assert math.isclose(task.baselines["bigram"], np.mean(bigram), rel_tol=1e-5)
    column = {b: 1 + train.count(b) for b in alphabet}
    unigram = [-math.log2(column[b] / sum(column.values())) for _, b in scored]
    assert math.isclose(task.chance, np.mean(unigram), rel_tol=1e-5)


def test_text_refuses_files_it_cannot_read(tmp_path):
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 10)
    for name, message in [("missing", "there is none at"), ("short", "at least"), ("binary", "UTF-8")]:
        with pytest.raises((OSError, ValueError), match=message):
            Text(str(tmp_path / f"{name}.txt"))


def test_text_reads_the_sources_of_this_package_by_default():
    task = Text()
    assert task.examples("test") > 20
    assert task.chance > task.baselines["bigram"] > 1
