"""Linear recurrences for all steps at once.

    h_t = a_t * h_{t-1} + b_t

Two neighbouring steps, (a, b) and then (a', b'), are together one step of the same kind, (a' a, a' b + b'). So all T
states follow in log2(T) rounds of whole-sequence operations, instead of T small ones.

W. Daniel Hillis and Guy Steele, "Data Parallel Algorithms", Communications of the ACM 29(12), 1986.
"""

import torch
from torch import Tensor


def linear_scan(factors: Tensor, terms: Tensor, state: Tensor) -> Tensor:
    """All states h_1 .. h_T, shaped like `terms`.

    Args:
        factors: a, (time, batch, features), or a shape that broadcasts to that over the batch.
        terms: b, (time, batch, features); real or complex.
        state: h_0, (batch, features).
    """
    terms = torch.cat([(factors[0] * state + terms[0]).unsqueeze(0), terms[1:]])
    reach = 1
    while reach < len(terms):
        terms = torch.cat([terms[:reach], factors[reach:] * terms[:-reach] + terms[reach:]])
        factors = torch.cat([factors[:reach], factors[reach:] * factors[:-reach]])
        reach *= 2
    return terms
