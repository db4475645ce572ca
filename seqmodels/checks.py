"""Argument checks. Their messages say what was expected, what came, and the nearest right spelling."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that only the user can correct. The message says everything; no stack trace is needed."""


@contextmanager
def as_user_errors() -> Iterator[None]:
    """Turn the TypeError or ValueError of a check into a `UserError` with the same message."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse a value that is not a whole number of at least `least`.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small, or too large for 64 bits.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be {whole_number(least)}, got {value!r}")
    if value < least:
        raise ValueError(f"{name} should be {whole_number(least)}, got {value}")
    if value >= 2**63:
        raise ValueError(f"{name} should be a whole number below 2^63, got {value}")


def check_seed(value: object) -> None:
    """Refuse a seed that is not a whole number of 32 bits, with a ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise ValueError(f"seed should be a whole number from 0 to {2**32 - 1}, got {value!r}")


def whole_number(least: int) -> str:
    """How a message describes a whole number of at least `least`."""
    return {0: "a non-negative whole number", 1: "a positive whole number"}.get(
        least, f"a whole number of at least {least}"
    )


def check_flag(name: str, value: object) -> None:
    """Refuse a value that is neither True nor False, with a TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} should be True or False, got {value!r}")


def check_probability(name: str, value: object) -> None:
    """Refuse a value that is not a number from 0 to 1, with a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} should be a probability between 0 and 1, got {value!r}")


RENAMED = {
    "fused": "bptt",
    "loop": "autograd",
    "parity": "parity_check",
    "Parity": "ParityCheck",
    "copy_guess": "copy_chance",
}
"""Words of earlier versions, with their present names."""


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is none of `choices`, with a ValueError that names the nearest one."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} should be {one_of(choices)}, got {value!r}{nearest(str(value), choices)}")


def one_of(choices: Iterable[str]) -> str:
    """'a', 'b' or 'c'"""
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint at the choices spelt most like a word, or at its new name; empty if there is none."""
    choices = [choice for choice in choices if choice != word]
    if RENAMED.get(word) in choices:
        return f"; {word!r} is now called {RENAMED[word]!r}"
    matches = [choice for choice in choices if word.lower() in choice.lower().split("_")]
    if not matches:
        lower = {choice.lower(): choice for choice in choices}
        matches = [lower[match] for match in difflib.get_close_matches(word.lower(), lower, n=1)]
    return f"; did you mean {one_of(matches)}?" if matches else ""
