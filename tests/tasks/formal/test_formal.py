"""The formal tasks: solvers against plain Python, balance, chance and refused arguments."""

import itertools
import math
import operator

import pytest
import torch
from answers import build, shipped
from formal_answers import ANSWERS, words

from seqmodels.tasks import formal
from seqmodels.tasks.formal.formal_task import Transduction
from seqmodels.tasks.task import IGNORED

NAMES = list(ANSWERS)
MANY = 1000
NO_ARITHMETIC = ["binary_multiplication"]
"""Tasks whose chance is measured."""
NEARLY_TIED = ["bucket_sort", "reber"]
"""Tasks with several answers that are about as frequent, so that a sample may pick the wrong one."""


def draw(task, size, length, seed=0):
    return task.draw(size, length, torch.Generator().manual_seed(seed))


def lists(tensor):
    return tensor.numpy().tolist()  # in a tenth of the time of `tensor.tolist()`


def agree(name, task, inputs):
    """Solver and plain Python, on every row; empty tokens are not part of a word."""
    asked = isinstance(task, Transduction)
    empty = task.input_size - 1 if asked else None
    for row, target in zip(lists(inputs), lists(task.solve(inputs)), strict=True):
        word = row[: row.index(empty)] if asked else row
        expected = ANSWERS[name](task, word)
        if asked:
            expected = [None] * len(word) + expected + [None] * (len(row) - len(word) - len(expected))
        if isinstance(expected, list):
            expected = [IGNORED if answer is None else answer for answer in expected]
        assert target == expected, (word, target, expected)


@pytest.mark.parametrize("name", NAMES)
def test_solve_agrees_with_plain_python_on_what_is_drawn(name):
    task = shipped(name)
    for length in (task.min_length, task.min_length + 1, 13, 14, 41):
        inputs = draw(task, MANY, length, seed=length)
        assert inputs.shape[0] == MANY
        assert inputs.dtype == torch.long
        assert 0 <= inputs.min() <= inputs.max() < task.input_size
        agree(name, task, inputs)
    agree(name, task, draw(task, 20, 500))


@pytest.mark.parametrize("name", NAMES)
def test_solve_agrees_with_plain_python_on_all_short_inputs(name):
    task = shipped(name)
    for length in itertools.count(task.min_length):
        inputs = torch.tensor(list(itertools.islice(words(name, length), 5000)))
        if len(inputs) == 5000:
            break
        if isinstance(task, Transduction):
            empty = torch.full((len(inputs), task.answer_length(inputs.size(1))), task.input_size - 1)
            inputs = torch.cat([inputs, empty], dim=1)
        agree(name, task, inputs)
        if len(inputs) < 200 and not name.startswith("an_bn"):  # all of them are drawn
            drawn = draw(task, 50 * len(inputs), length)
            assert {tuple(row) for row in lists(drawn)} == {tuple(row) for row in lists(inputs)}
    assert length > task.min_length + 1


def scores(task, answers, targets):
    """For each sequence, how many answers are right, and how many are scored."""
    counts = targets != IGNORED
    right = ((answers == targets) & counts).flatten(1) if task.every_step else (answers == targets).unsqueeze(1)
    return right.sum(1).double(), counts.reshape(len(targets), -1).sum(1).double()


@pytest.mark.parametrize("length", [8, 41])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_ARITHMETIC])
def test_chance_is_what_the_most_frequent_answers_score(name, length):
    """The most frequent answer at each position of 16,384 sequences, scored on as many others; five standard errors."""
    task = shipped(name)
    length = max(length, task.min_length)
    train, test = (task.solve(draw(task, 16384, length, seed)) for seed in (1, 2))
    counts = torch.stack([(train == answer).sum(0) for answer in range(task.output_size)])
    right, scored = scores(task, counts.argmax(0).expand_as(test), test)
    found = (right.sum() / scored.sum()).item()
    error = ((right - found * scored).std() / scored.mean() / 128).item()
    tolerance = 5 * error + (0.002 if name in NEARLY_TIED else 0.0)
    assert math.isclose(found, task.chance_at(length), abs_tol=tolerance), (found, task.chance_at(length), error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("EvenPairs", 1), "length should be a whole number of at least 2, got 1"),
        (("CycleNavigation", 5, 1), "cycle should be a whole number of at least 2, got 1"),
        (("ModularArithmeticSimple", 5, 2.5), "modulus should be a whole number of at least 2, got 2.5"),
        (("WordProblem", 5, "A6"), "group should be .*, got 'A6'"),
        (("ModularArithmetic", 5, 1), "modulus should be a whole number of at least 2, got 1"),
        (("SolveEquation", 2), "length should be a whole number of at least 3, got 2"),
        (("Tomita", 5, 8), "grammar should be a whole number from 1 to 7, got 8"),
        (("Tomita", 5, 0), "grammar should be a positive whole number, got 0"),
        (("Tomita", 3), "length should be a whole number of at least 4, got 3"),
        (("Reber", 8), "length should be a whole number of at least 9, got 8"),
        (("Dyck", 5, 1), "brackets should be a whole number of at least 2, got 1"),
        (("Dyck", 5, 2, 0), "depth should be a positive whole number, got 0"),
        (("AnBn", 1), "length should be a whole number of at least 2, got 1"),
        (("AnBnCn", [2, 9]), "length should be a whole number of at least 3, got 2"),
        (("Reverse", 5, 1), "symbols should be a whole number of at least 2, got 1"),
        (("MissingDuplicate", 1), "length should be a whole number of at least 2, got 1"),
        (("StackManipulation", 1), "length should be a whole number of at least 2, got 1"),
        (("BinaryAddition", 2), "length should be a whole number of at least 3, got 2"),
        (("BinaryMultiplication", [1, 5]), "length should be a whole number of at least 3, got 1"),
        (("ComputeSqrt", 0), "length should be a positive whole number, got 0"),
    ],
    ids=str,
)
def test_refuses_impossible_knobs(arguments, message):
    name, *values = arguments
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(formal, name)(*values)


@pytest.mark.parametrize("cycle", [2, 3, 7])
def test_other_cycles(cycle):
    task = formal.CycleNavigation(9, cycle=cycle)
    agree("cycle_navigation", task, draw(task, MANY, 9))


@pytest.mark.parametrize("modulus", [2, 4, 9])
@pytest.mark.parametrize("name", ["modular_arithmetic_simple", "modular_arithmetic", "solve_equation"])
def test_other_moduli(name, modulus):
    task = build(name, test_length=9, modulus=modulus)
    agree(name, task, draw(task, MANY, 9))
    counts = task.solve(draw(task, 16384, 9, seed=1)).bincount() / 16384
    assert math.isclose(counts.max(), task.chance, abs_tol=0.02)  # five standard errors


@pytest.mark.parametrize("group", ["S4", "S5", "A5", "Z60", "A4xZ5"])
def test_other_groups(group):
    task = formal.WordProblem(9, group=group)
    agree("word_problem", task, draw(task, MANY, 9))


@pytest.mark.parametrize("name", ["reverse", "duplicate", "odds_first", "bucket_sort"])
def test_other_alphabets(name):
    task = build(name, symbols=9)
    agree(name, task, draw(task, MANY, 9))


@pytest.mark.parametrize("name", ["binary_addition", "binary_multiplication", "compute_sqrt"])
@pytest.mark.parametrize("length", [52, 53, 59, 60, 61, 241, 500, 501])
def test_long_numbers(name, length):
    """Around the widths of doubles and words; random ones, and those of ones alone, whose carries go all the way."""
    task = shipped(name)
    inputs = draw(task, 100, length)
    inputs[50:][inputs[50:] == 0] = 1
    agree(name, task, inputs)


@pytest.mark.parametrize("length", [40, 52, 90, 200])
def test_square_roots_next_to_squares(length):
    roots = torch.randint(0, 2**20, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    squares = [(root << max(0, length // 2 - 20)) ** 2 for root in roots]
    near = [square + step for square in squares for step in (-1, 0, 1) if 0 <= square + step < 2**length]
    task = formal.ComputeSqrt(length)
    words = torch.tensor([list(map(int, f"{number:b}".zfill(length))) for number in near])
    agree("compute_sqrt", task, torch.cat([words, torch.full((len(near), length // 2), 2)], dim=1))


@pytest.mark.parametrize("length", [1, 2, 13, 40, 52, 53, 90, 501])
def test_square_roots_are_the_largest_whose_squares_are_not_above(length):
    """Without `math.isqrt`, which the solver uses."""
    task = formal.ComputeSqrt(length)
    inputs = draw(task, 200, length)
    inputs[0, :length], inputs[1, :length] = 0, 1
    for row, target in zip(lists(inputs), lists(task.solve(inputs)), strict=True):
        number, root = (int("".join(map(str, bits)), 2) for bits in (row[:length], target[length:]))
        assert root**2 <= number < (root + 1) ** 2


def test_expressions_share_out_their_symbols_evenly():
    task = formal.ModularArithmetic(20)
    inputs = draw(task, 16384, 20)
    outermost = ((inputs == 8).long() - (inputs == 9).long()).cumsum(1) == 1
    operator = (inputs >= 5) & (inputs < 8)
    after_operand = torch.nn.functional.pad((inputs < 5) | (inputs == 9), (1, -1))
    places = (outermost & operator & after_operand).nonzero()
    assert places[:, 0].tolist() == list(range(16384))
    shares = (places[:, 1] - 1).bincount() / 16384  # the length of the left operand, 1 to 16
    assert shares[0] == 0
    assert len(shares) == 17
    assert (shares[1:] - 1 / 16).abs().max() < 5 * math.sqrt(1 / 16 / 16384)


def test_expressions_as_deeply_nested_as_can_be():
    """((...((1+2)-2)*2)+2)...), read from the inside out."""
    for length in (5, 9, 101, 501):
        depth = (length - 1) // 4
        inputs = [8] * depth + [1]
        for level in range(depth):
            inputs += [5 + level % 3, 2, 9]
        value = 1
        for level in range(depth):
            value = [value + 2, value - 2, value * 2][level % 3] % 5
        task = formal.ModularArithmetic(length)
        assert len(inputs) == length
        assert task.solve(torch.tensor([inputs] * 2)).tolist() == [value] * 2


def assert_drawn_as_often(task, inputs, expected):
    """`expected` are the probabilities of all words that may be drawn; five standard errors for each."""
    place_values = task.input_size ** torch.arange(inputs.size(1))
    codes, counts = (inputs * place_values).sum(dim=1).unique(return_counts=True)
    found = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert math.isclose(sum(expected.values()), 1)
    for word, share in expected.items():
        count = found.pop(sum(map(operator.mul, word, place_values.tolist())), 0)
        assert abs(count / len(inputs) - share) < 5 * math.sqrt(share * (1 - share) / len(inputs)), (word, share)
    assert not found


@pytest.mark.parametrize("length", [4, 5, 8, 9])
@pytest.mark.parametrize("grammar", range(1, 8))
def test_tomita_grammars_on_all_strings_and_the_shares_of_their_kinds(grammar, length):
    task = formal.Tomita(length, grammar=grammar)
    if grammar in (2, 5):
        length -= length % 2
    strings = list(itertools.product((0, 1), repeat=length))
    agree("tomita", task, torch.tensor(strings))
    inside = {string for string in strings if ANSWERS["tomita"](task, string)}
    outside = set(strings) - inside
    near = {string for string in outside if inside & set(one_bit_away(string))}
    expected = dict.fromkeys(inside, 0.5 / len(inside))
    for string in outside:
        expected[string] = 0.25 / len(outside) + (0.25 / len(near) if string in near else 0)
    assert_drawn_as_often(task, draw(task, 32768, task.lengths.tests[0]), expected)
    agree("tomita", task, draw(task, 100, 501))


def one_bit_away(string):
    return [(*string[:place], 1 - string[place], *string[place + 1 :]) for place in range(len(string))]


@pytest.mark.parametrize("length", [9, 10, 13])
def test_reber_strings_of_a_length_are_equally_likely(length):
    task = formal.Reber(length)
    strings = list(words("reber", length))
    assert_drawn_as_often(task, draw(task, 16384, length), dict.fromkeys(strings, 1 / len(strings)))


def test_reber_without_a_long_memory_is_not_solved():
    task = shipped("reber")
    targets = task.solve(draw(task, 1000, task.lengths.tests[0]))
    answers = targets.clone()
    answers[:, -3] = 6  # always T
    right, scored = scores(task, answers, targets)
    assert 0.99 < (right.sum() / scored.sum()).item() < task.solved_at < 1


@pytest.mark.parametrize(("brackets", "depth"), [(2, 1), (2, 3), (7, 10)])
def test_dyck_depths_and_kinds(brackets, depth):
    task = formal.Dyck(50, brackets=brackets, depth=depth)
    inputs = draw(task, 1000, 50)
    agree("dyck", task, inputs)
    opens = inputs < brackets
    depths = (2 * opens.long() - 1).cumsum(1)
    assert depths.min() == 0
    assert depths.max() == depth
    free = opens[:, 1:][(depths[:, :-1] > 0) & (depths[:, :-1] < depth)].double()
    if len(free):
        assert abs(free.mean() - 0.5) < 2.5 / math.sqrt(len(free))
    kinds = inputs[opens].bincount() / opens.sum()
    assert len(kinds) == brackets
    assert (kinds - 1 / brackets).abs().max() < 2.5 / math.sqrt(opens.sum())


@pytest.mark.parametrize(("name", "letters"), [("an_bn", 2), ("an_bn_cn", 3)])
@pytest.mark.parametrize("length", [3, 6, 12, 301])
def test_counting_draws_right_words_miscounted_ones_and_misordered_ones(name, letters, length):
    """Also whether all words, not only those drawn, are recognised: see the test of all short inputs."""
    task = shipped(name)
    inputs = draw(task, 16384, length)
    size = length // letters
    assert inputs.shape[1] == size * letters
    ordered = (inputs.diff(dim=1) >= 0).all(1)
    counted = torch.stack([(inputs == letter).sum(1) == size for letter in range(letters)])
    shares = [(ordered & counted.all(0)), (ordered & ~counted.all(0)), (~ordered & counted.all(0))]
    for found, share in zip(shares, (0.5, 0.25, 0.25), strict=True):
        assert abs(found.double().mean() - share) < 0.02  # five standard errors
    miscounted = inputs[shares[1]]
    assert set((miscounted == 0).sum(1).tolist()) == set(range(2 * size + 1)) - ({size} if letters == 2 else set())
    assert (~counted[:, shares[1]]).sum(0).tolist() == [2] * len(miscounted)
    wrong = inputs[shares[2]] != torch.arange(letters).repeat_interleave(size)
    assert wrong.sum(1).tolist() == [2] * len(wrong)
    assert wrong.any(0).all()
