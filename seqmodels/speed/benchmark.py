"""Layers against the references they name, or against their own loop, in one process, interleaved.

A layer that computes all steps at once, and names no reference, is compared with the loop over its single steps. For
each size both get equal weights and inputs, and their outputs and gradients are compared before anything is timed.
Training is a forward pass, and a backward pass from a fixed gradient of the outputs to inputs and parameters; inference
is a forward pass in inference mode. Also timed are the bare matrix products of the same shapes by `torch.mm`, one for
each step where steps depend on each other, and otherwise one for all steps and a copy of its result: a layer that did
nothing but its products, and moved nothing but what it computes a state from, would need this time. Where JAX is wanted
and has the same cell (jax_rival.py), it is compared and takes its turn as well.
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError
from seqmodels.layers import RecurrentLayer
from seqmodels.layers.cell import States, Weights
from seqmodels.signatures import public_name
from seqmodels.speed.memory import peak_memory

Computation = Callable[[], object]
Size = tuple[int, int, int, int, int]
"""(time, batch, input size, hidden size, layers)"""

TOLERANCES = {"float32": 1e-4, "float64": 1e-10, "bfloat16": 0.1, "float16": 0.1}
"""The largest difference from the reference, relative to the largest entry, at which timing makes sense."""


@dataclass(frozen=True)
class Conditions:
    """The settings that all layers and sizes of a benchmark share."""

    backend: str
    dtype: str
    device: str
    rounds: int
    seed: int
    jax: bool = False
    """Whether to time JAX, too, on the CPU."""


def measure(
    name: str, layer: Callable[..., Any], size: Size, conditions: Conditions, against: Callable[..., Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Training and inference of one layer at one size: milliseconds, and megabytes at the peak.

    With JAX there is its time, `jax_ms`, and this relative to ours, `jax_ratio`; NaN where it has no such cell.

    Args:
        name: what the layer is called in the rows.
        layer: makes the layer from `input_size`, `hidden_size`, `num_layers`, `dtype` and `device`.
        size: see `Size`.
        conditions: see `Conditions`.
        against: makes another layer to be timed beside it, whose results are others; None for the layer's reference or
            loop.

    Raises:
        UserError: the layer differs from its reference, or from its loop, or JAX's from that.
    """
    steps, batch, features, hidden, layers = size
    device = conditions.device
    options: dict[str, Any] = {"input_size": features, "hidden_size": hidden, "num_layers": layers}
    options |= {"dtype": getattr(torch, conditions.dtype), "device": device}
    torch.manual_seed(conditions.seed)
    ours = layer(**options, backend=conditions.backend)
    other = loop_of(ours) if against is None and ours.reference is None else (against or ours.reference)(**options)
    inputs = torch.randn(steps, batch, features, dtype=options["dtype"], device=device)
    gradient = torch.randn_like(other(inputs)[0])
    place, tolerance = f"at {list(size)}", TOLERANCES[conditions.dtype]
    if against is None:
        other.load_state_dict(ours.state_dict())
    expected = results(other if against is None else ours, inputs, gradient)
    if against is None:
        check_equal(results(ours, inputs, gradient), expected, tolerance, f"{name} differs from its reference {place}")
    rival = jax_rival(ours, inputs, gradient) if conditions.jax else None
    if rival is not None:
        check_equal(rival.results(), expected, tolerance, f"JAX differs from {name} {place}")
    modes = {
        "train": ([training(each, inputs, gradient) for each in (ours, other)], 3),
        "infer": ([inference(each, inputs) for each in (ours, other)], 1),
    }
    matrices = [(key, part) for key, part in ours.named_parameters() if key.startswith("weight") and part.dim() == 2]
    multiplications = sum(part.numel() for _, part in matrices)
    for mode, (computations, passes) in modes.items():
        products = bare_products(ours, inputs, train=passes == 3)
        of_jax = [] if rival is None else [getattr(rival, mode)]
        seconds = interleaved([*computations, products, *of_jax], conditions.rounds, device)
        memory = [peak_memory(computation, device) for computation in computations]
        yield {
            "layer": name,
            "mode": mode,
            "reference": "its loop" if type(other) is type(ours) else public_name(type(other)).removeprefix("torch."),
            "time": steps,
            "batch": batch,
            "input": features,
            "hidden": hidden,
            "layers": layers,
            "dtype": conditions.dtype,
            "device": device,
            "backend": conditions.backend,
            "ours_ms": seconds[0] * 1e3,
            "reference_ms": seconds[1] * 1e3,
            "products_ms": seconds[2] * 1e3,
            "ratio": seconds[1] / seconds[0],
            "share_of_products": seconds[2] / seconds[0],
            "ours_mb": memory[0],
            "reference_mb": memory[1],
            "gflops": passes * 2e-9 * steps * batch * multiplications,
        } | (compared_with_jax(seconds) if conditions.jax else {})


def compared_with_jax(seconds: list[float]) -> dict[str, float]:
    """JAX's milliseconds, and these relative to ours, from the seconds of ours, the other, the products and JAX's."""
    theirs = seconds[3] if len(seconds) > 3 else math.nan
    return {"jax_ms": theirs * 1e3, "jax_ratio": theirs / seconds[0]}


def jax_rival(layer: RecurrentLayer, inputs: Tensor, gradient: Tensor) -> Any:
    """The `JaxRival` of a layer; None if there is none. JAX is imported here."""
    from seqmodels.speed.jax_rival import JaxRival, has_rival

    return JaxRival(layer, inputs, gradient) if has_rival(layer) else None


def check_equal(found: list[Tensor], expected: list[Tensor], tolerance: float, complaint: str) -> None:
    """Refuse results that differ, with a UserError that says the complaint and by how much."""
    error = largest_error(found, expected)
    if not error <= tolerance:
        raise UserError(f"{complaint} by {error:.1e}: nothing was timed")


def at_once(layer: Any) -> bool:
    """Whether a layer computes all steps at once, rather than by the loop of the base class."""
    return isinstance(layer, RecurrentLayer) and type(layer).scan is not RecurrentLayer.scan


def loop_of(layer: RecurrentLayer) -> RecurrentLayer:
    """A copy of the layer that computes one step after the other."""
    loop = copy.deepcopy(layer)
    loop.backend = "autograd"

    def scan(sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        return RecurrentLayer.scan(loop, loop.project(sequence, weights), state, weights)

    loop._scan_by_autograd = scan  # type: ignore[method-assign]  # a step may itself use the layer's scan
    return loop


def training(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> Computation:
    inputs = inputs.clone().requires_grad_()

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
        layer(inputs)[0].backward(gradient)

    return step


def inference(layer: nn.Module, inputs: Tensor) -> Computation:
    return torch.inference_mode()(lambda: layer(inputs))


def bare_products(layer: nn.Module, inputs: Tensor, train: bool) -> Computation:
    """The matrix products of a pass, and little else."""
    steps, batch = inputs.shape[:2]
    together: list[tuple[Tensor, ...]] = []
    single: list[tuple[Tensor, ...]] = []
    for name, weight in layer.named_parameters():
        if not name.startswith("weight") or weight.dim() != 2:
            continue
        rows, columns = weight.shape
        by_steps = name.startswith("weight_hh") and not at_once(layer)
        read, sums = inputs.new_ones(steps * batch, columns), inputs.new_ones(steps * batch, rows)
        matrix = inputs.new_ones(rows, columns) / columns
        (single if by_steps else together).append((matrix, torch.empty_like(matrix), read, sums))

    @torch.inference_mode()
    def products() -> None:
        for weight, d_weight, read, sums in together:
            torch.mm(read, weight.t(), out=sums)
            if at_once(layer):
                sums.clone()
            if train:
                torch.mm(sums.t(), read, out=d_weight)
                torch.mm(sums, weight, out=read)
        for weight, d_weight, read, sums in single:
            state, step_sums = read[:batch], sums[:batch]
            for _ in range(steps):
                torch.mm(state, weight.t(), out=step_sums)
            if train:
                for _ in range(steps):
                    torch.mm(step_sums, weight, out=state)
                torch.mm(sums.t(), read, out=d_weight)

    return products


def results(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> list[Tensor]:
    """The output, and the gradients of inputs and parameters."""
    inputs = inputs.clone().requires_grad_()
    output, _ = layer(inputs)
    return [output, *torch.autograd.grad(output, [inputs, *layer.parameters()], gradient)]


def largest_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of any tensor, relative to its largest entry."""
    pairs = zip(found, expected, strict=True)
    return max(((ours - theirs).abs().max() / theirs.abs().max()).item() for ours, theirs in pairs)


def interleaved(computations: list[Computation], rounds: int, device: str) -> list[float]:
    """The median seconds of each computation. They take turns; short ones are repeated within their turn."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None

    def seconds(computation: Computation, repeats: int = 1) -> float:
        synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            computation()
        synchronize()
        return (time.perf_counter() - started) / repeats

    for _ in range(2):
        once = [seconds(computation) for computation in computations]
    repeats = [max(1, round(0.01 / each)) for each in once]
    turns = [
        [seconds(computation, many) for computation, many in zip(computations, repeats, strict=True)]
        for _ in range(rounds)
    ]
    return [statistics.median(turn) for turn in zip(*turns, strict=True)]


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
