"""Both passes of a plan on tensors: memory for their buffers, the compiled loops, and the sums over all steps."""

import numpy as np
from torch import Tensor

from seqmodels.layers.cell import States
from seqmodels.layers.compiled.codegen import Source
from seqmodels.layers.compiled.plan import Evaluation, Plan

ALIGNMENT = 16
"""Numbers between which buffers start that share a tensor."""

CHUNK = 256
"""Rows of the batch, at least, of the steps whose outer products are summed at once."""

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
    _run(plan.forward, Evaluation(plan, weights), buffers, [time, batch, 0, 1], slots, [])
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
    chunk = min(time, max(1, CHUNK // batch))
    sums = {name: sequence.new_zeros(2 * width) for name, width in plan.sums.items()}
    buffers |= {name: (part.data_ptr(), 0) for name, part in sums.items()}
    wanted = [name for name, need in zip(names, needed[1 + count :], strict=True) if need]
    outers = {
        total: sequence.new_zeros(plan.outers[total][1], plan.outers[total][3])
        for total in plan.outers
        if any(total in plan.totals_of[name] for name in wanted)
    }
    working = [(name, chunk, batch * width) for name, width in plan.rows.items()]
    working += [(name, 1, batch * width) for name, width in plan.backward.scratch]
    _working = _place(buffers, sequence, working)
    evaluation = Evaluation(plan, weights)
    addresses = [outers[name].data_ptr() if name in outers else 0 for name in plan.outers]
    _run(plan.backward, evaluation, buffers, [time, batch, int(needed[0]), chunk], [time] * count, addresses)

    for node, name in plan.totals.items():
        if name in outers:
            evaluation.values[node] = outers[name]
        elif name in sums:
            evaluation.values[node] = sums[name][: plan.sums[name]].clone().view(node.meta["val"].shape)
    gradients: list[Tensor | None] = [d_sequence if needed[0] and plan.step.d_sequence is not None else None]
    gradients += [part[0] for part in carried]
    for name in names:
        gradient = plan.step.d_weights[name]
        gradients.append(evaluation(gradient) if name in wanted and gradient is not None else None)
    return gradients


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


def _run(
    source: Source, evaluation: Evaluation, buffers: Buffers, sizes: list[int], slots: list[int], results: list[int]
) -> None:
    constants = [evaluation.constant(name) for name in source.constants]
    used = [buffers[name] for name in source.buffers]
    addresses = [address for address, _ in used] + [part.data_ptr() for part in constants] + results
    sizes = [*sizes, *(stride for _, stride in used), *(slots[at] for at in source.states), *source.numbers]
    source.run(np.array(addresses, np.int64), np.array(sizes, np.int64))
