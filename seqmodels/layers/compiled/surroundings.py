"""What a step looks up beside its arguments and the attributes of the layer: globals, and attributes of classes.

They are found in the bytecode of the step and of the functions that it calls. A plan is used only as long as each of
these names stands for the same value.
"""

import dis
from collections.abc import Iterator
from copy import copy
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

from seqmodels.layers.compiled.trace import Untraceable

METHODS = ("step", "project", "advance", "scan")
MISSING = object()


class Surroundings:
    """The names that the methods of a cell, and of the modules in it, look up."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self.found: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.seen: set[CodeType] = set()
        self.reason: Untraceable | None = None
        """That one of them stands for a value that can change unnoticed."""
        try:
            for kind in kinds:
                for name in METHODS if kind is kinds[0] else ("forward",):
                    self.look_up(kind, name, kind)
        except Untraceable as reason:
            self.reason = reason
        self.places = tuple(self.found.values())
        self.copies = [(value, copy(value)) for _, _, value in self.places if isinstance(value, list | dict | set)]
        self.values = tuple((name, _hashable(value)) for _, name, value in self.places)
        """What a plan depends on, in a form that can be hashed."""

    def still_hold(self) -> bool:
        return all(_value(place, name) is value for place, name, value in self.places) and all(
            value == copied for value, copied in self.copies
        )

    def look_up(self, place: Any, name: str, kind: type) -> None:
        """Keep what a name stands for in a class, or in a dictionary, and follow it if it is a function."""
        value = _value(place, name)
        if value is not MISSING and not (isinstance(place, type) and value is vars(nn.Module).get(name, MISSING)):
            self.keep(place, name, value, kind)

    def keep(self, place: Any, name: str, value: Any, kind: type) -> None:
        if (id(place), name) not in self.found:
            parts = [*value, *value.values()] if isinstance(value, dict) else value
            if not is_constant(tuple(parts) if isinstance(value, list | dict | set) else value):
                raise Untraceable(f"it reads {name}, a {type(value).__name__}, which can change unnoticed")
            self.found[id(place), name] = place, name, value
            self.follow(value, kind)

    def follow(self, value: Any, kind: type) -> None:
        """Look up the names in the code of a function."""
        if isinstance(value, property | classmethod | staticmethod):
            value = value.fget if isinstance(value, property) else value.__func__
        value = value.__func__ if isinstance(value, MethodType) else value
        if not isinstance(value, FunctionType) or _is_stable(value.__module__) or value.__code__ in self.seen:
            return
        self.seen.add(value.__code__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self.keep(cell, name, _value(cell, name), kind)
        names, attributes = _names(value.__code__)
        for name in names:
            self.look_up(value.__globals__, name, kind)
        modules = [value.__globals__.get(name) for name in names]
        for name in attributes:
            self.look_up(kind, name, kind)
            for module in modules:
                if isinstance(module, ModuleType) and not _is_stable(module.__name__):
                    self.look_up(vars(module), name, kind)


_KNOWN: dict[tuple[type, ...], Surroundings] = {}


def surroundings_of(layer: nn.Module) -> Surroundings:
    """Those of a layer, as they are now."""
    kinds: tuple[type, ...] = (type(layer),)
    if layer._modules:
        kinds = tuple(dict.fromkeys(type(part) for part in layer.modules() if not _is_stable(type(part).__module__)))
    found = _KNOWN.get(kinds)
    if found is None or not found.still_hold():
        found = _KNOWN[kinds] = Surroundings(kinds)
    return found


def is_constant(value: Any) -> bool:
    """Whether a value is the same as long as it is the same object."""
    if type(value) in (tuple, frozenset):
        return all(map(is_constant, value))
    return value is MISSING or isinstance(value, CONSTANT)


CONSTANT = (
    *(str, int, float, bool, type(None), type, torch.dtype, torch.device, property, classmethod, staticmethod),
    *(FunctionType, MethodType, BuiltinFunctionType, ModuleType),
)


def _hashable(value: Any) -> Any:
    """A copy of a constant, or of a container of constants, in which 1, 1.0 and True differ."""
    parts = value.items() if isinstance(value, dict) else value
    return type(value), tuple(map(_hashable, parts)) if isinstance(value, CONTAINERS) else value


CONTAINERS = (list, dict, set, tuple, frozenset)


def _value(place: Any, name: str) -> Any:
    """What a name stands for among globals, as an attribute of a class (not of an instance), or in a closure."""
    if type(place) is dict:
        return place.get(name, MISSING)
    if type(place) is CellType:
        return getattr(place, "cell_contents", MISSING)
    for base in place.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return MISSING


def _is_stable(module: str | None) -> bool:
    """Whether a module belongs to Python or torch: nobody changes those between two steps."""
    return (module or "").partition(".")[0] in ("torch", "builtins", "math", "typing", "functools", "operator")


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """The globals and the attributes that some code, and the functions defined in it, look up."""
    names, attributes = set[str](), set[str]()
    for each in _codes(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
                attributes.add(instruction.argval)
    return names, attributes


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
