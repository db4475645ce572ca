"""The formal tasks once more, in plain Python, another way: one sequence to its answer, None where nothing is scored.

`ANSWERS[name](task, word)` answers a word, without the empty tokens that ask for the answer; `words(name, length)`
gives all valid ones of a length.
"""

import itertools


def modular_arithmetic_simple(task, word):
    symbols = {task.modulus: "+", task.modulus + 1: "-", task.modulus + 2: "*"}
    return eval("".join(symbols.get(token, str(token)) for token in word)) % task.modulus


def cycle_navigation(task, word):
    position = 0
    for move in word:
        position = (position + [-1, 0, 1][move]) % task.cycle
    return position


def word_problem(task, word):
    arrangement = tuple(range(len(task.elements[0])))
    answers = []
    for token in word:
        arrangement = tuple(task.elements[token][point] for point in arrangement)
        answers.append(task.elements.index(arrangement))
    return answers


def prefixes(word):
    return [word[:end] for end in range(1, len(word) + 1)]


ANSWERS = {
    "parity": lambda task, word: str(word).count("1") % 2,
    "cumulative_parity": lambda task, word: [str(prefix).count("1") % 2 for prefix in prefixes(word)],
    "even_pairs": lambda task, word: sum(a != b for a, b in itertools.pairwise(word)) % 2,
    "cycle_navigation": cycle_navigation,
    "modular_arithmetic_simple": modular_arithmetic_simple,
    "majority": lambda task, word: [int(prefix.count(1) > prefix.count(0)) for prefix in prefixes(word)],
    "word_problem": word_problem,
}


def words(name, length):
    """All valid words of a length, with the default knobs."""
    bits, digits, operators = range(2), range(5), range(5, 8)
    match name:
        case "cycle_navigation":
            choices = [range(3)] * length
        case "modular_arithmetic_simple":
            choices = [digits if place % 2 == 0 else operators for place in range(length - 1 + length % 2)]
        case "word_problem":
            choices = [range(6)] * length
        case _:
            choices = [bits] * length
    return itertools.product(*choices)
