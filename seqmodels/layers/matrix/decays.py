"""The decays of chunks, as factors of what segment.py computes without decay.

Within a chunk of C steps let D_tj be the product of the decays w_{j+1} .. w_t. What step j writes has decayed by D_tj
when it is read after step t, that is, each pair of a read and a write has its own decay. In the names of segment.py,
X holds what reads the state, Y what writes into it, and P = X Y^T has a number for each pair. There are two ways.

- Weak decays: with E_t = D_t0 / sqrt(D_C0), D_tj = E_t / E_j. So the rows x_t E_t and y_t / E_t, and the states
  S_0 / E_0 and S_C / E_C, follow the equations without decay. `divisible` says whether decays are weak enough.
- A decay shared by all rows of the state, however strong: P_tj takes D_tj, what is read from S_0 takes D_t0, what is
  written takes D_Cj on its way into S_C, and S_0 takes D_C0. No factor exceeds 1.

The gradient of log w_t is the sum, over all pairs with step t between write and read, of P_tj dP_tj; S_0 counts as a
write, and S_C as a read. The second way sums these. Weak decays have a shorter way, row by row, once the gradients of
q, k, a and b are known:

    dlog w_t = sum_v dS_C S_C + sum_{s>=t} (q_s dq_s - k_s dk_s - b_s db_s) + sum_{s>t} a_s da_s     over the chunk

Here the pairs that do not span t cancel, and leave their rounding errors. Those that do span it are multiplied by w_t,
so the relative error is some 1e-7 / w_t in single precision: too much for strong decays.
"""

import math

import torch
from torch import Tensor

STRONGEST = -3.0
"""The strongest decay of a step that the first way accepts, log w: with it the gradient of log w has a relative error
of less than 1e-5 in single precision."""

STRONGEST_OF_CHUNK = -92 * math.log(2)
"""The strongest decay of a chunk that the first way accepts, log D_C0: E is between the root of D_C0 and its inverse,
and their products are finite in single precision."""


def divisible(log_w: Tensor | None, chunk: int) -> bool:
    """Whether chunks of this length can be computed: no row decays too strongly, or all rows share their decays."""
    if log_w is None or log_w.size(-1) == 1:
        return True
    whole = len(log_w) // chunk * chunk
    return _weak(log_w[:whole].unflatten(0, (-1, chunk)), 1) and _weak(log_w[whole:], 0)


def _weak(logs: Tensor, time: int) -> bool:
    """Whether the first way accepts these chunks, with the time in this dimension."""
    steps, chunks = (logs >= STRONGEST).all(), (logs.sum(time) >= STRONGEST_OF_CHUNK).all()
    return bool(steps & chunks)


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
        if not self.single or _weak(logs, 1):
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
        """dlog w of weak decays, (n, C, 1 or K).

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

    def gradient_by_pairs(self, pairs: Tensor, reads: Tensor, writes: Tensor, last: Tensor) -> Tensor:
        """dlog w of decays of any strength, (n, C, 1).

        Args:
            pairs: P dP.
            reads: for each row of X, what it reads from S_0 times its gradient, (n, rows).
            writes: for each row of Y, what it writes into S_C times its gradient, (n, rows).
            last: what S_C has of S_0 times its gradient, (n,).
        """
        n, C = self.n, self.length
        pairs = pairs.view(n, -1, C, len(self.meet), C).sum(3)
        times = pairs.new_zeros(n, C + 1, C + 1)  # of reads and writes
        times[:, 1:, 1:], times[:, 1:, 0] = pairs[:, -1], reads[:, -C:]
        if self.delta:  # a reads one step earlier
            times[:, :-1, 1:] += pairs[:, 0]
            times[:, :-1, 0] += reads[:, :C]
        times[:, -1, 1:] += writes.view(n, -1, C).sum(1)
        times[:, -1, 0] += last
        return torch.mm(times.flatten(1), self.between.T).unsqueeze(-1)

    def kept(self) -> Tensor | None:
        """What is left of the rows of a state after each chunk, (n, 1 or K, 1)."""
        return self.whole if self.E is None else self.end / self.start
