"""What tasks say has to be remembered, against plain Python that reads one symbol after the other."""

import functools
import pkgutil
import re

import pytest
import yaml

from seqmodels.batches import generator_for
from seqmodels.config import CONF
from seqmodels.tasks import Task
from seqmodels.tasks.formal.reber import SYMBOLS


@functools.cache
def task_of(name):
    """The task of this name at length 24, with its other settings as they are by default."""
    return pkgutil.resolve_name(yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text())["_target_"])(24)


def parity_check(bits):
    return "".join(map(str, bits)).count("1") % 2


def even_pairs(bits):
    return int(f"{bits[0]}{bits[-1]}", 2)


def cycle_navigation(moves):
    return (moves.count(2) - moves.count(0)) % 5


def modular_arithmetic_simple(tokens):
    text = "".join(map(str, tokens)).translate(str.maketrans("567", "+-*")).rstrip("+-*")
    return eval(text) % 5


def tomita(bits):
    """The fourth grammar, no 000: the number of zeros at the end, and 3 once there have been three of them."""
    text = "".join(map(str, bits))
    return 3 if "000" in text else len(text) - len(text.rstrip("0"))


def majority(bits):
    return sum(1 if bit else -1 for bit in bits)


def an_bn(letters):
    return letters.count(0) - letters.count(1)


def dyck(brackets):
    text = "".join("()[]"[[0, 2, 1, 3][bracket]] for bracket in brackets)
    while (shorter := re.sub(r"\(\)|\[\]", "", text)) != text:
        text = shorter
    return len(text)


def word_problem(permutations):
    task = task_of("word_problem")
    points = list(task.elements[0])
    for number in permutations:
        points = [task.elements[number][point] for point in points]
    return task.elements.index(tuple(points))


def adding(steps):
    return sum(number for number, marker in steps if marker)


def multiplication(steps):
    product = 1.0
    for number, marker in steps:
        product *= number if marker else 1
    return product


def random_permutation(tokens):
    return tokens[0]


def temporal_order(tokens):
    orders = ["", "X", "Y", "XX", "XY", "YX", "YY"]
    return orders.index("".join({4: "X", 5: "Y"}.get(token, "") for token in tokens))


ORACLES = {
    oracle.__name__: oracle
    for oracle in (
        parity_check, even_pairs, cycle_navigation, modular_arithmetic_simple, tomita, majority, an_bn, dyck,
        word_problem, adding, multiplication, random_permutation, temporal_order,
    )
}  # fmt: skip
ORACLES |= {"cumulative_parity": parity_check, "an_bn_cn": an_bn}


@pytest.mark.parametrize("name", ORACLES)
def test_states_are_those_of_every_prefix(name):
    task = task_of(name)
    inputs = task.draw_for("test", 6, 24, generator_for(0, "test", 0))
    states = task.states(inputs)
    assert states.shape == inputs.shape[:2]
    for sequence, row in zip(inputs.tolist(), states.tolist(), strict=True):
        expected = [ORACLES[name](sequence[:step]) for step in range(1, len(sequence) + 1)]
        assert row == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["copy_memory", "delayed_recall", "noiseless_memory"])
def test_the_symbol_to_recall_is_the_next_right_answer(name):
    task = task_of(name)
    inputs = task.draw_for("test", 6, 20, generator_for(0, "test", 0))
    states, targets = task.states(inputs), task.solve(inputs)
    held = task.held
    assert (states[:, :-held] == inputs[:, :1]).all()
    assert (states[:, -held - 1 : -1] == targets[:, -held:]).all()
    assert (states[:, -1] == 0).all()


def test_the_states_of_the_reber_grammar_determine_what_may_follow_and_what_is_repeated():
    task = task_of("reber")
    inputs = task.draw_for("test", 200, 20, generator_for(0, "test", 0))
    states, targets = task.states(inputs), task.solve(inputs)
    after_p = inputs[:, 1] == SYMBOLS.index("P")
    assert (states[:, 1:] % 2 == after_p.unsqueeze(1)).all()
    following = {}
    for row, answers, symbols in zip(states.tolist(), targets.tolist(), inputs.tolist(), strict=True):
        for step, (state, answer) in enumerate(zip(row, answers, strict=True)):
            assert following.setdefault((state, "answer"), answer) == answer
            if step + 1 < len(row):  # the automaton is deterministic
                assert following.setdefault((state, symbols[step + 1]), row[step + 1]) == row[step + 1]


def subclasses(parent):
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def test_each_task_with_states_says_what_they_are():
    tasks = [task for task in subclasses(Task) if task.__module__.startswith("seqmodels")]
    assert sum(task.remembered != "" for task in tasks) >= 18
    for task in tasks:
        assert (task.states is Task.states) == (task.remembered == ""), task
