"""Signatures: the arguments that a class or function accepts, and its public name."""

import inspect
import typing
from typing import Any

ANY_NAME = "**"
"""The key under which `accepted_by` lists a `**arguments` that accepts any name."""


def accepted_by(target: Any) -> dict[str, Any] | None:
    """The names that a class or function accepts, with their types; None where they cannot be known.

    `**arguments: Unpack[Names]` stands for the names of the TypedDict, any other `**arguments` for `ANY_NAME`.
    """
    signed = _signed_by(target)
    try:
        parameters = inspect.signature(signed).parameters
    except ValueError:  # some functions written in C have no signature
        return None
    try:
        hints = typing.get_type_hints(signed)
    except NameError:  # types that are imported for type checkers only
        hints = {}
    accepted: dict[str, Any] = {}
    for name, parameter in parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is not parameter.VAR_KEYWORD:
            accepted[name] = hint
        elif typing.get_origin(hint) is typing.Unpack:
            accepted |= typing.get_type_hints(typing.get_args(hint)[0])
        else:
            accepted[ANY_NAME] = hint
    accepted.pop("self", None)
    return accepted


def shared_arguments(target: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments whose names `target` accepts."""
    known = inspect.signature(_signed_by(target)).parameters
    return {name: value for name, value in arguments.items() if name in known}


def public_name(target: type) -> str:
    """The dotted name by which a class is imported: torch.nn.RNN, which torch defines in torch.nn.modules.rnn."""
    return f"{target.__module__.replace('torch.nn.modules.rnn', 'torch.nn')}.{target.__qualname__}"


def _signed_by(target: Any) -> Any:
    """The function whose signature says what a class or function accepts."""
    constructor = target.__init__ if inspect.isclass(target) else target
    # torch.nn.RNN is declared with *args and **kwargs; its first overload has the real signature.
    overloads = typing.get_overloads(constructor) if inspect.isfunction(constructor) else []
    return (overloads or [constructor])[0]
