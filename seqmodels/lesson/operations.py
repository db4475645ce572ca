"""The operations of one step of a cell, recorded while it runs, each with its formula.

Nothing here knows a cell: torch reports every operation, and the names are those of the variables in the cell's code.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seqmodels.checks import UserError

SUM, PRODUCT, ATOM = 1, 2, 3
"""How tightly a formula binds; a looser one is put in parentheses inside a tighter one."""

INFIX = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "matmul": ("@", PRODUCT),
}
RESHAPING = ("flatten", "unflatten", "squeeze", "stack", "unbind", "getitem")
UNSHOWN = ("dim", "keepdim", "dtype", "device")


@dataclass(frozen=True)
class Operation:
    """One operation of a step, such as `candidate = tanh(input candidate + reset gate * recurrent candidate)`."""

    function: str
    """Its name in torch, such as "tanh" or "linear"."""
    name: str
    """The name of the result in the cell's code, or as a state; empty if it has none."""
    formula: str
    result: Tensor
    """A node of the step's autograd graph."""
    operands: list[str]
    """The quantities that it is computed from."""
    terms: dict[str, Tensor]
    """The products W a and the biases b among the summands; they are no operations of their own."""

    @property
    def quantity(self) -> str:
        """The name of the result, or else its formula."""
        return self.name or self.formula


class Recorder(TorchFunctionMode):
    """Records the operations of torch while it is entered.

    The name of a tensor is that of the variable through which the code uses it. Where two tensors of a step have the
    same name, the later one keeps it.

    Args:
        known: names given beforehand: of the parameters, the input and the states.
    """

    def __init__(self, known: dict[str, Tensor]) -> None:
        super().__init__()
        self.known = known
        self.calls: dict[int, _Call] = {}
        self.variables: dict[int, str] = {}
        self.kept: list[Any] = []  # so that no id is used again

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        _refuse_changes_in_place(func, args)
        result = func(*args, **(kwargs or {}))
        operands = {id(operand) for operand in _tensors([*args, *(kwargs or {}).values()])}
        variables = _variables_of_the_caller()
        for operand in operands & variables.keys():
            self.variables.setdefault(operand, variables[operand])
        for part in _tensors(result):
            if id(part) not in operands:
                self.calls[id(part)] = _Call.of(func, args, kwargs or {}, part)
        self.kept.append((args, kwargs, result))
        return result

    def operations(self, states: dict[str, Tensor]) -> list[Operation]:
        """The recorded operations, in order; `states` are the results, by name."""
        known = {id(tensor): name for name, tensor in (states | self.known).items()}
        latest = {
            self.variables[key]: key
            for key, call in self.calls.items()
            # The weights are shown once and whole, so a piece of them is named by its position.
            if key in self.variables and not (call.piece and isinstance(call.args[0], nn.Parameter))
        }
        names = {key: name for name, key in latest.items() if name not in known.values()} | known
        lines = {
            key
            for key, call in self.calls.items()
            if key in names or not (call.piece or call.reshaped is not None or self._only_a_summand(key))
        }
        shown = _Formulas(self.calls, names, lines)
        operations = []
        terms: dict[str, Tensor] = {}
        for key, call in self.calls.items():
            terms |= shown.terms(call)
            if key in lines:
                name, formula = names.get(key, ""), shown.formula(call)[0]
                operations.append(
                    Operation(call.function, name, formula, call.result, list(shown.operands(call)), terms)
                )
                terms = {}
        for name, tensor in states.items():
            if id(tensor) not in self.calls:
                before = names.get(id(tensor), "constant")
                operations.append(Operation("", name, before, tensor, [before], {}))
        return operations

    def _only_a_summand(self, key: int) -> bool:
        """Whether a result is a product W a, or a sum W a + b, that is used in sums only."""
        if self.calls[key].function != "linear":
            return False
        users = [call for call in self.calls.values() if key in map(id, call.operands())]
        return bool(users) and all(call.function == "add" for call in users)


@dataclass(frozen=True)
class _Call:
    """One call of a torch function."""

    function: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    @classmethod
    def of(cls, function: Callable, args: tuple[Any, ...], options: dict[str, Any], result: Tensor) -> "_Call":
        """The same call, whichever way it was written: `a.real`, `1 - a` and `torch.sub(1, a)`."""
        name = function.__name__
        if name == "__get__":
            name = function.__self__.__name__  # type: ignore[attr-defined]
        name = name.strip("_")
        if name in ("rsub", "rdiv", "rpow"):
            name, args = name[1:], args[::-1]
        synonyms = {"multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div"}
        return cls(synonyms.get(name, name), args, options, result)

    def operands(self) -> Iterator[Tensor]:
        yield from _tensors([*self.args, *self.options.values()])

    @property
    def reshaped(self) -> Tensor | None:
        """The operand, if the result has the same numbers in the same order."""
        operands = list(self.operands())
        if self.function not in RESHAPING or len(operands) != 1 or operands[0].numel() != self.result.numel():
            return None
        return operands[0]

    @property
    def piece(self) -> str:
        """Where the result lies in the first operand, as in "[3..4]", if it is a piece of it; counted from 1."""
        source = self.args[0] if self.args else None
        if self.function not in ("chunk", "split", "tensor_split", "narrow", "getitem"):
            return ""
        if not isinstance(source, Tensor) or source.dim() != self.result.dim():
            return ""
        if self.result.untyped_storage().data_ptr() != source.untyped_storage().data_ptr():
            return ""
        cut = [dim for dim in range(source.dim()) if source.size(dim) != self.result.size(dim)] or [-1]
        if len(cut) > 1 or self.result.stride() != source.stride():
            return ""
        first = (self.result.storage_offset() - source.storage_offset()) // source.stride(cut[0]) + 1
        last = first + self.result.size(cut[0]) - 1
        return f"[{first}]" if first == last else f"[{first}..{last}]"


class _Formulas:
    """Writes calls as formulas, down to the operands that have names; `lines` are the calls that are shown."""

    def __init__(self, calls: dict[int, _Call], names: dict[int, str], lines: set[int]) -> None:
        self.calls = calls
        self.names = names
        self.lines = lines

    def operands(self, call: _Call) -> Iterator[str]:
        """The quantities of a call's operands, through the calls that are not shown."""
        for operand in call.operands():
            if id(operand) in self.calls and id(operand) not in self.lines:
                yield from self.operands(self.calls[id(operand)])
            else:
                yield self.operand(operand)

    def operand(self, value: Any, tightness: int = SUM) -> str:
        if not isinstance(value, Tensor):
            return f"{value:g}" if isinstance(value, float) else str(value)
        if id(value) in self.names:
            return self.names[id(value)]
        if id(value) not in self.calls:
            return f"{value.item():g}" if value.numel() == 1 else "constant"
        formula, binding = self.formula(self.calls[id(value)])
        return formula if binding >= tightness else f"({formula})"

    def formula(self, call: _Call) -> tuple[str, int]:
        """The formula of a call, and how tightly it binds."""
        if call.reshaped is not None:
            return self.operand(call.reshaped, ATOM), ATOM
        if call.piece:
            return self.operand(call.args[0], ATOM) + call.piece, ATOM
        if call.function == "linear":
            terms = list(self.terms(call))
            return " + ".join(terms), SUM if len(terms) > 1 else PRODUCT
        if call.function in INFIX and len(call.args) == 2 and not call.options:
            sign, binding = INFIX[call.function]
            left, right = call.args
            tighter = binding + (sign in "-/@")  # a - (b + c), but a + b + c
            return f"{self.operand(left, binding)} {sign} {self.operand(right, tighter)}", binding
        if call.function == "neg":
            return f"-{self.operand(call.args[0], ATOM)}", PRODUCT
        if call.function == "pow" and len(call.args) == 2:
            return f"{self.operand(call.args[0], ATOM)}^{self.operand(call.args[1], ATOM)}", ATOM
        values = [value for arg in call.args for value in (arg if _holds_tensors(arg) else [arg])]
        shown = [self.operand(value) for value in values if isinstance(value, Tensor | int | float)]
        shown += [
            self.operand(value) if isinstance(value, Tensor) else f"{name}={value}"
            for name, value in call.options.items()
            if value is not None and name not in UNSHOWN
        ]
        return f"{call.function.replace('_', ' ')}({', '.join(shown)})", ATOM

    def terms(self, call: _Call) -> dict[str, Tensor]:
        """The product of a call of `linear`, and the bias if there is one."""
        if call.function != "linear":
            return {}
        vector, weight, bias = _linear_arguments(*call.args, **call.options)
        with torch.no_grad():
            product = {self._product(call): F.linear(vector, weight)}
        return product if bias is None else product | {self.operand(bias): bias}

    def _product(self, call: _Call) -> str:
        vector, weight, _ = _linear_arguments(*call.args, **call.options)
        return f"{self.operand(weight, ATOM)} {self.operand(vector, ATOM)}"


def _linear_arguments(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Any]:
    return input, weight, bias


def _refuse_changes_in_place(function: Callable, args: tuple[Any, ...]) -> None:
    """Refuse an operation in place, which overwrites a value that is to be shown and differentiated."""
    name = function.__name__
    changes = re.fullmatch(r"[a-z]\w*[a-z]_|__i\w+__|__setitem__", name)
    if changes and isinstance(args[0], Tensor) and args[0].requires_grad:
        raise UserError(f"step should not change tensors in place, or it cannot be shown; it calls {name}")


def _variables_of_the_caller() -> dict[int, str]:
    """The names of the tensors in the local variables of the code that called torch.

    A tensor does not know its name, and only the frame of the running function does. It is looked up while the
    operation runs, because the variables of a helper that `step` calls are gone afterwards.
    """
    frame = sys._getframe(2)
    while frame.f_back is not None and re.match(r"torch\b", frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    variables = {name: value for name, value in frame.f_locals.items() if isinstance(value, Tensor)}
    return {id(value): name.replace("_", " ") for name, value in variables.items()}


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value)


def _tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in a value, a list or a tuple, nested once at most."""
    for value in values if isinstance(values, list | tuple) else [values]:
        yield from filter(lambda part: isinstance(part, Tensor), value if _holds_tensors(value) else [value])
