"""The recurrence of matrix states in chunks, forwards and backwards, outside autograd.

Time is taken in segments whose tensors stay in the processor's cache: a chunk of some sequences after the other, or
where sequences are few, several chunks of all side by side. segment.py has the equations of a segment. For the
backward pass only the states before each chunk are kept, and what a reads and its system of equations, if there is a.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.matrix.segment import Parts, Place, Segment

SEGMENT = 2**17
"""Numbers of X in a segment: half a MiB in single precision."""


def forward(parts: Parts, state: Tensor, chunk: int, keep: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The outputs, the last state, and if `keep`, what `backward` needs."""
    outputs = torch.empty_like(parts[2], memory_format=torch.contiguous_format)
    last = torch.empty_like(state, memory_format=torch.contiguous_format)
    segments = list(_segments(parts, state, chunk))
    count = -(-len(outputs) // chunk) if keep else max(place.count for place, _ in segments)
    states = state.new_empty(count + 1, *state.shape)
    solutions = [segment.solution(outputs) if keep else segment.own for _, segment in segments]
    with torch.inference_mode():
        states[0] = state
        for (place, segment), solution in zip(segments, solutions, strict=True):
            first = place.first if keep else 0
            own = states[first : first + place.count + 1, place.batch]
            segment.load(place, parts)
            segment.solve(solution)
            place.of(outputs).copy_(segment.shaped(segment.forward(segment.flat(own))))
            if place.final:
                last[place.batch] = own[-1]
            elif not keep:
                own[0] = own[-1]
    return outputs, last, [states, *(part for solution in solutions for part in solution)]


def backward(
    parts: Parts, kept: list[Tensor], chunk: int, d_outputs: Tensor | None, d_last: Tensor | None, decays: bool
) -> tuple[list[Tensor | None], Tensor]:
    """The gradients of the parts (that of log_w only if `decays`), and of the first state.

    `d_outputs` and `d_last` are the gradients of the outputs and the last state; None stands for zeros.
    """
    states, *solutions = kept
    d_parts = [
        None if part is None else torch.empty_like(part, memory_format=torch.contiguous_format) for part in parts
    ]
    if not decays:
        d_parts[3] = None
    d_state = torch.empty_like(states[0]).copy_(states.new_zeros(()) if d_last is None else d_last)
    with torch.inference_mode():
        for place, segment in reversed(list(_segments(parts, states[0], chunk))):
            own = segment.flat(states[place.first : place.first + place.count + 1, place.batch])
            segment.load(place, parts)
            segment.know([solutions.pop() for _ in segment.own][::-1])
            targets = [None if part is None else place.of(part) for part in d_parts]
            segment.backward(own, None if d_outputs is None else place.of(d_outputs), d_state[place.batch], targets)
    return d_parts, d_state


def _segments(parts: Parts, state: Tensor, length: int) -> Iterator[tuple[Place, "Segment"]]:
    """Segments in the order of time, for some sequences after the other. Those of one shape share their tensors."""
    time, sequences = len(parts[0]), len(state)
    of_one = state[0, ..., 0].numel() * length * (1 if parts[4] is None else 2)
    parts_of_batch = -(-sequences // max(SEGMENT // of_one, 1))
    rows = -(-sequences // parts_of_batch)
    most = max(SEGMENT // (of_one * sequences), 1)
    segments: dict[Any, Segment] = {}
    for row in range(0, sequences, rows):
        batch, start = slice(row, min(row + rows, sequences)), 0
        while start < time:
            count = min(most, (time - start) // length)  # 0 for steps that are less than a chunk
            stop = start + count * length if count else time
            place = Place(batch, slice(start, stop), start // length, max(count, 1), stop == time)
            shape = place.count, batch.stop - batch.start, (stop - start) // place.count
            if shape not in segments:
                segments[shape] = Segment(*shape, parts)
            yield place, segments[shape]
            start = stop
