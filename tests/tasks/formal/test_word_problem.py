"""The groups of the word problem, built once more from their generators, and products by matrices."""

import collections
import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from seqmodels.tasks import DrawnTask
from seqmodels.tasks.formal import WordProblem

SIZES = {"S3": 6, "S4": 24, "S5": 120, "A5": 60, "Z60": 60, "A4xZ5": 60}


def from_cycles(points, *cycles):
    """A permutation as a list of where the points go."""
    goes = list(range(points))
    for cycle in cycles:
        for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            goes[here] = there
    return goes


GENERATORS = {
    "S3": [from_cycles(3, [0, 1]), from_cycles(3, [1, 2])],
    "S4": [from_cycles(4, [0, 1]), from_cycles(4, [0, 1, 2, 3])],
    "S5": [from_cycles(5, [0, 1]), from_cycles(5, [0, 1, 2, 3, 4])],
    "A5": [from_cycles(5, [0, 1, 2]), from_cycles(5, [0, 1, 2, 3, 4])],
    "Z60": [from_cycles(60, list(range(60)))],
    "A4xZ5": [from_cycles(9, [0, 1, 2]), from_cycles(9, [0, 1], [2, 3]), from_cycles(9, [4, 5, 6, 7, 8])],
}


def after(first, second):
    return [second[point] for point in first]


def generated(generators):
    """All products of the generators."""
    known = {tuple(generator) for generator in generators}
    new = known
    while new:
        new = {tuple(after(element, generator)) for element in new for generator in generators} - known
        known = known | new
    return known


def commutators(elements):
    """The subgroup that the commutators a b a^-1 b^-1 generate."""

    def inverse(element):
        return sorted(range(len(element)), key=element.__getitem__)

    pairs = itertools.product(elements, elements)
    return generated({tuple(after(after(a, b), after(inverse(a), inverse(b)))) for a, b in pairs})


def draw(task, size, length, seed=0):
    return task.draw(size, length, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("group", SIZES)
def test_the_elements_are_the_products_of_the_generators(group):
    task = WordProblem(5, group=group)
    assert task.elements == sorted(generated(GENERATORS[group]))
    assert len(task.elements) == task.input_size == task.output_size == SIZES[group]
    assert task.elements[0] == tuple(range(len(task.elements[0])))


def test_groups_of_one_size_differ_in_what_is_hard_about_them():
    """Z60 is commutative; in A4xZ5 commutators of commutators end in the identity; in A5 they never become fewer."""
    sizes = collections.defaultdict(list)
    for group in ("Z60", "A4xZ5", "A5"):
        elements = set(WordProblem(5, group=group).elements)
        while len(sizes[group]) < 4:
            sizes[group].append(len(elements))
            elements = commutators(elements)
    assert sizes == {"Z60": [60, 1, 1, 1], "A4xZ5": [60, 4, 1, 1], "A5": [60, 60, 60, 60]}


@pytest.mark.parametrize(("group", "swaps"), [*((group, False) for group in SIZES), ("S4", True), ("S5", True)])
def test_answers_are_products_of_permutation_matrices(group, swaps):
    task = WordProblem(5, group=group, swaps=swaps)
    inputs = draw(task, 30, 25)
    matrices = np.stack([np.eye(len(element), dtype=int)[list(element)] for element in task.elements])
    answers = task.solve(inputs)
    assert torch.equal(task.states(inputs), answers)
    for word, row in zip(inputs.tolist(), answers.tolist(), strict=True):
        product = np.eye(matrices.shape[1], dtype=int)
        for token, answer in zip(word, row, strict=True):
            product = product @ matrices[token]
            assert (matrices[answer] == product).all()


def test_in_z60_tokens_are_added_and_in_a4_x_z5_the_rests_are():
    for group, modulus in (("Z60", 60), ("A4xZ5", 5)):
        task = WordProblem(5, group=group)
        inputs = draw(task, 100, 30)
        assert torch.equal(task.solve(inputs) % modulus, inputs.cumsum(1) % modulus)


@pytest.mark.parametrize("group", SIZES)
def test_all_elements_are_drawn_from_the_generator_as_they_are(group):
    expected = torch.randint(0, SIZES[group], (64, 40), generator=torch.Generator().manual_seed(3))
    assert torch.equal(draw(WordProblem(5, group=group), 64, 40, seed=3), expected)


@pytest.mark.parametrize(("group", "points"), [("S3", 3), ("S4", 4), ("S5", 5)])
def test_swaps_are_drawn_with_the_identity_and_reach_every_element(group, points):
    task = WordProblem(5, group=group, swaps=True)
    inputs = draw(task, 2000, 40)
    allowed = {tuple(range(points))}
    allowed |= {tuple(from_cycles(points, list(pair))) for pair in itertools.combinations(range(points), 2)}
    counts = inputs.flatten().bincount(minlength=task.input_size)
    assert {task.elements[token] for token in counts.nonzero().flatten().tolist()} == allowed
    assert (counts[counts > 0] / inputs.numel() * len(allowed) - 1).abs().max() < 0.05
    assert set(task.solve(inputs)[:, -1].tolist()) == set(range(SIZES[group]))
    assert task.input_size == task.output_size == SIZES[group]


@pytest.mark.parametrize(("group", "longest"), [("S3", 6), ("S4", 4), ("S5", 3)])
def test_chance_of_swaps_is_that_of_all_words(group, longest):
    task = WordProblem(5, group=group, swaps=True)
    words = list(itertools.product(task.drawn.tolist(), repeat=longest))
    answers = zip(*task.solve(torch.tensor(words)).tolist(), strict=True)
    best = [Fraction(max(collections.Counter(column).values()), len(words)) for column in answers]
    for length in range(1, longest + 1):
        assert task.chance_at(length) == pytest.approx(float(sum(best[:length]) / length), rel=1e-12)
    assert task.chance_at(1) == pytest.approx(1 / len(task.drawn))
    assert task.chance_at(2000) == pytest.approx(1 / SIZES[group], rel=0.02)


def test_chance_of_swaps_agrees_with_measured_chance():
    task = WordProblem(5, group="S4", swaps=True)
    assert task.chance_at(7) == pytest.approx(DrawnTask.chance_at(task, 7), rel=0.08)
    assert WordProblem(7, group="A5").chance == 1 / 60


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": "A6"}, "group should be 'S3', 'S4', 'S5', 'A5', 'Z60' or 'A4xZ5', got 'A6'"),
        ({"group": "s5"}, "got 's5'; did you mean 'S5'?"),
        ({"group": "A4_x_Z5"}, "got 'A4_x_Z5'; did you mean 'A4xZ5'?"),
        ({"group": "A5", "swaps": True}, "swaps should be False for the group 'A5', which has none, got True"),
        ({"group": "Z60", "swaps": True}, "swaps should be False for the group 'Z60'"),
        ({"group": "A4xZ5", "swaps": True}, "swaps should be False for the group 'A4xZ5'"),
        ({"swaps": "adjacent"}, "swaps should be True or False, got 'adjacent'"),
    ],
    ids=str,
)
def test_refuses_groups_that_do_not_exist_or_have_no_swaps(settings, message):
    with pytest.raises((TypeError, ValueError)) as refusal:
        WordProblem(5, **settings)
    assert message in str(refusal.value)
