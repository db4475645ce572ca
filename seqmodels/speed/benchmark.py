"""Layers against the references they name, in one process, interleaved.

For each size both layers get equal weights and inputs, and their outputs and gradients are compared before anything is
timed. Training is a forward pass, and a backward pass from a fixed gradient of the outputs to inputs and parameters;
inference is a forward pass in inference mode. Also timed are the bare matrix products of the same shapes by `torch.mm`,
one for each step where steps depend on each other: a layer that did nothing else would need this time.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError
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


def measure(name: str, layer: Callable[..., Any], size: Size, conditions: Conditions) -> Iterator[dict[str, Any]]:
    """Training and inference of one layer at one size: milliseconds, and megabytes at the peak.

    Args:
        name: what the layer is called in the rows.
        layer: makes the layer from `input_size`, `hidden_size`, `num_layers`, `dtype` and `device`.
        size: see `Size`.
        conditions: see `Conditions`.

    Raises:
        UserError: the layer differs from its reference.
    """
    steps, batch, features, hidden, layers = size
    device = conditions.device
    options: dict[str, Any] = {"input_size": features, "hidden_size": hidden, "num_layers": layers}
    options |= {"dtype": getattr(torch, conditions.dtype), "device": device}
    torch.manual_seed(conditions.seed)
    ours = layer(**options, backend=conditions.backend)
    reference = ours.reference(**options)
    reference.load_state_dict(ours.state_dict())
    inputs = torch.randn(steps, batch, features, dtype=options["dtype"], device=device)
    gradient = torch.randn_like(reference(inputs)[0])
    error = largest_error(results(ours, inputs, gradient), results(reference, inputs, gradient))
    if not error <= TOLERANCES[conditions.dtype]:
        raise UserError(f"{name} differs from its reference at {list(size)} by {error:.1e}: nothing was timed")
    modes = {
        "train": ([training(each, inputs, gradient) for each in (ours, reference)], 3),
        "infer": ([inference(each, inputs) for each in (ours, reference)], 1),
    }
    gates = len(ours.weight_hh_l0) // hidden
    for mode, (computations, passes) in modes.items():
        products = bare_products(size, gates, passes == 3, inputs)
        seconds = interleaved([*computations, products], conditions.rounds, device)
        memory = [peak_memory(computation, device) for computation in computations]
        yield {
            "layer": name,
            "mode": mode,
            "reference": f"nn.{ours.reference.__name__}",
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
            "gflops": passes * 2e-9 * steps * batch * gates * hidden * (features + (2 * layers - 1) * hidden),
        }


def training(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> Computation:
    inputs = inputs.clone().requires_grad_()

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        inputs.grad = None
        layer(inputs)[0].backward(gradient)

    return step


def inference(layer: nn.Module, inputs: Tensor) -> Computation:
    return torch.inference_mode()(lambda: layer(inputs))


def bare_products(size: Size, gates: int, train: bool, like: Tensor) -> Computation:
    """The matrix products of a pass, and nothing else."""
    steps, batch, features, hidden, layers = size
    rows = gates * hidden
    weight = like.new_ones(rows, hidden) / hidden
    state, sums = like.new_ones(batch, hidden), like.new_ones(batch, rows)
    all_states, all_sums = like.new_ones(steps * batch, hidden), like.new_ones(steps * batch, rows)
    inputs = [like.new_ones(steps * batch, width) for width in [features] + [hidden] * (layers - 1)]
    weights = [like.new_ones(rows, part.size(1)) for part in inputs]
    d_inputs = [torch.empty_like(part) for part in inputs]
    d_weights = [torch.empty_like(part) for part in weights]
    d_weight = torch.empty_like(weight)

    @torch.inference_mode()
    def products() -> None:
        for sequence, weight_ih, d_sequence, d_weight_ih in zip(inputs, weights, d_inputs, d_weights, strict=True):
            torch.mm(sequence, weight_ih.t(), out=all_sums)
            for _ in range(steps):
                torch.mm(state, weight.t(), out=sums)
            if train:
                for _ in range(steps):
                    torch.mm(sums, weight, out=state)
                torch.mm(all_sums.t(), all_states, out=d_weight)
                torch.mm(all_sums.t(), sequence, out=d_weight_ih)
                torch.mm(all_sums, weight_ih, out=d_sequence)

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
