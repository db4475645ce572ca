"""The formal tasks once more, in plain Python, another way: one sequence to its answer, None where nothing is scored.

`ANSWERS[name](task, word)` answers a word, without the empty tokens that ask for the answer; `words(name, length)`
gives all valid ones of a length.
"""

import itertools
import math


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


def missing_duplicate(task, word):
    half, place = len(word) // 2, word.index(2)
    return (word[half:] + word[:half])[place]


def stack_manipulation(task, word):
    stack = []
    for symbol in word:
        if symbol != 2:
            stack.append(symbol % 3)
        elif stack:
            stack.pop()
    return [*reversed(stack), 2]


def calculate(operate):
    """Python's own whole numbers have any length."""

    def answer(task, word):
        middle = word.index(2)
        numbers = [int("".join(map(str, reversed(part))), 2) for part in (word[:middle], word[middle + 1 :])]
        return [*map(int, reversed(f"{operate(*numbers):b}")), 2]

    return answer


def compute_sqrt(task, word):
    root = math.isqrt(int("".join(map(str, word)), 2))
    return list(map(int, f"{root:b}".zfill(math.ceil(len(word) / 2))))


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
    "reverse": lambda task, word: list(reversed(word)),
    "duplicate": lambda task, word: word + word,
    "odds_first": lambda task, word: [
        symbol for rest in (0, 1) for place, symbol in enumerate(word) if place % 2 == rest
    ],
    "bucket_sort": lambda task, word: [symbol for symbol in range(task.symbols) for _ in range(word.count(symbol))],
    "missing_duplicate": missing_duplicate,
    "stack_manipulation": stack_manipulation,
    "binary_addition": calculate(lambda first, second: first + second),
    "binary_multiplication": calculate(lambda first, second: first * second),
    "compute_sqrt": compute_sqrt,
}


def words(name, length):
    """All valid words of a length, with the default knobs."""
    bits, digits, operators = range(2), range(5), range(5, 8)
    match name:
        case "cycle_navigation":
            patterns = [[range(3)] * length]
        case "modular_arithmetic_simple":
            patterns = [[digits if place % 2 == 0 else operators for place in range(length - 1 + length % 2)]]
        case "word_problem":
            patterns = [[range(6)] * length]
        case "bucket_sort":
            patterns = [[digits] * length]
        case "stack_manipulation":
            patterns = [[bits] * height + [[2, 3, 4]] * (length - height) for height in range(1, length)]
        case "binary_addition" | "binary_multiplication":
            patterns = [[bits] * place + [[2]] + [bits] * (length - 1 - place) for place in range(1, length - 1)]
        case "missing_duplicate":
            copies = [copy * 2 for copy in itertools.product(bits, repeat=length // 2)]
            return ((*copy[:place], 2, *copy[place + 1 :]) for copy in copies for place in range(len(copy)))
        case _:
            patterns = [[bits] * length]
    return itertools.chain.from_iterable(itertools.product(*pattern) for pattern in patterns)
