"""The decays of chunks, as factors of what segment.py computes without decay.

With D_tj the product of the decays w_{j+1} .. w_t within a chunk of C steps, there are two ways.

- Weak decays: with E_t = D_t0 / sqrt(D_C0), D_tj = E_t / E_j. So x_t E_t, y_t / E_t, S_0 / E_0 and S_C / E_C follow the
  equations without decay. `divisible` says whether D_C0 is large enough for E.
- Decays of any strength, but one for all rows of the state: P_tj takes D_tj, what is read from S_0 takes D_t0, what is
  written takes D_Cj on its way into S_C, and S_0 takes D_C0. No factor exceeds 1.

The gradient needs neither. Once those of q, k, a and b are known, it is, row by row,

    dlog w_t = sum_v dS_C S_C + sum_{s>=t} (q_s dq_s - k_s dk_s - b_s db_s) + sum_{s>t} a_s da_s     over the chunk
"""

import math

import torch
from torch import Tensor

WEAKEST = 2.0**-92
"""The least D_C0 of a row: E is between the root of this and its inverse, and their products are finite in float32."""


def divisible(log_w: Tensor | None, chunk: int) -> bool:
    """Whether no row decays too strongly within any chunk of this length. A decay of all rows never does."""
    if log_w is None or log_w.size(-1) == 1:
        return True
    whole = len(log_w) // chunk * chunk
    sums = [log_w[:whole].unflatten(0, (-1, chunk)).sum(1), log_w[whole:].sum(0)]
    return all(bool((part >= math.log(WEAKEST)).all()) for part in sums)


class Decays:
    """The factors of n chunks side by side. Those that are 1 everywhere are None."""

    reads: Tensor | None = None
    """D_t0 of each row of X, (n, rows, 1)."""
    writes: Tensor | None = None
    """D_Cj of each row of Y, (n, rows, 1)."""
    whole: Tensor | None = None
    """D_C0, (n, 1, 1)."""
    E: Tensor | None = None
    """(n, C + 1, K), for the times 0 .. C."""

    def __init__(self, n: int, length: int, delta: bool, like: Tensor) -> None:
        self.n, self.length, self.delta = n, length, delta
        one = like.new_ones(length, length)
        self.meet = torch.stack([one.tril(-1), one.tril()] if delta else [one.tril()])
        """Which writes each read can see: a those of earlier steps, q those of its own step, too."""
        self.undecayed = self.meet.repeat(1, 1, 2).flatten(0, 1) if delta else self.meet[0]
        self.pairs = self.undecayed
        """The factors of P."""
        start, end, step = torch.arange(length + 1), torch.arange(length + 1).unsqueeze(-1), torch.arange(1, length + 1)
        between = (start < step.unsqueeze(-1).unsqueeze(-1)) & (step.unsqueeze(-1).unsqueeze(-1) <= end)
        self.between = between.to(like).flatten(1)
        """Whether a step is between two times, (C, (C + 1)^2)."""
        self.until = torch.cat([one.new_zeros(1, length), one.tril()]).sub_(0.5).expand(n, -1, -1)
        """The logarithm of E is this times the logarithms of the decays."""
        self.later = one.triu().expand(n, -1, -1)

    def load(self, logs: Tensor, X: Tensor, Y: Tensor) -> None:
        """Set the factors from log w (n, C, 1 or K), which is overwritten. Weak decays scale X and Y."""
        C, n = self.length, self.n
        self.single = logs.size(-1) == 1
        if not self.single or bool(logs.sum(1).amin() >= math.log(WEAKEST)):
            self.reads = self.writes = self.whole = None
            self.pairs = self.undecayed
            self.E = torch.bmm(self.until, logs).exp_()
            self.start, self.end = self.E[:, 0].unsqueeze(-1), self.E[:, -1].unsqueeze(-1)
            self.scale(X, Y)
            return
        self.E = None
        # The least number is finite, because 0 times infinity is not a number.
        D = torch.mm(logs.squeeze(-1).clamp_(min=-1e30), self.between).exp_().view(n, C + 1, C + 1)
        rows = D.unfold(1, C, 1)[:, -len(self.meet) :].mT  # those of a begin one step earlier
        factors = torch.mul(rows[..., 1:], self.meet, out=logs.new_empty(n, len(self.meet), C, C)).flatten(1, 2)
        self.pairs = torch.cat([factors, factors], -1) if self.delta else factors
        self.reads = rows[..., 0].reshape(n, -1, 1)
        self.writes = D[:, -1:, 1:].mT.repeat(1, len(self.meet), 1)
        self.whole = D[:, -1:, :1]

    def scale(self, X: Tensor, Y: Tensor) -> None:
        """Multiply X by E, and divide Y by it."""
        if self.E is None:
            return
        C, after = self.length, self.E[:, 1:]
        X[:, -C:] *= after
        Y[:, -C:] /= after
        if self.delta:
            X[:, :C] *= self.E[:, :-1]
            Y[:, :C] /= after

    def gradient(self, reads: Tensor, writes: Tensor, last: Tensor) -> Tensor:
        """dlog w, (n, C, 1 or K).

        Args:
            reads, writes: X dX and Y dY.
            last: S_C dS_C, summed over v, (n, 1, K).
        """
        C = self.length
        if self.single:
            reads, writes, last = (part.sum(-1, keepdim=True) for part in (reads, writes, last))
        sums = reads[:, -C:] - writes[:, -C:]
        if self.delta:
            sums += reads[:, :C]
            sums -= writes[:, :C]
        sums[:, -1:] += last
        result = torch.bmm(self.later, sums)
        return result.sub_(reads[:, :C]) if self.delta else result

    def kept(self) -> Tensor | None:
        """What is left of the rows of a state after each chunk, (n, 1 or K, 1)."""
        return self.whole if self.E is None else self.end / self.start
