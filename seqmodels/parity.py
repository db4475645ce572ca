"""Parity: the proof that a layer equals its reference, number by number, in float64.

Both layers have the same random weights, inputs and initial state. These are compared: the initial weights for equal
seeds; in training, with the same dropout, the outputs, the final state, and the gradients of the inputs, the initial
state and every parameter, for a random gradient of outputs and final state; in evaluation, from the zero state, the
outputs and the final state. Single precision, other devices and packed sequences are left to the tests.
"""

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError
from seqmodels.signatures import public_name, shared_arguments

TOLERANCE = 1e-10
"""The largest relative error that counts as equal in float64; rounding alone stays below 1e-12 at usual sizes."""


class ParityError(UserError):
    """A layer differs from the reference it names."""


@dataclass(frozen=True)
class Deviation:
    """The error of one tensor: the largest difference, also relative to the largest entry of the reference."""

    tensor: str
    absolute: float
    relative: float
    note: str = ""


@dataclass(frozen=True)
class ParityReport:
    """The comparison of a layer with its reference; see `compare`."""

    layer: str
    reference: str
    tolerance: float
    deviations: list[Deviation]

    @property
    def failures(self) -> list[Deviation]:
        return [d for d in self.deviations if not d.relative <= self.tolerance]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def worst(self) -> float:
        """The largest relative error of all tensors."""
        return max(d.relative for d in self.deviations)

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, without infinities, for JSON."""
        report = asdict(self) | {"passed": self.passed, "worst": self.worst}
        for row in [report, *report["deviations"]]:
            row |= {k: str(v) for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)}
        return report

    def check(self) -> None:
        """Raise ParityError, naming each tensor that differs and by how much."""
        if not self.passed:
            named = [
                f"{d.tensor} ({d.note or f'by {d.absolute:.1e}, relative {d.relative:.1e}'})" for d in self.failures
            ]
            raise ParityError(
                f"{self.layer} differs from {self.reference} (largest relative error allowed: {self.tolerance:.0e}) in "
                + ", ".join(named)
            )


def compare(
    layer: type[nn.Module],
    arguments: dict[str, Any],
    batch: int = 8,
    time: int = 12,
    reference: type[nn.Module] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> ParityReport:
    """Compare a layer class with its reference at given constructor arguments.

    Args:
        layer: the class to check.
        arguments: the arguments of both constructors, such as `{"input_size": 5, "hidden_size": 2}`; those that the
            reference does not accept, such as another initialisation, go to the layer alone.
        batch, time: the size of the random input.
        reference: the class to compare with; `layer.reference` if not given.
        tolerance: the largest relative error of a tensor that passes.
        seed: of weights, inputs, initial state and output gradients. The global random state is left alone.

    Raises:
        ValueError: no reference is given and the layer names none.
    """
    reference = reference or getattr(layer, "reference", None)
    if reference is None:
        raise ValueError(f"{layer.__name__} names no reference: pass one, or set the class attribute `reference`")
    shared = shared_arguments(reference, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = reference(**shared).to("cpu", torch.float64)
        torch.manual_seed(seed)
        ours = layer(**arguments).to("cpu", torch.float64)
        deviations = _mismatches(ours, theirs)
        if not deviations:
            if shared == arguments:
                deviations = [_initial_weights(ours, theirs)]
            theirs.load_state_dict(ours.state_dict())
            probe = _Probe.draw(theirs, arguments, batch, time, getattr(layer, "states", ("h", "c")), seed)
            expected = probe.run(theirs)
            try:
                found = probe.run(ours)
                deviations += [_deviation(name, found.get(name), expected[name]) for name in expected]
            except Exception as error:  # a wrong layer can raise anything, and the reference did not
                problem = f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                deviations.append(Deviation("forward or backward", math.inf, math.inf, problem))
    return ParityReport(layer.__name__, public_name(reference), tolerance, deviations)


def compare_for_task(
    layer: "partial[nn.Module]", task: Any, batch_size: int, input_size: int, seed: int
) -> ParityReport | None:
    """Compare a layer with its reference at the shapes of a task; None if it names no reference.

    Args:
        layer: the class and its arguments, without `input_size`.
        task: a `seqmodels.tasks.Task`.
        batch_size: sequences in a batch; at least two are compared, so that a layer that mixes them is found out.
        input_size: features that the layer reads, which an embedding or blocks around the layer may change.
        seed: see `compare`.
    """
    if getattr(layer.func, "reference", None) is None:
        return None
    inputs = task.batch("val", 0, max(batch_size, 2), torch.Generator().manual_seed(seed))[0]
    arguments = layer.keywords | {"input_size": input_size}
    kind: Any = layer.func
    return compare(kind, arguments, batch=inputs.size(0), time=inputs.size(1), seed=seed)


def why_not_compared(layer: "partial[nn.Module]") -> str:
    """One line about a layer that names no reference."""
    kind: Any = layer.func
    if kind.__module__.startswith("torch."):
        return f"{public_name(kind)} is torch's own, so there is nothing to compare it with"
    if kind.__module__.startswith("seqmodels.layers.") and hasattr(kind, "reference"):
        return f"{kind.__name__} has no counterpart in torch; tests compare it with published code or its equations"
    return f"{kind.__name__} names no reference, so there is nothing to compare it with"


@dataclass(frozen=True)
class _Probe:
    """Random inputs, initial state and output gradients for both layers, and the names of the states."""

    inputs: Tensor
    state: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    names: tuple[str, ...]
    seed: int

    @classmethod
    def draw(
        cls, layer: nn.Module, arguments: dict[str, Any], batch: int, time: int, names: tuple[str, ...], seed: int
    ) -> "_Probe":
        shape = (batch, time) if arguments.get("batch_first") else (time, batch)
        inputs = torch.randn(*shape, arguments["input_size"], dtype=torch.float64)
        with torch.no_grad():
            output, final = layer(inputs)  # only the shapes are used
        state = tuple(torch.randn_like(part) for part in _parts(final))
        gradients = tuple(torch.randn_like(part) for part in (output, *_parts(final)))
        return cls(inputs, state, gradients, names if len(state) > 1 else ("",), seed)

    def run(self, layer: nn.Module) -> dict[str, Tensor | None]:
        inputs = self.inputs.clone().requires_grad_()
        state = tuple(part.clone().requires_grad_() for part in self.state)
        layer.train().zero_grad()
        torch.manual_seed(self.seed)  # the same dropout for both
        output, final = layer(inputs, state if len(state) > 1 else state[0])
        results = (output, *_parts(final))
        # A detached result cannot be differentiated; the gradients that are missing then show that.
        pairs = [(result, g) for result, g in zip(results, self.gradients, strict=True) if result.requires_grad]
        torch.autograd.backward([result for result, _ in pairs], [g for _, g in pairs])
        with torch.no_grad():
            output_from_zeros, final_from_zeros = layer.eval()(self.inputs)

        tensors: dict[str, Tensor | None] = {"output": output}
        tensors |= self._named("final state", _parts(final))
        tensors |= {"output from zero state": output_from_zeros}
        tensors |= self._named("final state from zero state", _parts(final_from_zeros))
        tensors |= {"gradient of input": inputs.grad}
        tensors |= self._named("gradient of initial state", tuple(part.grad for part in state))
        return tensors | {f"gradient of {name}": parameter.grad for name, parameter in layer.named_parameters()}

    def _named(self, title: str, parts: tuple[Tensor | None, ...]) -> dict[str, Tensor | None]:
        return {f"{title} {name}".rstrip(): part for name, part in zip(self.names, parts, strict=False)}


def _parts(state: Any) -> tuple[Tensor, ...]:
    return tuple(state) if isinstance(state, tuple) else (state,)


def _mismatches(ours: nn.Module, theirs: nn.Module) -> list[Deviation]:
    """Parameters whose names or shapes differ from the reference's."""
    weights, expected = ours.state_dict(), theirs.state_dict()
    mismatches = []
    for name in expected | weights:
        shapes = [tuple(state[name].shape) if name in state else "none" for state in (weights, expected)]
        if shapes[0] != shapes[1]:
            note = f"shape {shapes[0]}, the reference has {shapes[1]}"
            mismatches.append(Deviation(name, math.inf, math.inf, note))
    return mismatches


def _initial_weights(ours: nn.Module, theirs: nn.Module) -> Deviation:
    """The largest deviation of the initial weights, which equal seeds should make equal."""
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return max((_deviation("initial weights", *pair) for pair in pairs), key=lambda deviation: deviation.relative)


def _deviation(name: str, found: Tensor | None, expected: Tensor | None) -> Deviation:
    if expected is None or found is None:
        if found is expected:  # a parameter that neither layer uses
            return Deviation(name, 0.0, 0.0)
        return Deviation(name, math.inf, math.inf, "no such gradient")
    if found.shape != expected.shape:
        note = f"shape {tuple(found.shape)}, the reference has {tuple(expected.shape)}"
        return Deviation(name, math.inf, math.inf, note)
    absolute = (found - expected).abs().max().item()
    if math.isnan(absolute):
        return Deviation(name, math.inf, math.inf, "not a number")
    return Deviation(name, absolute, absolute / (expected.abs().max().item() or 1.0))
