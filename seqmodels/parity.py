"""Parity: is a layer what it says it is? Ours against its reference, number by number, in float64.

Both layers get the same random weights, inputs and initial state. Compared are the initial weights for equal seeds; in
training, with the same dropout, the outputs, the final state, and the gradients of the inputs, the initial state and
every parameter, for a random gradient of outputs and final state; and in evaluation, from the zero state, the outputs
and the final state. Single precision, other devices and packed sequences are not looked at here; the tests do that.

    python -m seqmodels.parity model=manual_rnn model.num_layers=3 task=copy_memory
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from seqmodels.checks import check_whole
from seqmodels.config import UserError, arguments_of, check_seed, command, instantiate, user_errors
from seqmodels.signatures import shared_arguments
from seqmodels.tasks import Task

TOLERANCE = 1e-10
"""Largest relative error that counts as equal in float64; rounding alone stays below 1e-12 at usual sizes."""


class ParityError(UserError):
    """A layer differs from the reference it names."""


@dataclass(frozen=True)
class Deviation:
    """How far one tensor is from the reference's: the largest absolute difference, and that over the largest entry."""

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

    def table(self) -> Table:
        table = Table(title=f"{self.layer} against {self.reference}, float64")
        table.add_column("tensor")
        table.add_column("largest error", justify="right")
        table.add_column("relative", justify="right")
        table.add_column("")
        for d in self.deviations:
            verdict = d.note or "differs" if d in self.failures else "equal"
            table.add_row(d.tensor, f"{d.absolute:.1e}", f"{d.relative:.1e}", verdict)
        return table

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
        arguments: what both constructors are called with, such as `{"input_size": 5, "hidden_size": 2}`; what the
            reference has no argument for, such as another initialisation, goes to the layer alone.
        batch, time: the size of the random input.
        reference: the class to compare with; `layer.reference` if not given.
        tolerance: the largest relative error of a tensor that passes.
        seed: of weights, inputs, initial state and output gradients. The global random state is left alone.

    Raises:
        ValueError: no reference is given and the layer names none.
    """
    reference = reference or getattr(layer, "reference", None)
    if reference is None:
        raise ValueError(f"{layer.__name__} names no reference: give one, or set the class attribute `reference`")
    names = layer.__name__, f"{reference.__module__.replace('torch.nn.modules.rnn', 'torch.nn')}.{reference.__name__}"
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
            probe = _Probe.draw(theirs, arguments, batch, time, seed)
            expected = probe.run(theirs)
            try:
                found = probe.run(ours)
                deviations += [_deviation(name, found.get(name), expected[name]) for name in expected]
            except Exception as error:  # whatever a wrong layer does, the reference did not do it
                problem = f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                deviations.append(Deviation("forward or backward", math.inf, math.inf, problem))
    return ParityReport(*names, tolerance, deviations)


@dataclass(frozen=True)
class _Probe:
    """Random inputs, initial state and output gradients, to be run through both layers."""

    inputs: Tensor
    state: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    seed: int

    @classmethod
    def draw(cls, layer: nn.Module, arguments: dict[str, Any], batch: int, time: int, seed: int) -> "_Probe":
        shape = (batch, time) if arguments.get("batch_first") else (time, batch)
        inputs = torch.randn(*shape, arguments["input_size"], dtype=torch.float64)
        with torch.no_grad():
            output, final = layer(inputs)  # a dry run tells the shapes
        state = tuple(torch.randn_like(part) for part in _parts(final))
        return cls(inputs, state, tuple(torch.randn_like(part) for part in (output, *_parts(final))), seed)

    def run(self, layer: nn.Module) -> dict[str, Tensor | None]:
        inputs = self.inputs.clone().requires_grad_()
        state = tuple(part.clone().requires_grad_() for part in self.state)
        layer.train().zero_grad()
        torch.manual_seed(self.seed)  # the same dropout for both
        output, final = layer(inputs, state if len(state) > 1 else state[0])
        results = (output, *_parts(final))
        # What is detached has no gradient to give, and what it should have reached shows that.
        pairs = [(result, g) for result, g in zip(results, self.gradients, strict=True) if result.requires_grad]
        torch.autograd.backward([result for result, _ in pairs], [g for _, g in pairs])
        with torch.no_grad():
            output_from_zeros, final_from_zeros = layer.eval()(self.inputs)

        tensors: dict[str, Tensor | None] = {"output": output}
        tensors |= _named("final state", _parts(final))
        tensors |= {"output from zero state": output_from_zeros}
        tensors |= _named("final state from zero state", _parts(final_from_zeros))
        tensors |= {"gradient of input": inputs.grad}
        tensors |= _named("gradient of initial state", tuple(part.grad for part in state))
        return tensors | {f"gradient of {name}": parameter.grad for name, parameter in layer.named_parameters()}


def _parts(state: Any) -> tuple[Tensor, ...]:
    return tuple(state) if isinstance(state, tuple) else (state,)


def _named(name: str, parts: tuple[Tensor | None, ...]) -> dict[str, Tensor | None]:
    return {name if len(parts) == 1 else f"{name} {symbol}": part for symbol, part in zip("hcnm", parts, strict=False)}


def _mismatches(ours: nn.Module, theirs: nn.Module) -> list[Deviation]:
    """Parameters of other names or shapes than the reference's."""
    weights, expected = ours.state_dict(), theirs.state_dict()
    mismatches = []
    for name in expected | weights:
        shapes = [tuple(state[name].shape) if name in state else "none" for state in (weights, expected)]
        if shapes[0] != shapes[1]:
            note = f"shape {shapes[0]}, the reference has {shapes[1]}"
            mismatches.append(Deviation(name, math.inf, math.inf, note))
    return mismatches


def _initial_weights(ours: nn.Module, theirs: nn.Module) -> Deviation:
    """Whether equal seeds gave equal weights; the parameter that is furthest off."""
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return max((_deviation("initial weights", *pair) for pair in pairs), key=lambda deviation: deviation.relative)


def _deviation(name: str, found: Tensor | None, expected: Tensor | None) -> Deviation:
    if expected is None or found is None:
        if found is expected:  # a parameter that neither of them reaches
            return Deviation(name, 0.0, 0.0)
        return Deviation(name, math.inf, math.inf, "no such gradient")
    if found.shape != expected.shape:
        note = f"shape {tuple(found.shape)}, the reference has {tuple(expected.shape)}"
        return Deviation(name, math.inf, math.inf, note)
    absolute = (found - expected).abs().max().item()
    if math.isnan(absolute):
        return Deviation(name, math.inf, math.inf, "not a number")
    return Deviation(name, absolute, absolute / (expected.abs().max().item() or 1.0))


def compare_configured(config: DictConfig, task: Task) -> ParityReport | None:
    """The report for a configured layer at the shapes of a task; None for a layer that names no reference."""
    with user_errors("data", config.data):
        check_whole("batch_size", config.data.batch_size, 1)
    # At least two sequences, so that one that reads another shows.
    size = max(config.data.batch_size, 2)
    inputs = task.batch("val", 0, size, torch.Generator().manual_seed(config.seed))[0]
    input_size = config.embedding_size or task.input_size
    with torch.random.fork_rng(devices=[]):
        layer = instantiate(config.model, "model", input_size=input_size)
    if getattr(layer, "reference", None) is None:
        return None
    arguments = arguments_of(config.model) | {"input_size": input_size}
    with user_errors("model", config.model):
        return compare(type(layer), arguments, batch=inputs.size(0), time=inputs.size(1), seed=config.seed)


@command("parity")
def main(config: DictConfig, folder: Path) -> None:
    check_seed(config)
    report = compare_configured(config, instantiate(config.task, "task"))
    if report is None:
        print(f"model={config.model_name} names no reference: there is nothing to compare it with")
        return
    Console().print(report.table())
    report.check()


if __name__ == "__main__":
    main()
