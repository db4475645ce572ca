"""The recall tasks: solvers against plain Python, chance, and refused arguments."""

import collections
import itertools
import math
import re

import pytest
import torch
from answers import check_balanced, check_chance, check_reproducible, check_solved_line, draw

from seqmodels.tasks.recall import (
    MQAR,
    Compression,
    FuzzyRecall,
    InContextRecall,
    InductionHeads,
    Memorization,
    PrioritySort,
    RepeatCopy,
    SelectiveCopy,
)

NONE = -100


def selective_copy(task, sequence):
    data = [token for token in sequence if token < task.classes]
    assert sequence[-len(data) :] == [task.classes + 1] * len(data)
    return [NONE] * (len(sequence) - len(data)) + data


def induction_heads(task, sequence):
    assert sequence[-1] == task.classes
    return sequence[sequence.index(task.classes) + 1]


def mqar(task, sequence):
    context = 2 * task.pairs
    values = {sequence[i]: sequence[i + 1] for i in range(0, context, 2)}
    return [NONE] * context + [values.get(token, NONE) for token in sequence[context:]]


def in_context_recall(task, sequence):
    values, targets = {}, []
    for step, token in enumerate(sequence):
        targets.append(values.get(token, NONE))
        if token < task.keys and step + 1 < len(sequence):
            values[token] = sequence[step + 1]
    return targets


def fuzzy_recall(task, sequence):
    """Keys as lower and values as upper case letters, so that a regular expression can tell them apart."""
    kinds = "".join("a" if token < task.keys else "A" if token < task.input_size - 1 else "." for token in sequence)
    values, targets = {}, [NONE] * len(sequence)
    for match in re.finditer("(a+)(A*)", kinds):
        key, value = tuple(sequence[slice(*match.span(1))]), sequence[slice(*match.span(2))]
        if key in values:
            answer = value or values[key][:1]
            targets[match.end(1) - 1 : match.end(1) - 1 + len(answer)] = answer
        assert values.setdefault(key, value or values.get(key)) == (value or values[key])
    return targets


def memorization(task, sequence):
    value_of = dict(enumerate(task.value_of.tolist()))
    return [NONE if token < task.keys else value_of[sequence[step - 1]] for step, token in enumerate(sequence)]


def compression(task, sequence):
    packed = sequence[: sequence.index(task.classes)]
    assert sequence == [*packed, task.classes, *[task.classes + 1] * len(packed)]
    return [NONE] * (len(packed) + 1) + packed


def repeat_copy(task, sequence):
    data = list(itertools.takewhile(lambda token: token < task.classes, sequence))
    count = sequence[len(data)] - task.classes + 1
    answer = [NONE] * (len(data) + 1) + data * count + [task.classes]
    return answer + [NONE] * (len(sequence) - len(answer))


def priority_sort(task, sequence):
    items = [(*bits, priority) for *bits, priority, asks in sequence if not asks]
    items.sort(key=lambda item: -item[-1])  # stable
    return [list(item[:-1]) for item in items[: task.kept]]


SOLVERS = {
    SelectiveCopy: selective_copy,
    InductionHeads: induction_heads,
    MQAR: mqar,
    InContextRecall: in_context_recall,
    FuzzyRecall: fuzzy_recall,
    Memorization: memorization,
    Compression: compression,
    RepeatCopy: repeat_copy,
    PrioritySort: priority_sort,
}

TASKS = {
    "selective_copy": SelectiveCopy([8, 30], symbols=8),
    "induction_heads": InductionHeads([3, 40]),
    "mqar": MQAR([16, 33], pairs=4, vocabulary=32),
    "mqar-tight": MQAR([8, 9], pairs=2, vocabulary=6, power=1.0),
    "in_context_recall": InContextRecall([3, 33]),
    "noisy_recall": InContextRecall([3, 32], noise=0.3, noise_vocabulary=4),
    "fuzzy_recall": FuzzyRecall([9, 40]),
    "fuzzy_recall-2": FuzzyRecall([6, 21], keys=2, values=3, motif=2),
    "fuzzy_recall-1": FuzzyRecall([3, 20], keys=3, values=4, motif=1),
    "memorization": Memorization([2, 17], keys=20),
    "compression": Compression([1, 12]),
    "repeat_copy": RepeatCopy([1, 5], repeats=4),
    "repeat_copy-one": RepeatCopy(1, repeats=6, classes=3),
    "repeat_copy-once": RepeatCopy(3, repeats=1),
    "priority_sort": PrioritySort([4, 9], kept=4),
}


def check_against_plain_python(task, inputs):
    solver = SOLVERS[type(task)]
    targets = task.solve(inputs)
    if isinstance(task, PrioritySort):
        assert targets[:, : -task.kept].isnan().all()
        targets = targets[:, -task.kept :]
    for sequence, target in zip(inputs.numpy().tolist(), targets.numpy().tolist(), strict=True):
        assert target == solver(task, sequence), sequence


@pytest.mark.parametrize("name", TASKS)
def test_solvers_against_plain_python_at_several_lengths(name):
    task = TASKS[name]
    for length in {
        task.lengths.shortest,
        task.lengths.shortest + 1,
        (task.lengths.shortest + task.lengths.longest) // 2,
        task.lengths.longest,
    }:
        check_against_plain_python(task, draw(task, 1000, length)[0])


def all_selective_copies():
    task = SelectiveCopy(6, symbols=3, classes=3)
    for places in itertools.combinations(range(6), 3):
        for data in itertools.product(range(3), repeat=3):
            held = dict(zip(places, data, strict=True))
            yield task, [held.get(step, 3) for step in range(6)] + [4] * 3


def all_induction_heads():
    for sequence in itertools.product(range(4), repeat=5):
        if sequence.count(3) == 1 and sequence[-1] != 3:
            yield InductionHeads(6, classes=3), [*sequence, 3]


def all_mqar():
    task = MQAR(10, pairs=2, vocabulary=8)
    keys, values = itertools.permutations(range(1, 4), 2), itertools.permutations(range(4, 8), 2)
    for (i, j), (v, w), (p, q) in itertools.product(keys, values, itertools.permutations((4, 6, 8), 2)):
        yield task, [{0: i, 1: v, 2: j, 3: w, p: i, q: j}.get(step, 0) for step in range(10)]


def all_in_context_recalls():
    task = InContextRecall(7, vocabulary=6, noise=0.5, noise_vocabulary=1)
    for value_of in itertools.product(range(3, 6), repeat=3):
        for keys in itertools.product(range(4), repeat=3):  # the fourth stands for noise
            pairs = [(key, value_of[key]) if key < 3 else (6, 6) for key in keys]
            for last in set(keys) - {3}:
                yield task, [*itertools.chain(*pairs), last]


def all_fuzzy_recalls():
    task = FuzzyRecall(11, keys=2, values=2, motif=2)
    key_motifs, value_motifs = [(0,), (1,), (0, 1), (1, 0)], [(2,), (3,), (2, 3), (3, 2)]
    for first, second in itertools.product(key_motifs, repeat=2):
        for values in itertools.product(value_motifs, repeat=2):
            for third in (first, second):
                value_of = dict(zip((first, second), values, strict=True))
                row = [*first, *value_of[first], *second, *value_of[second], *third]
                yield task, [4] * (11 - len(row)) + row


def all_memorizations():
    for keys in itertools.product(range(6), repeat=4):
        yield Memorization(8, keys=6), [token for key in keys for token in (key, 12)]


def all_compressions():
    for data in itertools.product(range(5), repeat=4):
        yield Compression(4, classes=5), [*data, 5, *[6] * 4]


def all_repeat_copies():
    for data in itertools.product(range(4), repeat=4):
        for count in range(3):
            yield RepeatCopy(4, repeats=3, classes=4), [*data, 4 + count, *[7] * 13]


def all_priority_sorts():
    """With all possible ties."""
    items = list(itertools.product((0.0, 1.0), (-0.5, 0.0, 1.0), [0.0]))
    for sequence in itertools.product(items, repeat=4):
        yield PrioritySort(4, kept=2, bits=1), [*sequence, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)]


@pytest.mark.parametrize(
    "everything",
    [
        all_selective_copies,
        all_induction_heads,
        all_mqar,
        all_in_context_recalls,
        all_fuzzy_recalls,
        all_memorizations,
        all_compressions,
        all_repeat_copies,
        all_priority_sorts,
    ],
)
def test_solvers_against_plain_python_on_all_small_inputs(everything):
    tasks, sequences = zip(*everything(), strict=True)
    assert len(sequences) >= 243
    check_against_plain_python(tasks[0], torch.tensor(sequences))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("check", [check_chance, check_solved_line, check_reproducible])
def test_lines_and_batches(name, check):
    check(TASKS[name])


@pytest.mark.parametrize("name", [name for name in TASKS if "repeat" not in name and "sort" not in name])
def test_all_answers_are_equally_frequent(name):
    check_balanced(TASKS[name])


def test_selective_copy_and_induction_heads_use_all_places():
    inputs, _ = draw(SelectiveCopy(10, symbols=4), 5000)
    shares = (inputs[:, :10] < 14).float().mean(0)
    assert ((shares - 0.4).abs() < 5 * math.sqrt(0.4 * 0.6 / 5000)).all()
    inputs, _ = draw(InductionHeads(12), 5000)
    places = (inputs == 15).int().argmax(1)
    shares = places.bincount(minlength=10) / 5000
    assert len(shares) == 10
    assert ((shares - 0.1).abs() < 5 * math.sqrt(0.1 * 0.9 / 5000)).all()
    assert ((inputs == 15).sum(1) == 2).all()


@pytest.mark.parametrize("power", [0.01, 1.0, 3.0])
def test_mqar_asks_every_key_once_at_places_that_follow_the_power_law(power):
    inputs, targets = draw(MQAR(30, pairs=5, vocabulary=24, power=power), 5000)
    keys, asked = inputs[:, 0:10:2], inputs[:, 10:]
    assert (inputs[:, 1:10:2] >= 12).all()
    assert torch.equal(asked.sort(dim=1).values[:, -5:], keys.sort(dim=1).values)
    assert (asked[:, 1::2] == 0).all()
    assert ((targets >= 0).sum(dim=1) == 5).all()
    for part in (keys, inputs[:, 1:10:2]):
        assert all(len(set(row)) == 5 for row in part.tolist())
    weights = torch.arange(1, 11) ** (power - 1)
    expected = weights / weights.sum()
    shares = (asked[:, ::2] == keys[:, :1]).float().mean(0)  # the first key's place is drawn first
    assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / 5000).sqrt()).all()


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.9])
def test_noise_has_its_share_and_the_last_key_is_always_known(noise):
    inputs, targets = draw(InContextRecall(22, noise=noise, noise_vocabulary=5), 2000)
    assert inputs.shape == (2000, 21)
    noisy = inputs[:, :-1:2] >= 16
    assert torch.equal(noisy, inputs[:, 1::2] >= 16)
    expected = noise * 9 / 10  # one pair of ten is never noise
    assert abs(noisy.float().mean() - expected) <= 5 * math.sqrt(expected * (1 - expected) / 20000)
    assert (targets[:, -1] >= 8).all()
    assert inputs.max() == (20 if noise else 15)


def test_fuzzy_recall_draws_all_motifs_and_asks_for_a_known_key():
    task = FuzzyRecall(60)
    inputs, targets = draw(task, 3000)
    assert (targets[:, -1] >= 7).all()
    blanks = (inputs == 15).sum(1)
    assert blanks.max() < 3 + 6  # the next pair or the last key might have been shorter
    assert (inputs[:, 8:] < 15).all()
    sizes = {True: collections.Counter(), False: collections.Counter()}
    for sequence in inputs.numpy().tolist():
        tokens = itertools.dropwhile(lambda token: token == 15, sequence)
        for is_key, run in itertools.groupby(tokens, key=lambda token: token < 7):
            motif = list(run)
            assert len(set(motif)) == len(motif) <= 3
            sizes[is_key][len(motif)] += 1
    for counts in sizes.values():  # a little off, as long pairs do not always fit at the start
        assert all(abs(counts[size] / counts.total() - 1 / 3) < 0.03 for size in (1, 2, 3))


def test_memorization_maps_keys_one_to_one_and_by_its_seed_alone():
    first, again, other = Memorization(8, keys=50), Memorization(8, keys=50), Memorization(8, keys=50, seed=1)
    assert sorted(first.value_of.tolist()) == list(range(50, 100))
    assert torch.equal(first.value_of, again.value_of)
    assert not torch.equal(first.value_of, other.value_of)


def test_repeat_copy_draws_all_counts_and_priority_sort_all_priorities():
    inputs, _ = draw(RepeatCopy(3, repeats=5), 5000)
    shares = (inputs[:, 3] - 8).bincount() / 5000
    assert len(shares) == 5
    assert ((shares - 0.2).abs() < 5 * math.sqrt(0.2 * 0.8 / 5000)).all()
    inputs, _ = draw(PrioritySort(20), 500)
    priorities = inputs[:, :20, -2].flatten()
    assert -1 <= priorities.min() < -0.99
    assert 0.99 < priorities.max() <= 1
    assert abs(priorities.mean()) < 5 / math.sqrt(3 * 10000)


@pytest.mark.parametrize(
    ("task", "chance"),
    [
        (SelectiveCopy(256), 1 / 14),
        (MQAR(64), 1 / 4096),
        (RepeatCopy(2, repeats=2, classes=4), (0.5 + 0.5 + 0.125 + 0.5) / 4),
    ],
    ids=["selective_copy", "mqar", "repeat_copy"],
)
def test_chance_by_hand(task, chance):
    """Repeat copy has 2 or 4 data tokens and an end mark, 4 answers on average. Right are 2 / 4 of the first round,
    the end mark after it in half of the sequences, 1/2 * 1/4 of the fourth datum, and the last end mark in the others.
    """
    assert math.isclose(task.chance, chance)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SelectiveCopy(15), "length should be a whole number of at least 16, got 15"),
        (lambda: SelectiveCopy(20, symbols=0), "symbols should be a positive whole number, got 0"),
        (lambda: SelectiveCopy(20, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: InductionHeads(2), "length should be a whole number of at least 3, got 2"),
        (lambda: InductionHeads(5, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: MQAR(31), "length should be a whole number of at least 32, got 31"),
        (lambda: MQAR(64, pairs=0), "pairs should be a positive whole number, got 0"),
        (lambda: MQAR(64, vocabulary=16), "vocabulary should be a whole number of at least 18, got 16"),
        (lambda: MQAR(64, vocabulary=65), "vocabulary should be even, half keys and half values, got 65"),
        (lambda: MQAR(64, power=0.0), "power should be greater than 0, got 0.0"),
        (lambda: MQAR(64, power=math.nan), "power should be greater than 0, got nan"),
        (lambda: InContextRecall(2), "length should be a whole number of at least 3, got 2"),
        (lambda: InContextRecall(9, vocabulary=2), "vocabulary should be a whole number of at least 4, got 2"),
        (lambda: InContextRecall(9, vocabulary=7), "vocabulary should be even, half keys and half values, got 7"),
        (lambda: InContextRecall(9, noise=1.0), "noise should be a share from 0 to less than 1, got 1.0"),
        (lambda: InContextRecall(9, noise=-0.1), "noise should be a share from 0 to less than 1, got -0.1"),
        (lambda: InContextRecall(9, noise=0.1), "noise_vocabulary should be a positive whole number, got 0"),
        (lambda: FuzzyRecall(8), "length should be a whole number of at least 9, got 8"),
        (lambda: FuzzyRecall(20, keys=2), "keys should be a whole number of at least 3, got 2"),
        (lambda: FuzzyRecall(20, values=2), "values should be a whole number of at least 3, got 2"),
        (lambda: FuzzyRecall(20, motif=0), "motif should be a positive whole number, got 0"),
        (lambda: FuzzyRecall(20, keys=40), r"\(keys \+ 1\)\^motif should be at most 65536, got \(40 \+ 1\)\^3"),
        (lambda: FuzzyRecall(20, values=256, motif=2), r"\(values \+ 1\)\^motif should be at most 65536"),
        (lambda: Memorization(1), "length should be a whole number of at least 2, got 1"),
        (lambda: Memorization(8, keys=1), "keys should be a whole number of at least 2, got 1"),
        (lambda: Memorization(8, seed=-1), "seed should be a non-negative whole number, got -1"),
        (lambda: Compression(8, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: RepeatCopy(8, repeats=0), "repeats should be a positive whole number, got 0"),
        (lambda: RepeatCopy(8, classes=1), "classes should be a whole number of at least 2, got 1"),
        (lambda: PrioritySort(15), "length should be a whole number of at least 16, got 15"),
        (lambda: PrioritySort(20, kept=0), "kept should be a positive whole number, got 0"),
        (lambda: PrioritySort(20, bits=0), "bits should be a positive whole number, got 0"),
    ],
)
def test_refuses_impossible_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
