"""The memory tasks: solvers against plain Python, chance, and refused arguments."""

import itertools
import math

import pytest
import torch
from answers import check_balanced, check_chance, check_reproducible, check_solved_line, draw, name_of

from seqmodels.tasks.memory import (
    Adding,
    CopyMemory,
    Delay,
    DelayedRecall,
    Multiplication,
    NoiselessMemory,
    RandomPermutation,
    TemporalOrder,
)

TASKS = [
    Adding(20),
    Multiplication(20),
    CopyMemory(20),
    DelayedRecall(20),
    NoiselessMemory(20),
    NoiselessMemory(20, symbols=10, classes=5),
    TemporalOrder(50),
    TemporalOrder(50, symbols=3),
    RandomPermutation(20),
    Delay(20),
]


def name(task):
    return f"{type(task).__name__}-{task.output_size}"


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("length", [2, 3, 10, 51])
@pytest.mark.parametrize(("kind", "combine"), [(Adding, sum), (Multiplication, math.prod)])
def test_adding_and_multiplication_against_a_walk_over_the_marks(kind, combine, length, halves):
    inputs, targets = draw(kind(length, halves=halves), 1000)
    assert inputs.shape == (1000, length, 2)
    for sequence, target in zip(inputs.numpy().tolist(), targets[:, 0].tolist(), strict=True):
        marked = [number for number, mark in sequence if mark == 1.0]
        assert len(marked) == 2
        assert math.isclose(combine(marked), target, abs_tol=1e-6)
        places = [place for place, (_, mark) in enumerate(sequence) if mark]
        if halves:
            assert places[0] < length // 2 <= places[1]
    marks = inputs[:, :, 1].mean(0)  # every place is marked, and in one half as often as in the other
    assert (marks > 0).all()
    expected = torch.full((length,), 2 / length)
    if halves:
        expected[: length // 2], expected[length // 2 :] = 1 / (length // 2), 1 / (length - length // 2)
    assert ((marks - expected).abs() <= 5 * (expected * (1 - expected) / 1000).sqrt()).all()


@pytest.mark.parametrize(("kind", "combine"), [(Adding, sum), (Multiplication, math.prod)])
def test_adding_and_multiplication_on_all_small_inputs(kind, combine):
    for i, j in itertools.combinations(range(5), 2):
        marks = [float(place in (i, j)) for place in range(5)]
        for numbers in itertools.product((0.0, 0.5, 1.0), repeat=5):
            answer = kind(5).solve(torch.tensor([list(zip(numbers, marks, strict=True))]))
            assert answer.tolist() == [[combine([numbers[i], numbers[j]])]]


def copied(task, row, length):
    """Inputs and targets of copy memory and its kin, from the symbols to be held."""
    row, go = list(row), task.classes + 1
    blanks = [0] * (length - 1)
    if isinstance(task, NoiselessMemory):
        return row + blanks + [go] + [0] * len(row), [-100] * (length + len(row)) + row
    targets = [-100 if isinstance(task, DelayedRecall) else 0] * (length + len(row)) + row
    return row + blanks + [go] * (len(row) + 1), targets


@pytest.mark.parametrize("kind", [CopyMemory, DelayedRecall, NoiselessMemory])
@pytest.mark.parametrize(("length", "symbols", "classes"), [(1, 1, 2), (5, 3, 8), (100, 10, 8)])
def test_copying_against_plain_lists(kind, length, symbols, classes):
    task = kind(length, symbols=symbols, classes=classes)
    inputs, targets = draw(task, 1000)
    for sequence, target in zip(inputs.numpy().tolist(), targets.tolist(), strict=True):
        row = sequence[:symbols]
        assert set(row) <= set(range(1, classes + 1))
        assert (sequence, target) == copied(task, row, length)
    assert inputs[:, :symbols].unique().tolist() == list(range(1, classes + 1))


@pytest.mark.parametrize("kind", [CopyMemory, DelayedRecall, NoiselessMemory])
def test_copying_of_all_rows(kind):
    task = kind(4, symbols=4, classes=5)
    sequences, targets = zip(*(copied(task, row, 4) for row in itertools.product(range(1, 6), repeat=4)), strict=True)
    assert task.solve(torch.tensor(sequences)).tolist() == list(targets)


@pytest.mark.parametrize("kind", [CopyMemory, DelayedRecall, NoiselessMemory])
def test_no_split_of_many_rows_holds_a_row_of_another(kind):
    task = kind(5, symbols=3, classes=8)
    rows = {}
    for split in ("train", "val", "test"):
        inputs, _ = task.batch(split, 0, 2000, torch.Generator().manual_seed(0))
        rows[split] = {tuple(row) for row in inputs[:, :3].tolist()}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values()))


def order(sequence):
    """Which of the orders XX, XY, ... (in the order of the dictionary) a sequence shows."""
    letters = "".join({4: "X", 5: "Y"}.get(token, "") for token in sequence)
    return ["".join(word) for word in itertools.product("XY", repeat=len(letters))].index(letters)


@pytest.mark.parametrize("symbols", [2, 3])
@pytest.mark.parametrize("length", [10, 19, 47, 100, 110])
def test_temporal_order_against_a_dictionary_of_words(length, symbols):
    inputs, targets = draw(TemporalOrder(length, symbols=symbols), 1000)
    assert inputs.shape == (1000, length)
    for sequence, target in zip(inputs.numpy().tolist(), targets.tolist(), strict=True):
        assert target == order(sequence)
        assert (sequence[0], sequence[-1]) == (6, 7)
        assert sum(token in (4, 5) for token in sequence) == symbols
        assert max(sequence[1:-1]) < 6


@pytest.mark.parametrize("symbols", [2, 3])
def test_temporal_order_on_all_small_inputs(symbols):
    middles = [m for m in itertools.product(range(6), repeat=4) if sum(token > 3 for token in m) == symbols]
    sequences = [[6, *middle, 7] for middle in middles]
    answers = TemporalOrder(10, symbols=symbols).solve(torch.tensor(sequences))
    assert answers.tolist() == [order(sequence) for sequence in sequences]


@pytest.mark.parametrize(
    ("symbols", "windows"), [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])], ids=["2", "3"]
)
def test_temporal_order_uses_all_places_of_the_paper_at_its_length(symbols, windows):
    inputs, _ = draw(TemporalOrder(105, symbols=symbols), 2000)
    places = ((inputs == 4) | (inputs == 5)).nonzero()[:, 1].reshape(-1, symbols)
    for column, (first, last) in zip(places.unbind(1), windows, strict=True):
        assert column.unique().tolist() == list(range(first, last + 1))


def test_random_permutation_repeats_its_first_token():
    for length in (1, 2, 17, 100):
        inputs, targets = draw(RandomPermutation(length, symbols=7), 1000)
        for sequence, target in zip(inputs.numpy().tolist(), targets.tolist(), strict=True):
            assert target == sequence[0] < 2 <= min(sequence[1:], default=2)
    assert inputs[:, 1:].unique().tolist() == [2, 3, 4, 5, 6]
    sequences = list(itertools.product((0, 1), *[range(2, 8)] * 4))
    answers = RandomPermutation(5, symbols=8).solve(torch.tensor(sequences))
    assert answers.tolist() == [1 if 1 in sequence else 0 for sequence in sequences]


@pytest.mark.parametrize(("length", "lag"), [(2, 1), (11, 10), (50, 7)])
def test_delay_against_indices(length, lag):
    inputs, targets = draw(Delay(length, lag=lag), 1000)
    for sequence, target in zip(inputs[:, :, 0].tolist(), targets[:, :, 0].tolist(), strict=True):
        assert all(map(math.isnan, target[:lag]))
        assert target[lag:] == [sequence[step - lag] for step in range(lag, length)]


@pytest.mark.parametrize("task", TASKS, ids=name)
@pytest.mark.parametrize("check", [check_chance, check_solved_line, check_reproducible])
def test_lines_and_batches(task, check):
    check(task)


@pytest.mark.parametrize("task", [task for task in TASKS if task.metric_name == "accuracy"], ids=name)
def test_all_answers_are_equally_frequent(task):
    check_balanced(task)


@pytest.mark.parametrize(
    ("task", "chance"),
    [
        (Adding(7), 0.1667),
        (Multiplication(7), 0.0486),
        (CopyMemory(100), 0.1733),
        (CopyMemory(1000), 0.0204),
        (DelayedRecall(1000), 2.0794),
        (TemporalOrder([100, 110]), 0.25),
        (TemporalOrder([100, 110], symbols=3), 0.125),
    ],
    ids=name_of,
)
def test_chance_known_from_the_papers(task, chance):
    assert math.isclose(task.chance, chance, abs_tol=5e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Adding(1), "length should be a whole number of at least 2, got 1"),
        (lambda: Multiplication(1), "length should be a whole number of at least 2, got 1"),
        (lambda: CopyMemory(5, symbols=0), "symbols should be a positive whole number, got 0"),
        (lambda: CopyMemory(5, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: NoiselessMemory(5, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: TemporalOrder(9), "length should be a whole number of at least 10, got 9"),
        (lambda: TemporalOrder(20, symbols=1), "symbols should be a whole number of at least 2, got 1"),
        (lambda: TemporalOrder(20, symbols=4), "symbols should be 2 or 3, got 4"),
        (lambda: RandomPermutation(20, symbols=2), "symbols should be a whole number of at least 3, got 2"),
        (lambda: Delay(10, lag=10), "length should be a whole number of at least 11, got 10"),
        (lambda: Delay(10, lag=0), "lag should be a positive whole number, got 0"),
    ],
)
def test_refuses_impossible_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
