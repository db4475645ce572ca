"""Loops over time that numba compiles, from a cell's `step` alone.

- `trace.py`: one step and its gradients as a graph of torch's operations
- `surroundings.py`: what else a step looks up, and whether it is still the same
- `values.py`: the same in terms of rows of numbers
- `lower.py`, `rules.py`: from one to the other
- `plan.py`: what each pass computes, and what is kept in between
- `schedule.py`: in which order, and where values live
- `codegen.py`, `stage.py`: the source of both passes
- `cache.py`: compiled, and kept on disk
- `layout.py`, `memory.py`, `passes.py`: both passes on tensors
- `function.py`: as one node of autograd's graph
"""

from seqmodels.layers.compiled.function import compiled_scan

__all__ = ["compiled_scan"]
