"""Both passes of a plan on tensors: memory for their buffers, the compiled loops, and the sums over all steps."""

from collections.abc import Sequence

from torch import Tensor

from seqmodels.layers.cell import States
from seqmodels.layers.compiled.layout import Layout
from seqmodels.layers.compiled.memory import empty
from seqmodels.layers.compiled.plan import Evaluation, Plan

CHUNK = 256
"""Rows of the batch, at least, of the steps whose outer products are summed at once."""


def forward(
    plan: Plan, sequence: Tensor, state: Sequence[Tensor], weights: dict[str, Tensor], keep: bool
) -> tuple[Tensor, States, Tensor]:
    """The output, the final states (1, batch, features), and what `backward` needs beside the output."""
    time, batch, _ = sequence.shape
    layout = _forward_layout(plan, time, batch, keep)
    output = empty(sequence, time, batch, plan.widths[0])
    kept = empty(sequence, layout.numbers)
    given = [part.contiguous() for part in (sequence, *state)]
    final = tuple(empty(sequence, 1, batch, width) for width in plan.widths)
    layout.run([kept, output, *given, *Evaluation(plan, weights).constants(plan.forward), *final])
    return output, final, kept


def backward(
    plan: Plan, given: Sequence[Tensor], output: Tensor, kept: Tensor, d_output: Tensor | None,
    d_final: Sequence[Tensor | None], needed: Sequence[bool],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of `given`, where `needed`."""
    count = len(plan.widths)
    weights = dict(zip(plan.weights, given[1 + count :], strict=True))
    inputs = [part.contiguous() for part in given[: 1 + count]]
    time, batch, _ = given[0].shape
    layout = _backward_layout(plan, time, batch, needed[0], d_output is not None)
    d_output = output.new_zeros(batch, plan.widths[0]) if d_output is None else d_output.contiguous()
    finals = [None if part is None else part.contiguous() for part in d_final]
    d_inputs = [
        empty(part, *part.shape) if need else None for part, need in zip(inputs, needed[: 1 + count], strict=True)
    ]
    wanted = [name for name, need in zip(plan.weights, needed[1 + count :], strict=True) if need]
    sums = {total: output.new_empty(plan.shapes[total]) for total in plan.sums_for(tuple(wanted))}
    evaluation = Evaluation(plan, weights)
    tensors = [empty(output, layout.numbers), kept, output, *inputs, d_output, *finals, *d_inputs]
    tensors += evaluation.constants(plan.backward) + [sums.get(total) for total in plan.backward.results]
    layout.run(tensors)

    evaluation.add(sums)
    gradients = d_inputs if plan.step.d_sequence is not None else [None, *d_inputs[1:]]
    return gradients + [evaluation.gradient(name) if name in wanted else None for name in plan.weights]


def _forward_layout(plan: Plan, time: int, batch: int, keep: bool) -> Layout:
    key = time, batch, keep
    if (known := plan.layouts.get(key)) is not None:
        return known
    count, item = len(plan.widths), plan.item
    slots = [time if keep or at == 0 else 2 for at in range(count)]
    shared = [(f"after{at}", slots[at], batch * width) for at, width in enumerate(plan.widths) if at > 0]
    shared += [(name, time if keep else 1, batch * width) for name, width in plan.kept.items()]
    shared += [(name, 1, batch * width) for name, width in plan.forward.scratch]
    own = {"after0": (1, batch * plan.widths[0] * item), "sequence": (2, batch * plan.sequence_width * item)}
    own |= {f"before{at}": (3 + at, 0) for at in range(count)}
    others = range(3 + count, 3 + 2 * count + len(plan.forward.constants))
    return plan.remember(key, Layout(plan.forward, item, [time, batch, 0, 1], slots, shared, own, others))


def _backward_layout(plan: Plan, time: int, batch: int, needs_sequence: bool, has_output: bool) -> Layout:
    key = time, batch, needs_sequence, has_output
    if (known := plan.layouts.get(key)) is not None:
        return known
    kept = _forward_layout(plan, time, batch, True)
    count, item = len(plan.widths), plan.item
    chunk = min(time, max(1, CHUNK // batch))
    shared = [(f"d_before{at}", 2, batch * width) for at, width in enumerate(plan.widths)]
    shared += [(name, chunk, batch * width) for name, width in plan.rows.items()]
    shared += [(name, 1, batch * width) for name, width in plan.backward.scratch]
    shared += [(name, 1, width) for name, width in plan.sums.items()]
    own = {"after0": (2, batch * plan.widths[0] * item), "sequence": (3, batch * plan.sequence_width * item)}
    own |= {f"before{at}": (4 + at, 0) for at in range(count)}
    own["d_output"] = 4 + count, batch * plan.widths[0] * item if has_output else 0
    if needs_sequence:
        own["d_sequence"] = 5 + 2 * count, own["sequence"][1]
    else:
        shared.append(("d_sequence", 1, batch * plan.sequence_width))
    first = 6 + 3 * count
    edges = [*range(5 + count, 5 + 2 * count), *range(6 + 2 * count, first)]
    constants, results = len(plan.backward.constants), len(plan.backward.results)
    others = [*range(first, first + constants), *edges, *range(first + constants, first + constants + results)]
    sizes = [time, batch, int(needs_sequence), chunk]
    return plan.remember(key, Layout(plan.backward, item, sizes, [time] * count, shared, own, others, within=(1, kept)))
