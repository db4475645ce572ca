"""The formal tasks once more, in plain Python and by other algorithms, for one sequence at a time.

`ANSWERS[name](task, word)` answers a word, without the empty tokens that ask for the answer; the answer is None where
nothing is scored. `words(name, length)` yields all valid words of a length.
"""

import functools
import itertools
import math
import re


def written(task, word):
    """An expression or equation as a string."""
    symbols = dict(zip(range(task.modulus, task.modulus + 7), "+-*()x=", strict=True))
    return "".join(symbols.get(token, str(token)) for token in word)


def solve_equation(task, word):
    expression, value = written(task, word).split("=")
    (solution,) = [x for x in range(task.modulus) if eval(expression.replace("x", str(x))) % task.modulus == int(value)]
    return solution


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
    """With Python's own whole numbers, which have any length."""

    def answer(task, word):
        middle = word.index(2)
        numbers = [int("".join(map(str, reversed(part))), 2) for part in (word[:middle], word[middle + 1 :])]
        return [*map(int, reversed(f"{operate(*numbers):b}")), 2]

    return answer


def compute_sqrt(task, word):
    number, root = int("".join(map(str, word)), 2), 0
    for place in reversed(range((len(word) + 1) // 2)):
        if (root + 2**place) ** 2 <= number:
            root += 2**place
    return list(map(int, f"{root:b}".zfill(math.ceil(len(word) / 2))))


def tomita(task, word):
    string = "".join(map(str, word))
    match task.grammar:
        case 1:
            inside = "0" not in string
        case 2:
            inside = string == "10" * (len(word) // 2)
        case 3:
            inside = not re.search("(?<!1)1(11)*(0.*1)?0(00)*(?!0)", string)
        case 4:
            inside = "000" not in string
        case 5:
            inside = string.count("0") % 2 == string.count("1") % 2 == 0
        case 6:
            inside = (string.count("0") - string.count("1")) % 3 == 0
        case 7:
            inside = re.fullmatch("0*1*0*1*", string)
    return int(bool(inside))


def a_to_the_n(letters):
    def answer(task, word):
        runs = [(letter, len(list(run))) for letter, run in itertools.groupby(word)]
        return int([letter for letter, _ in runs] == list(range(letters)) and len({count for _, count in runs}) == 1)

    return answer


def dyck(task, word):
    stack, answers = [], []
    for token in word:
        if token < task.brackets:
            stack.append(token)
        else:
            assert stack.pop() == token - task.brackets
        answers.append(stack[-1] if stack else None)
    return answers


REBER = {"start": {"B": "outer"}, "outer": {"T": "T 0", "P": "P 0"}, "last": {"E": "over"}, "over": {}}
"""The whole grammar, with a copy of its inner part for each of the two outer symbols."""
for way in "TP":
    REBER |= {
        f"{way} 0": {"B": f"{way} 1"},
        f"{way} 1": {"T": f"{way} 2", "P": f"{way} 3"},
        f"{way} 2": {"S": f"{way} 2", "X": f"{way} 4"},
        f"{way} 3": {"T": f"{way} 3", "V": f"{way} 5"},
        f"{way} 4": {"X": f"{way} 3", "S": f"{way} 6"},
        f"{way} 5": {"P": f"{way} 4", "V": f"{way} 6"},
        f"{way} 6": {"E": f"{way} 7"},
        f"{way} 7": {way: "last"},
    }


def reber(task, word):
    state, answers = "start", []
    for token in word:
        state = REBER[state]["BTSXPVE"[token]]
        answers.append(["PT", "B", "SX", "TV", "PV", "E", "T", "P", ""].index("".join(sorted(REBER[state]))))
    assert answers.pop() == 8
    return [*answers, None]


@functools.cache
def reber_words(length, state="start"):
    if length == 0:
        return [()] if state == "over" else []
    arcs = REBER[state].items()
    return [("BTSXPVE".index(symbol), *rest) for symbol, onwards in arcs for rest in reber_words(length - 1, onwards)]


def dyck_words(length, stack=()):
    """Of two kinds, at most five deep."""
    if length == 0:
        yield ()
        return
    ways = [(kind, (*stack, kind)) for kind in range(2) if len(stack) < 5]
    ways += [(stack[-1] + 2, stack[:-1])] if stack else []
    for token, onwards in ways:
        for rest in dyck_words(length - 1, onwards):
            yield (token, *rest)


def prefixes(word):
    return [word[:end] for end in range(1, len(word) + 1)]


ANSWERS = {
    "parity_check": lambda task, word: str(word).count("1") % 2,
    "cumulative_parity": lambda task, word: [ones % 2 for ones in itertools.accumulate(word)],
    "even_pairs": lambda task, word: sum(a != b for a, b in itertools.pairwise(word)) % 2,
    "cycle_navigation": cycle_navigation,
    "modular_arithmetic_simple": lambda task, word: eval(written(task, word)) % task.modulus,
    "modular_arithmetic": lambda task, word: eval(written(task, word)) % task.modulus,
    "solve_equation": solve_equation,
    "majority": lambda task, word: [int(2 * sum(prefix) > len(prefix)) for prefix in prefixes(word)],
    "word_problem": word_problem,
    "reverse": lambda task, word: list(reversed(word)),
    "duplicate": lambda task, word: word + word,
    "odds_first": lambda task, word: [
        symbol for rest in (0, 1) for place, symbol in enumerate(word) if place % 2 == rest
    ],
    "bucket_sort": lambda task, word: [symbol for symbol in range(task.output_size) for _ in range(word.count(symbol))],
    "missing_duplicate": missing_duplicate,
    "stack_manipulation": stack_manipulation,
    "binary_addition": calculate(lambda first, second: first + second),
    "binary_multiplication": calculate(lambda first, second: first * second),
    "compute_sqrt": compute_sqrt,
    "tomita": tomita,
    "reber": reber,
    "dyck": dyck,
    "an_bn": a_to_the_n(2),
    "an_bn_cn": a_to_the_n(3),
}


def expressions(length, operators):
    """All expressions with brackets, as lists of choices; digits are below 5."""
    digits, minus, opening, closing = range(5), [6], [8], [9]
    if length <= 4:
        yield [[], [digits], [minus, digits], [opening, digits, closing], [opening, minus, digits, closing]][length]
    for left in range(1, length - 3):
        for first in expressions(left, operators):
            for second in expressions(length - 3 - left, operators):
                yield [opening, *first, operators, *second, closing]


def equations(length):
    for pattern in expressions(length - 2, [5, 6]):
        for expression in itertools.product(*pattern):
            for place, token in enumerate(expression):
                for value in range(5) if token == 0 else ():
                    yield (*expression[:place], 10, *expression[place + 1 :], 11, value)


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
        case "modular_arithmetic":
            patterns = expressions(length, operators)
        case "solve_equation":
            return equations(length)
        case "bucket_sort":
            patterns = [[digits] * length]
        case "stack_manipulation":
            patterns = [[bits] * height + [[2, 3, 4]] * (length - height) for height in range(1, length)]
        case "binary_addition" | "binary_multiplication":
            patterns = [[bits] * place + [[2]] + [bits] * (length - 1 - place) for place in range(1, length - 1)]
        case "reber":
            return reber_words(length)
        case "dyck":
            return dyck_words(length)
        case "an_bn_cn":
            patterns = [[range(3)] * length]
        case "missing_duplicate":
            copies = [copy * 2 for copy in itertools.product(bits, repeat=length // 2)]
            return ((*copy[:place], 2, *copy[place + 1 :]) for copy in copies for place in range(len(copy)))
        case _:
            patterns = [[bits] * length]
    return itertools.chain.from_iterable(itertools.product(*pattern) for pattern in patterns)
