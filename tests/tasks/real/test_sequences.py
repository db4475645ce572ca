"""Whole sequences from files: what is read, how it is divided, scaled and put into batches."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from seqmodels.batches import generator_for
from seqmodels.model import SequenceModel
from seqmodels.tasks.real import Sequences
from seqmodels.tasks.real.sequences_report import class_details
from seqmodels.tasks.task import IGNORED

CHANNELS = [f"c{number}" for number in range(1, 13)]


@functools.cache
def vowels():
    return Sequences("data/japanese_vowels.csv", CHANNELS, label="speaker", id="id", split="given")


def frame(sequences=60, seed=0):
    """A long table: sequences of 3 to 12 steps, of the classes a and b, by ten writers."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, sequences)
    number = np.repeat(np.arange(sequences), lengths)
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in number],
            "writer": [f"w{i % 10}" for i in number],
            "label": np.array(["a", "b"])[number // 10 % 2],
            "x": rng.standard_normal(len(number)) + number // 10 % 2,
            "y": 100 * rng.standard_normal(len(number)) + 500,
            "z": rng.standard_normal(len(number)) * 3.0,
        }
    )


@pytest.fixture
def task_of(tmp_path):
    """A function from a table and settings to the task of it."""

    def make(table, **settings):
        table.to_csv(tmp_path / "mine.csv", index=False)
        return Sequences(str(tmp_path / "mine.csv"), **{"inputs": ["x", "y"], "label": "label", "id": "id", **settings})

    return make


def sequences_of(task, split):
    """The inputs and the target of each sequence of a split, by id; of validation and test as their batches have it."""
    found = {}
    for index in range(-(-task.examples(split) // 16)):
        numbers = torch.arange(16 * index, min(16 * index + 16, task.examples(split)))
        evaluated = split != "train"
        batch = task.batch(split, index, 16, None) if evaluated else task.data[split].batch(numbers, task.every_step)
        for number, inputs, target, length in zip(numbers.tolist(), *batch, strict=True):
            found[task.ids[split][number]] = (inputs[:length], target)
            assert (inputs[length:] == 0).all()
    return found


def test_japanese_vowels():
    task = vowels()
    table = pd.read_csv("data/japanese_vowels.csv")
    assert {split: task.examples(split) for split in task.data} == {"train": 225, "val": 45, "test": 370}
    assert task.symbols == [str(number) for number in range(1, 10)]
    training = table[table["id"].astype(str).isin(task.ids["train"])][CHANNELS].to_numpy()
    groups = table.groupby("id", sort=False)
    found = sequences_of(task, "test")
    assert len(found) == 370
    for name, (inputs, target) in found.items():
        rows = groups.get_group(int(name))
        assert (rows["split"] == "test").all()
        assert task.symbols[target] == str(rows["speaker"].iloc[0])
        expected = (rows[CHANNELS].to_numpy() - training.mean(axis=0)) / training.std(axis=0)
        np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)
    assert task.data["val"].targets.bincount()[1:].tolist() == [5] * 8  # of each speaker as many
    assert task.chance == 31 / 370  # the training classes are equally frequent, and the first of them answers


def test_validation_and_test_are_grouped_by_length():
    task = vowels()
    _, _, lengths = task.batch("test", 0, 370, torch.Generator())
    assert torch.equal(lengths, lengths.sort().values)


def test_training_batches_have_similar_lengths_and_draw_each_sequence_equally_often():
    data = vowels().data["train"]
    batches = [data.draw(16, generator_for(1, "train", index)) for index in range(4000)]
    spreads = [data.lengths[chosen].max() - data.lengths[chosen].min() for chosen in batches]
    assert np.mean(spreads) < 0.5 * (data.lengths.max() - data.lengths.min())
    bucket = torch.bucketize(torch.cat(batches), data.bounds, right=True) - 1
    found = torch.bincount(bucket) / len(bucket)
    torch.testing.assert_close(found, data.bounds.diff() / 225, atol=4 * 0.5 / 4000**0.5, rtol=0)  # 4,000 draws of one
    counts = torch.bincount(torch.cat(batches), minlength=225)
    expected = 4000 * 16 / 225
    assert (counts - expected).abs().max() < 5 * expected**0.5 + 4 * 0.5 / 4000**0.5 * expected / 0.28


def test_sequences_of_one_length_share_a_bucket(task_of):
    """A file is often sorted by class, and a batch should have several classes."""
    table = pd.DataFrame(
        {"id": np.repeat(np.arange(400), 2), "label": np.repeat(np.arange(400) // 200, 2), "x": np.arange(800.0)}
    )
    task = task_of(table, inputs=["x"])
    assert len(task.batch("train", 0, 64, generator_for(1, "train", 0))) == 2  # no padding, so no lengths
    assert len(task.data["train"].bounds) == 2
    assert set(task.batch("train", 0, 64, generator_for(1, "train", 0))[1].tolist()) == {0, 1}


def folder_of(table, folder, classes=False):
    for name, rows in table.groupby("id", sort=False):
        file = folder / (rows["label"].iloc[0] if classes else "") / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows[["z", "x", "y"]].to_csv(file, index=False)
    return folder


def as_plain(task):
    return {
        split: {
            name.rpartition("/")[2].removesuffix(".csv"): (inputs.tolist(), target.tolist())
            for name, (inputs, target) in sequences_of(task, split).items()
        }
        for split in task.data
    }


def test_all_layouts_hold_the_same_sequences(tmp_path, task_of):
    table = frame()
    table["split"] = table["id"].map({f"s{i}": ["train", "train", "val", "test"][i % 4] for i in range(60)})
    long = task_of(table, split="given")
    folder = folder_of(table, tmp_path / "files")
    about = table.groupby("id", sort=False)[["label", "split"]].first().reset_index()
    about.to_csv(folder / "labels.csv", index=False)
    labelled = Sequences(str(folder), ["x", "y"], label="label", id="id", labels="labels.csv", split="given")
    assert as_plain(labelled) == as_plain(long)
    classes = Sequences(str(folder_of(table, tmp_path / "classes", classes=True)), ["x", "y"])
    assert classes.symbols == ["a", "b"]
    assert sum(map(classes.examples, classes.data)) == 60
    label_of = table.groupby("id")["label"].first()
    for split in classes.data:
        for name, (_, target) in sequences_of(classes, split).items():
            folder_name, _, file = name.partition("/")
            assert folder_name == classes.symbols[target] == label_of[file.removesuffix(".csv")]


@pytest.mark.parametrize("unusual", ["quotes", "order", "parquet", "blank line", "decimal comma"])
def test_files_that_are_not_plain_are_read_one_by_one(tmp_path, task_of, unusual):
    table = frame(sequences=20)
    plain = Sequences(str(folder_of(table, tmp_path / "plain", classes=True)), ["x", "y"])
    folder = folder_of(table, tmp_path / "unusual", classes=True)
    file = folder / "b" / "s12.csv"
    rows = pd.read_csv(file)
    match unusual:
        case "quotes":
            rows.to_csv(file, index=False, quoting=1)
        case "order":
            rows[["y", "z", "x"]].to_csv(file, index=False)
        case "parquet":
            pytest.importorskip("pyarrow")
            rows.to_parquet(file.with_suffix(".parquet"))
            file.unlink()
        case "blank line":
            file.write_text(file.read_text() + "\n\n")
        case "decimal comma":
            rows.to_csv(file, index=False, sep=";", decimal=",")
    task = Sequences(str(folder), ["x", "y"])
    for split in task.data:
        ours, theirs = sequences_of(task, split), sequences_of(plain, split)
        assert [name.partition(".")[0] for name in ours] == [name.partition(".")[0] for name in theirs]
        for one, other in zip(ours.values(), theirs.values(), strict=True):
            torch.testing.assert_close(one[0], other[0])


def test_names_of_files_that_look_like_numbers(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:03}.csv").write_text(f"x\n{number}\n{number}.5\n")
    pd.DataFrame({"file": [f"{i:03}" for i in range(12)], "label": [0, 1] * 6}).to_csv(tmp_path / "l.csv", index=False)
    task = Sequences(str(tmp_path), ["x"], label="label", id="file", labels="l.csv")
    assert sorted(itertools.chain(*task.ids.values())) == [f"{i:03}.csv" for i in range(12)]


def test_scales_and_training_batches_know_nothing_of_the_test(task_of):
    """What only the test holds may change as it will. A scale that saw it would differ."""
    table = frame()
    table["split"] = table["id"].map({f"s{i}": ["train", "train", "val", "test"][i % 4] for i in range(60)})
    other = table.copy()
    other.loc[other["split"] != "train", ["x", "y"]] *= 1000
    first, second = task_of(table, split="given"), task_of(other, split="given")
    assert first.facts == second.facts
    for index in range(5):
        pairs = zip(
            *(task.batch("train", index, 32, generator_for(1, "train", index)) for task in (first, second)), strict=True
        )
        assert all(torch.equal(one, two) for one, two in pairs)
    everything = table[["x", "y"]].to_numpy()
    assert not np.allclose(first.facts["centers"], everything.mean(axis=0))
    training = table.loc[table["split"] == "train", ["x", "y"]].to_numpy()
    np.testing.assert_allclose(first.facts["centers"], training.mean(axis=0))
    np.testing.assert_allclose(first.facts["scales"], training.std(axis=0))


def test_random_splits_hold_equal_shares_of_the_classes(task_of):
    table = frame(sequences=120)
    task = task_of(table)
    counts = [task.data[split].targets.bincount(minlength=2).tolist() for split in ("train", "val", "test")]
    assert counts == [[40, 40], [10, 10], [10, 10]]
    assert sorted(itertools.chain(*task.ids.values())) == sorted(table["id"].unique())
    assert task_of(table, split_seed=1).ids["test"] != task.ids["test"] == task_of(table).ids["test"]


@pytest.mark.parametrize("given", [False, True])
def test_a_group_lies_in_one_split(task_of, given):
    table = frame()
    table["split"] = np.where(table["writer"] < "w7", "train", "test")
    for seed in range(5):
        task = task_of(table, group="writer", split="given" if given else "random", split_seed=seed)
        writer = table.groupby("id")["writer"].first()
        sides = [set(writer[task.ids[split]]) for split in ("train", "val", "test")]
        assert sum(map(len, sides)) == 10 == len(set.union(*sides))
        assert all(sides)


def test_a_label_at_each_step(task_of):
    table = frame()
    table["label"] = np.where(table["x"] > 0.5, "up", "down")
    task = task_of(table, every_step=True)
    inputs, targets, lengths = task.batch("test", 0, 5, torch.Generator())
    x = inputs[:, :, 0] * task.reader.scales[0] + task.reader.centers[0]
    inside = torch.arange(inputs.size(1)) < lengths[:, None]
    assert torch.equal(targets[inside], (x > 0.5).long()[inside])
    assert (targets[~inside] == IGNORED).all()
    assert task.baselines["linear"] > 0.9  # a threshold is linear
    outputs = 10.0 * F.one_hot(targets.clamp(min=0), 2)
    metric = task.metric()
    metric.update(*task.scored(outputs, targets))
    assert metric.compute() == 1


def test_numbers_are_scaled_and_scored_in_the_units_of_the_file(task_of):
    table = frame(sequences=200)
    table["label"] = 1000 + 50 * table.groupby("id")["x"].transform("mean")
    task = task_of(table)
    assert task.metric_name == "rmse"
    assert task.symbols is None
    assert task.output_size == 1
    known = table.groupby("id")["label"].first()
    test = known[task.ids["test"]].to_numpy()
    assert task.chance == pytest.approx(np.sqrt(np.mean((test - known[task.ids["train"]].mean()) ** 2)), rel=1e-5)
    assert task.baselines["linear"] < 0.1 * task.chance
    assert task.is_solved(0.0)
    assert not task.is_solved(task.chance)
    _, targets, _ = task.batch("test", 0, 1000, torch.Generator())
    np.testing.assert_allclose(task.decode(targets, "test")[:, 0], test, rtol=1e-5)
    np.testing.assert_allclose(task.reader.decode(targets), test, rtol=1e-5)
    metric = task.metric()
    metric.update(torch.zeros_like(targets), targets)
    assert metric.compute().item() == pytest.approx(task.chance, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["no", "yes"], None, ["no", "yes"]),
        ([10, 9], None, ["9", "10"]),
        ([True, False], None, ["False", "True"]),
        ([0.5, 1.0], None, None),
        ([0.5, 1.0], "classes", ["0.5", "1"]),
        ([10, 9], "numbers", None),
    ],
)
def test_the_kind_of_labels(task_of, values, kind, classes):
    table = frame()
    table["label"] = [values[int(name[1:]) % 2] for name in table["id"]]
    assert task_of(table, kind=kind).symbols == classes


def test_classes_are_named_as_in_the_file(tmp_path):
    """Each file of a folder guesses no type of its own: 01 and 1 are two classes, in quotes or not."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(12):
        quote = '"' if number == 0 else ""
        rows = [f"{step},{quote}{['01', '1', '02'][(number + step) % 3]}{quote}" for step in range(5)]
        (folder / f"{number}.csv").write_text("x,label\n" + "\n".join(rows) + "\n")
    task = Sequences(str(folder), ["x"], label="label", every_step=True)
    assert task.symbols == ["01", "1", "02"]


def test_gaps_are_masked_or_filled(task_of):
    table = frame()
    whole = task_of(table)
    table.loc[table["id"] == "s7", "x"] = [np.nan, 1.0, *[np.nan] * (sum(table["id"] == "s7") - 2)]
    settings = {
        "split_seed": next(
            seed for seed in range(20) if "s7" in task_of(table, missing="mask", split_seed=seed).ids["test"]
        )
    }
    masked, filled = (task_of(table, missing=missing, **settings) for missing in ("mask", "forward"))
    whole = task_of(frame(), **settings)
    assert masked.facts["centers"] == filled.facts["centers"] == whole.facts["centers"]
    one = (1.0 - whole.reader.centers[0]) / whole.reader.scales[0]
    inputs = sequences_of(masked, "test")["s7"][0]
    assert masked.input_size == 4
    assert inputs[0].tolist()[::2] == [0, 1]
    torch.testing.assert_close(inputs[1, 0].item(), one)
    assert inputs[:, 2].tolist() == [1, 0] + [1] * (len(inputs) - 2)
    assert not inputs[:, 3].any()
    inputs = sequences_of(filled, "test")["s7"][0]
    assert filled.input_size == 2
    torch.testing.assert_close(inputs[:, 0], torch.tensor([0, *[one] * (len(inputs) - 1)], dtype=torch.float32))


def test_steps_without_a_label_do_not_count(task_of):
    table = frame()
    table["label"] = np.where(np.arange(len(table)) % 3 == 0, table["label"], None)
    task = task_of(table, every_step=True, missing="forward")
    for split in task.data:
        _, targets, lengths = task.batch(split, 0, 1000, torch.Generator())
        expected = table[table["id"].isin(task.ids[split])]["label"].notna().sum()
        if split != "train":
            assert (targets != IGNORED).sum() == expected < lengths.sum()


def test_class_weights(task_of):
    table = frame()
    table = table[~table["id"].isin([f"s{i}" for i in range(20, 30)])]  # 20 of a, 30 of b
    task, balanced = task_of(table), task_of(table, class_weights="balanced")
    known = task.data["train"].targets
    outputs = torch.randn(len(known), 2, generator=torch.Generator().manual_seed(0))
    losses = F.cross_entropy(outputs, known, reduction="none")
    by_class = torch.stack([losses[known == number].mean() for number in (0, 1)])
    torch.testing.assert_close(balanced.loss(outputs, known), by_class.mean())
    torch.testing.assert_close(
        task_of(table, class_weights=[0.5, 2.0]).loss(outputs, known), (losses * torch.tensor([0.5, 2.0])[known]).mean()
    )
    parts = [balanced.loss(outputs[part], known[part]) * len(known[part]) for part in (slice(0, 7), slice(7, None))]
    torch.testing.assert_close(sum(parts) / len(known), balanced.loss(outputs, known))  # a mean over positions


def test_details_against_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score

    task = vowels()
    right = task.data["test"].targets
    outputs = torch.randn(370, 9, generator=torch.Generator().manual_seed(0)) + 2 * F.one_hot(right, 9)
    details = task.details(outputs, right)
    answers = outputs.argmax(dim=1)
    assert details["test"][0]["accuracy"] == pytest.approx((answers == right).float().mean())
    assert details["test"][0]["balanced accuracy"] == pytest.approx(balanced_accuracy_score(right, answers))
    recalls = details["recall of each class"]
    assert [row["class"] for row in recalls] == task.symbols
    assert [row["recall"] for row in recalls] == pytest.approx(recall_score(right, answers, average=None))
    rows = details["answers (columns) to each class (rows)"]
    assert [list(row.values())[1:] for row in rows] == confusion_matrix(right, answers).tolist()


def test_of_many_classes_the_most_frequent_mistakes_are_named():
    names = [f"n{number}" for number in range(20)]
    right = np.array([3, 3, 3, 4, 5, 5])
    details = class_details(np.array([3, 7, 7, 4, 5, 6]), right, names)
    assert details["most frequent mistakes"] == [
        {"class": "n3", "answer": "n7", "times": 2}, {"class": "n5", "answer": "n6", "times": 1},
    ]  # fmt: skip
    assert details["test"] == [{"accuracy": 0.5, "balanced accuracy": pytest.approx((1 / 3 + 1 + 1 / 2) / 3)}]
    assert details["recall of each class"][0] == {"class": "n0", "labels": 0, "recall": None}


def test_the_report_says_what_was_read():
    report = vowels().report
    assert report["data/japanese_vowels.csv"] == [
        {"format": "csv", "separator": "comma", "decimal": ".", "sequences": 640, "steps": 9961}
    ]
    assert [row["column"] for row in report["columns"]] == [*CHANNELS, "speaker"]
    assert report["splits"][2] == {
        "split": "test", "sequences": 370, "steps": 5687, "shortest": 7, "median": 15.0, "longest": 29,
    }  # fmt: skip
    assert report["labels of each class"][2] == {"class": "3", "train": 25, "val": 5, "test": 88}


def test_a_reader_is_rebuilt_from_its_facts(task_of, tmp_path):
    import json

    from seqmodels.tasks.real.sequences_reader import SequencesReader

    table = frame()
    task = task_of(table)
    facts = json.loads(json.dumps(task.facts))
    assert facts.pop("reader") == "sequences"
    reader = SequencesReader(**facts)
    table.drop(columns=["label", "writer"]).to_csv(tmp_path / "new.csv", index=False)
    recorded = reader.read(tmp_path / "new.csv")
    values = torch.split(reader.encode(recorded), recorded.lengths.tolist())
    by_id = dict(zip(recorded.ids, values, strict=True))
    for name, (inputs, _) in sequences_of(task, "test").items():
        assert torch.equal(inputs, by_id[name])
    assert reader.decode(torch.tensor([[0.0, 1.0], [1.0, 0.0]])) == ["b", "a"]


def spread(row, column, value):
    """A change of one cell of the table of `frame`, by the number of its row."""

    def change(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value

    return change


def unsorted(table):
    table.loc[len(table) - 1, "id"] = "s3"


def with_rare_class(table):
    table["split"] = np.where(table["id"] < "s5", "train", "test")
    table.loc[table["id"] == "s7", "label"] = "c"


def different(table):
    table["label"] = table["id"]


def without_writer(table):
    table["writer"] = table["writer"].where(table["id"] != "s3")


def with_words(*words):
    def change(table):
        table["split"] = [words[int(name[1:]) % len(words)] for name in table["id"]]

    return change


def labelled(value):
    def change(table):
        table["label"] = value

    return change


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (unsorted, {}, "id='id' should keep .* together, and s3 comes again in line 453 of .*mine.csv"),
        (spread(4, "x", "n/a"), {}, "mine.csv: column 'x' .* found a gap in line 6 .*task.missing"),
        (spread(4, "x", "high"), {"missing": "mask"}, "mine.csv: column 'x' .* found 'high' in line 6"),
        (spread(4, "id", None), {}, "id='id' should name a sequence in every row, and is empty in line 6 of"),
        (spread(1, "label", "b"), {}, "label='label' .* has a and b for id=s0 .line 3 of .*every_step"),
        (spread(1, "writer", "w9"), {"group": "writer"}, "group='writer' should have one value for each sequence"),
        (spread([0], "label", None), {"every_step": True}, "label should be given everywhere, and is not for 's0'"),
        (with_rare_class, {"split": "given"}, "'c' is only in validation or test .1 of 60"),
        (labelled("a"), {}, "label should have at least two classes, and is 'a' everywhere"),
        (labelled(0.5), {}, "label should vary in training"),
        (labelled("a"), {"kind": "numbers"}, "for kind='numbers', and is 'a' .60 such labels of 60"),
        (labelled("a"), {"group": "label"}, "label should have at least two classes"),
        (lambda table: table.assign(writer="w"), {"group": "writer"}, "group should have groups .* and there is 1"),
        (None, {"loss": "mae"}, "loss='mae' is for labels that are numbers, and here they are classes"),
        (None, {"solved_at": 2}, "solved_at should be an accuracy above 0, up to 1, got 2"),
        (None, {"split_seed": 2**32}, "split_seed should be below"),
        (different, {}, "no two of 60 to divide are of one class; .* set task.kind=numbers"),
        (spread([0], "label", None), {}, "label='label' .* has a gap and a for id=s0"),
        (without_writer, {"group": "writer"}, "group should be given for every sequence, and is not for 's3'"),
        (with_words("train", "tset"), {"split": "given"}, "holds 'tset'; did you mean 'test'"),
        (with_words("train", "val"), {"split": "given"}, "should say 'test' for some sequences"),
        (with_words("train", "train", "test"), {"split": "given", "group": "writer"}, "as a whole, and 'w0' lies in"),
        (labelled("a"), {"split": "given"}, "split_column should be a column of .*got 'split'"),
        (None, {"split": "group"}, "split should be 'random' or 'given', got 'group'"),
        (None, {"id": None}, "id should be the column of .*mine.csv that tells its sequences apart, got None"),
        (None, {"label": None}, "label should be the column of .*mine.csv to be answered, got None"),
        (None, {"label": "lable"}, "label should be a column of .*got 'lable'; did you mean 'label'"),
        (None, {"inputs": ["x", "label"]}, "inputs should not contain label='label'"),
        (None, {"inputs": ["x", "x"]}, "inputs should name each column once, and 'x' comes twice"),
        (None, {"inputs": []}, "inputs should be a list of columns"),
        (None, {"labels": "labels.csv"}, "labels='labels.csv' is for a folder"),
        (None, {"class_weights": [1, 2, 3]}, "2 numbers of at least 0, one for each class .a, b., got .1, 2, 3"),
        (None, {"class_weights": "equal"}, "class_weights should be 'balanced', got 'equal'"),
        (None, {"label": "z", "every_step": True, "class_weights": "balanced"}, "where labels are numbers"),
        (lambda table: table[:3], {}, "at least two classes"),
        (lambda table: table[:3], {"label": "z", "every_step": True}, "three sequences or more, .* got 1"),
        (lambda table: table[:0], {}, "there are no rows in"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(task_of, change, settings, message):
    table = frame()
    changed = None if change is None else change(table)
    with pytest.raises(ValueError, match=message):
        task_of(table if changed is None else changed, **settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,w\n1,2\n", "inputs should be a column of .*s3.csv .x, w., got 'y'"),
        ("x,y\n1,2\n1,two\n", "s3.csv: column 'y' .* found 'two' in line 3"),
        ("z,x,y\n1,2,3\n1,2,\n", "s3.csv: column 'y' .* found a gap in line 3"),
        ("x,y\n1,2\n1,2,3\n", "s3.csv is not: the header has 2 fields, and line 3 has 3"),
        ("z,x,y\n", "s3.csv has no rows"),
    ],
)
def test_a_file_of_a_folder_that_cannot_be_used(tmp_path, content, message):
    folder = folder_of(frame(sequences=20), tmp_path / "files", classes=True)
    (folder / "a" / "s3.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        Sequences(str(folder), ["x", "y"])


def test_folders_that_cannot_be_used(tmp_path):
    folder = folder_of(frame(sequences=20), tmp_path / "files", classes=True)
    (folder / "extra.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"extra.csv lies in .*files itself"):
        Sequences(str(folder), ["x", "y"])
    with pytest.raises(FileNotFoundError, match="there is none at"):
        Sequences(str(tmp_path / "flies"), ["x", "y"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("to do")
    with pytest.raises(ValueError, match=r"should be a folder with files of sequences .*empty has none"):
        Sequences(str(tmp_path / "empty"), ["x", "y"])


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (["s0,a", "s1,a", "s9,b"], {}, "labels should name files in .*, and s9 .line 4. is not there"),
        (["s0,a", "s1.csv,a", "s0.csv,b"], {}, "labels should name each file once, and s0.csv comes again in line 4"),
        (["s0,a", ",a", "s2,b"], {}, "id='file' should name a file in every row of labels.csv, found a gap in line 3"),
        (["s0,a", "s1,b"], {}, "labels should name each file in .*, and labels.csv lacks s2.csv .1 of 3 files"),
        (["s0,a", "s1,a", "s2,b"], {"id": None}, "id should be the column of labels=labels.csv that names the files"),
        (["s0,a", "s1,a", "s2,b"], {"label": None}, "label should be the column of labels.csv to be answered"),
        (["s0,a", "s1,a", "s2,b"], {"labels": "lables.csv"}, "labels should be a table .* there is none at lables.csv"),
        (["s0,a", "s1,a", "s2,b"], {"labels": None}, "id='file' needs labels"),
        (
            ["s0,a", "s1,a", "s2,b"],
            {"labels": None, "id": None},
            "label='label' needs labels.* there, the label is the folder",
        ),
        (["s0,a", "s1,a", "s2,b"], {"labels": None, "id": None, "label": None, "group": "g"}, "group='g' needs labels"),
    ],
)
def test_tables_of_labels_that_cannot_be_used(tmp_path, rows, settings, message):
    for number in range(3):
        (tmp_path / f"s{number}.csv").write_text(f"x\n{number}\n1\n")
    (tmp_path / "labels.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    with pytest.raises((ValueError, OSError), match=message):
        Sequences(str(tmp_path), ["x"], **{"label": "label", "id": "file", "labels": "labels.csv", **settings})


SHOWN = [f"x{number}" for number in range(8)]


def noise(seed, by_writer):
    """A table of 60 writers with three sequences each, which show who wrote them, and labels without any meaning."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, 180)
    number = np.repeat(np.arange(180), lengths)
    labels = rng.integers(0, 2, 60)[number % 60] if by_writer else rng.integers(0, 2, 180)[number]
    table = pd.DataFrame({"id": number, "writer": number % 60, "label": labels})
    writers = rng.standard_normal((60, 8))[number % 60]
    table[SHOWN] = writers + 0.1 * rng.standard_normal(writers.shape)
    table["split"] = np.array(["train", "train", "test"])[rng.permutation(60)[number % 60] % 3]
    return table


def score_in_test(task, seed):
    """The accuracy in the test of a GRU after 80 steps."""
    torch.manual_seed(seed)
    model = SequenceModel(functools.partial(torch.nn.GRU, hidden_size=16, batch_first=True), 8, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for index in range(80):
        inputs, targets, lengths = task.batch("train", index, 32, generator_for(seed, "train", index))
        optimizer.zero_grad()
        task.loss(model(inputs, lengths), targets).backward()
        optimizer.step()
    inputs, targets, lengths = task.batch("test", 0, 1000, None)
    with torch.no_grad():
        return (model(inputs, lengths).argmax(dim=1) == targets).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by_writer", "settings", "leaks"),
    [
        (False, {}, False),
        (False, {"split": "given"}, False),
        (True, {"group": "writer"}, False),
        (True, {"group": "writer", "split": "given"}, False),
        (True, {}, True),  # what a split by group is for
    ],
)
def test_labels_without_meaning_are_answered_at_chance(task_of, by_writer, settings, leaks):
    scores = [
        score_in_test(task_of(noise(seed, by_writer), inputs=SHOWN, split_seed=seed, **settings), seed)
        for seed in range(20)
    ]
    independent = 20 * (10 if by_writer else 30)
    if leaks:
        assert np.mean(scores) > 0.8
    else:
        assert abs(np.mean(scores) - 0.5) < 3.5 * 0.5 / independent**0.5
