"""Both passes of a plan on tensors: memory for their buffers, the compiled loops, and the sums over all steps."""

from typing import Any

import numpy as np
from torch import Tensor, fx

from seqmodels.layers.bptt.products import outer
from seqmodels.layers.cell import States
from seqmodels.layers.compiled.codegen import Source
from seqmodels.layers.compiled.plan import Evaluation, Plan
from seqmodels.layers.compiled.schedule import Place
from seqmodels.layers.compiled.values import Value

ALIGNMENT = 16
"""Numbers between which buffers start that share a tensor."""

Buffers = dict[str, tuple[int, int]]
"""The address of each buffer, and the bytes from one step to the next; 0 where all steps share one."""


def forward(
    plan: Plan, sequence: Tensor, state: States, weights: dict[str, Tensor], keep: bool
) -> tuple[Tensor, States, Tensor]:
    """The output, the final state, and what `backward` needs beside the output."""
    time, batch, _ = sequence.shape
    slots = [time if keep or at == 0 else 2 for at in range(len(state))]
    output = sequence.new_empty(time, batch, plan.widths[0])
    sequence, state = sequence.contiguous(), tuple(part.contiguous() for part in state)
    buffers = {"sequence": _steps(sequence), "after0": _steps(output)}
    for at, part in enumerate(state):
        buffers[f"before{at}"] = part.data_ptr(), 0
    kept = _place(buffers, sequence, kept_buffers(plan, time, batch, keep))
    _scratch = _place(buffers, sequence, [(name, 1, batch * width) for name, width in plan.forward.scratch])
    _run(plan.forward, Evaluation(plan, weights), buffers, [time, batch, 0], slots)
    final = [output[-1].clone()]
    if len(state) > 1:
        places = offsets(kept_buffers(plan, time, batch, keep))
        for at, (count, width) in enumerate(zip(slots, plan.widths, strict=True)):
            if at > 0:
                start = places[f"after{at}"] + (time - 1) % count * batch * width
                final.append(kept[start : start + batch * width].view(batch, width).clone())
    return output, tuple(final), kept


def kept_buffers(plan: Plan, time: int, batch: int, keep: bool) -> list[tuple[str, int, int]]:
    """The name, the steps and the numbers of a step of each buffer that the forward pass fills beside the output."""
    states = [(f"after{at}", time if keep else 2, batch * width) for at, width in enumerate(plan.widths) if at > 0]
    return states + [(name, time if keep else 1, batch * width) for name, width in plan.kept.items()]


def backward(
    plan: Plan, given: list[Tensor], output: Tensor, kept: Tensor, d_output: Tensor | None,
    d_final: tuple[Tensor | None, ...], needed: tuple[bool, ...],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of `given`, where `needed`."""
    sequence, count = given[0].contiguous(), len(plan.widths)
    time, batch, features = sequence.shape
    state = [part.contiguous() for part in given[1 : 1 + count]]
    names = plan.weights
    weights = dict(zip(names, given[1 + count :], strict=True))
    buffers = {"sequence": _steps(sequence), "after0": _steps(output)}
    for at, part in enumerate(state):
        buffers[f"before{at}"] = part.data_ptr(), 0
    places = offsets(kept_buffers(plan, time, batch, True))
    _address(buffers, kept, kept_buffers(plan, time, batch, True))
    if d_output is not None:
        d_output = d_output.contiguous()
        buffers["d_output"] = _steps(d_output)
    else:
        d_output = sequence.new_zeros(batch, plan.widths[0])
        buffers["d_output"] = d_output.data_ptr(), 0
    d_sequence = sequence.new_empty(time if needed[0] else 1, batch, features)
    buffers["d_sequence"] = d_sequence.data_ptr(), _steps(d_sequence)[1] if needed[0] else 0
    carried = [sequence.new_zeros(2, batch, width) for width in plan.widths]
    for at, final in enumerate(d_final):
        if final is not None:
            carried[at][time % 2] = final
        buffers[f"d_before{at}"] = buffers[f"d_after{at}"] = _steps(carried[at])
    rows = {name: sequence.new_empty(time, batch, width) for name, width in plan.rows.items()}
    buffers |= {name: _steps(part) for name, part in rows.items()}
    sums = {name: sequence.new_zeros(2 * width) for name, width in plan.sums.items()}
    buffers |= {name: (part.data_ptr(), 0) for name, part in sums.items()}
    _scratch = _place(buffers, sequence, [(name, 1, batch * width) for name, width in plan.backward.scratch])
    evaluation = Evaluation(plan, weights)
    _run(plan.backward, evaluation, buffers, [time, batch, int(needed[0])], [time] * count)

    def rows_of(place: Place, value: Value) -> list[Tensor]:
        """Rows (steps, batch, width) for all steps, in one piece, or the first step and the others."""
        name, columns = place.buffer, slice(place.start, place.start + value.width)
        if name.startswith("before"):
            at = int(name.removeprefix("before"))
            whole = [state[at].unsqueeze(0), (output if at == 0 else stored(f"after{at}", plan.widths[at]))[:-1]]
        elif name == "sequence":
            whole = [sequence]
        elif name == "after0":
            whole = [output]
        elif name in rows:
            whole = [rows[name]]
        else:
            whole = [stored(name, place.row)]
        return whole if value.width == place.row else [part[..., columns] for part in whole]

    def stored(name: str, width: int) -> Tensor:
        return kept[places[name] : places[name] + time * batch * width].view(time, batch, width)

    def total(node: fx.Node) -> Tensor:
        """The sum over the batch and all steps that stands for a node."""
        if len(plan.factors[node]) == 1:
            (place,) = plan.factors[node]
            return sums[place.buffer][: place.row].clone()
        left, right = (
            rows_of(place, value) for place, value in zip(plan.factors[node], plan.step.totals[node], strict=True)
        )
        return _sum_of_products(left, right)

    gradients: list[Tensor | None] = [d_sequence if needed[0] and plan.step.d_sequence is not None else None]
    gradients += [part[0] for part in carried]
    for name, wanted in zip(names, needed[1 + count :], strict=True):
        gradient = plan.step.d_weights[name]
        gradients.append(_gradient(gradient, evaluation, plan, total) if wanted and gradient is not None else None)
    return gradients


def _gradient(node: fx.Node, evaluation: Evaluation, plan: Plan, total: Any) -> Tensor:
    stack = [node]
    while stack:
        part = stack.pop()
        if part in evaluation.values:
            continue
        if part in plan.factors:
            evaluation.values[part] = total(part).view(part.meta["val"].shape)
        else:
            stack.extend(part.all_input_nodes)
    return evaluation(node)


def _sum_of_products(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """The sum over steps and batch of the outer products of rows."""
    if len(left) == len(right):
        pairs = list(zip(left, right, strict=True))
    elif len(left) == 2:
        pairs = [(left[0], right[0][:1]), (left[1], right[0][1:])]
    else:
        pairs = [(left[0][:1], right[0]), (left[0][1:], right[1])]
    total = left[0].new_zeros(left[0].size(2), right[0].size(2))
    for a, b in pairs:
        if len(a) > 0:
            outer(a.flatten(0, 1), b.flatten(0, 1), total)
    return total


def _steps(part: Tensor) -> tuple[int, int]:
    return part.data_ptr(), part.stride(0) * part.element_size()


def offsets(sizes: list[tuple[str, int, int]]) -> dict[str, int]:
    """Where buffers start in the tensor that they share."""
    places, end = {}, 0
    for name, steps, numbers in sizes:
        places[name] = end
        end += -(-steps * numbers // ALIGNMENT) * ALIGNMENT
    places[""] = end
    return places


def _place(buffers: Buffers, like: Tensor, sizes: list[tuple[str, int, int]]) -> Tensor:
    """A tensor with room for several buffers."""
    shared = like.new_empty(offsets(sizes)[""])
    _address(buffers, shared, sizes)
    return shared


def _address(buffers: Buffers, shared: Tensor, sizes: list[tuple[str, int, int]]) -> None:
    address, item = shared.data_ptr(), shared.element_size()
    places = offsets(sizes)
    for name, steps, numbers in sizes:
        buffers[name] = address + places[name] * item, numbers * item if steps > 1 else 0


def _run(source: Source, evaluation: Evaluation, buffers: Buffers, sizes: list[int], slots: list[int]) -> None:
    constants = [evaluation.constant(name) for name in source.constants]
    used = [buffers[name] for name in source.buffers]
    addresses = [address for address, _ in used] + [part.data_ptr() for part in constants]
    sizes = [*sizes, *(stride for _, stride in used), *(slots[at] for at in source.states), *source.numbers]
    source.run(np.array(addresses, np.int64), np.array(sizes, np.int64))
