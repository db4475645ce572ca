"""Chunks of the recurrence of matrix states, computed side by side, forwards and backwards.

Within a chunk of C steps stack what reads the state, X = [a; q], what writes, Y = [b; k], and what is written,
Z = [u; v], where u_t = S_{t-1}^T a_t is what a reads; without a and b, they are q, k and v. Without decay

    P = X Y^T, but 0 for writes that come after the read
    u = (I - P_ab)^-1 (a S_0 + P_ak v)          o = q S_0 + P_qb u + P_qk v          S_C = S_0 + Y^T Z

and with dR = [dR_a; do], and dP being 0 where P is, the gradients are

    dZ = Y dS_C + P_q^T do      dR_a = (I - P_ab)^-T dZ_u      dv = dZ_v + P_ak^T dR_a
    dS_0 = dS_C + X^T dR        dP = dR Z^T                    dX = dR S_0^T + dP Y        dY = Z dS_C^T + dP^T X

decays.py adds the decays. If a segment has several chunks, the states between these come first, by S_C = M S_0 + N.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.layers.matrix.decays import Decays

Parts = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]
"""q, k, v, log_w, a, b as in `Steps`, (time, batch, ..., features)."""


@dataclass(frozen=True)
class Place:
    """The steps of a segment."""

    batch: slice
    time: slice
    first: int
    """The number of its first chunk."""
    count: int
    """Its chunks."""
    final: bool
    """Whether it is the last one of its sequences."""

    def of(self, part: Tensor) -> Tensor:
        """A view of these steps, (chunks, batch, ..., steps, features)."""
        return part[self.time, self.batch].unflatten(0, (self.count, -1)).movedim(1, -2)


class Segment:
    """n chunks side by side: the tensors in which they are computed."""

    def __init__(self, count: int, rows: int, length: int, parts: Parts) -> None:
        q, _, v, logs, a, _ = parts
        self.lead = count, rows, *q.shape[2:-1]
        self.count, self.length, self.delta = count, length, a is not None
        n, K, V, C, both = math.prod(self.lead), q.size(-1), v.size(-1), length, length * (1 + self.delta)
        self.X, self.Y, self.dY = (q.new_empty(n, both, K) for _ in range(3))
        self.Z, self.R = (q.new_empty(n, both, V) for _ in range(2))
        shared = q.new_empty(n * both * max(K, V))  # by tensors that are never needed at once
        self.dZ, self.dX = (shared[: n * both * size].view(n, both, size) for size in (V, K))
        self.P = q.new_empty(n, both, both)
        self.output, self.chain = q.new_empty(n, C, V), q.new_empty(count + 1, n // count, K, V)
        self.logs = None if logs is None else q.new_empty(n, C, logs.size(-1))
        self.decays = Decays(n, C, self.delta, q)
        self.a, self.q, self.b, self.k = self.X[:, :C], self.X[:, -C:], self.Y[:, :C], self.Y[:, -C:]
        self.u, self.v = self.Z[:, :C], self.Z[:, -C:]
        self.P_ab, self.P_ak, self.P_qb = self.P[:, :C, :C], self.P[:, :C, -C:], self.P[:, -C:, :C]
        self.own = self.solution(q)

    def solution(self, like: Tensor) -> list[Tensor]:
        """Tensors for the inverse and u, if there are."""
        n, _, V = self.Z.shape
        return [like.new_empty(n, self.length, size) for size in (self.length, V)] if self.delta else []

    def shaped(self, part: Tensor) -> Tensor:
        """A view (chunks, batch, ..., steps, features)."""
        return part.view(self.lead + part.shape[-2:])

    def flat(self, states: Tensor) -> Tensor:
        """A view (chunks + 1, the sequences and heads of a chunk, K, V)."""
        return states.view(self.chain.shape)

    def load(self, place: Place, parts: Parts) -> None:
        """Set X, Y, v and P."""
        targets = (self.q, self.k, self.v, self.logs, self.a, self.b)
        for target, part in zip(targets, parts, strict=True):
            if target is not None and part is not None:
                self.shaped(target).copy_(place.of(part))
        if self.logs is not None:
            self.decays.load(self.logs, self.X, self.Y)
        torch.bmm(self.X, self.Y.mT, out=self.P).mul_(self.decays.pairs)

    def solve(self, solution: list[Tensor]) -> None:
        """Set the inverse, and where u will be."""
        self.solved = solution
        if self.delta:
            matrix, identity = self.P_ab.neg(), self.identity()
            torch.linalg.solve_triangular(
                matrix, identity, upper=False, left=False, unitriangular=True, out=solution[0]
            )

    def identity(self) -> Tensor:
        return torch.eye(self.length, dtype=self.P.dtype, device=self.P.device).expand(self.P_ab.shape)

    def know(self, solution: list[Tensor]) -> None:
        """Set the inverse and u, which the forward pass has found."""
        self.solved = solution
        if self.delta:
            self.u.copy_(solution[1])

    def forward(self, states: Tensor) -> Tensor:
        """The outputs; from the first of the states (chunks + 1, ...) all others."""
        decays, R, C = self.decays, self.R, self.length
        if self.count > 1:
            self._chain(states)
        before = states[:-1].flatten(0, 1)
        start = before if decays.E is None else before / decays.start
        torch.bmm(self.X, start, out=R)
        if decays.reads is not None:
            R *= decays.reads
        R.baddbmm_(self.P[:, :, -C:], self.v)
        if self.delta:
            torch.bmm(self.solved[0], R[:, :C], out=self.solved[1])
            torch.baddbmm(R[:, C:], self.P_qb, self.solved[1], out=self.output)
        if self.count == 1:
            after = states[1]
            if decays.whole is None:
                after.copy_(start)
            else:
                torch.mul(start, decays.whole, out=after)
            self._write(after)
        return self.output if self.delta else R

    def _write(self, after: Tensor) -> None:
        """Add Y^T Z."""
        decays, C = self.decays, self.length
        for keys, values in zip((self.k, self.b), (self.v, *self.solved[1:]), strict=False):
            after.baddbmm_(keys.mT, values if decays.writes is None else values * decays.writes[:, :C])
        if decays.E is not None:
            after *= decays.end

    def backward(self, states: Tensor, d_outputs: Tensor | None, d_state: Tensor, targets: list[Tensor | None]) -> None:
        """Turn the gradient of the last state into that of the first; write those of the parts, None if not wanted."""
        decays, C, P, X, Y, Z, dR, dZ = self.decays, self.length, self.P, self.X, self.Y, self.Z, self.R, self.dZ
        do = dR[:, -C:]
        if d_outputs is None:
            do.zero_()
        else:
            self.shaped(do).copy_(d_outputs)
        d_first = d_after = d_state.view(self.chain.shape[1:])
        if self.count > 1:
            self.chain[-1] = d_after
            self._chain_back()
            d_after = self.chain[1:].flatten(0, 1)
        d_q, d_k, d_v, d_logs, d_a, d_b = targets
        start = states[:-1].flatten(0, 1)
        last = None if d_logs is None else (states[1:].flatten(0, 1) * d_after).sum(-1).unsqueeze(1)
        if decays.E is not None:
            start = start / decays.start
            d_after *= decays.end
        torch.bmm(Y, d_after, out=dZ)
        if decays.writes is not None:
            dZ *= decays.writes
        dZ.baddbmm_(P[:, -C:].mT, do)
        dv = dZ
        if self.delta:
            dR_a = self.solved[0].mT @ dZ[:, :C]
            dR[:, :C] = dR_a
            dv = torch.baddbmm(dZ[:, C:], self.P_ak.mT, dR_a)
        self.put(dv, d_v)
        dP = torch.bmm(dR, Z.mT, out=P).mul_(decays.pairs)
        if decays.reads is not None and decays.writes is not None:
            dR *= decays.reads
            Z *= decays.writes
        dX = torch.bmm(dR, start.mT, out=self.dX).baddbmm_(dP, Y)
        dY = torch.bmm(Z, d_after.mT, out=self.dY).baddbmm_(dP.mT, X)
        if self.count > 1:
            d_first.copy_(self.chain[0])
        else:
            if decays.whole is not None:
                d_first *= decays.whole
            d_first.baddbmm_(X.mT, dR)
            if decays.E is not None:
                d_first /= decays.start
        if last is not None:
            self.put(decays.gradient(X.mul_(dX), Y.mul_(dY), last), d_logs)
        decays.scale(dX, dY)
        for part, target in ((dX[:, -C:], d_q), (dY[:, -C:], d_k), (dX[:, :C], d_a), (dY[:, :C], d_b)):
            self.put(part, target)

    def put(self, part: Tensor, target: Tensor | None) -> None:
        if target is not None:
            target.copy_(part.view(self.lead + part.shape[-2:]))

    def _chain(self, states: Tensor) -> None:
        """The states between several chunks."""
        if self.delta:
            torch.bmm(self.solved[0], self.P_ak @ self.v, out=self.solved[1])  # u without S_0
        terms = self.chain.new_zeros(len(self.X), *self.chain.shape[2:])
        self._write(terms)
        terms, factors = self._steps(terms, self._transitions())
        for before, after, term, factor in zip(states[:-1], states[1:], terms, factors, strict=True):
            self._step(before, factor, term, after)

    def _chain_back(self) -> None:
        decays, C, dR = self.decays, self.length, self.R
        if self.delta:
            dR[:, :C] = self.solved[0].mT @ (self.P_qb.mT @ dR[:, C:])
        terms = self.X.mT @ (dR if decays.reads is None else dR * decays.reads)
        if decays.E is not None:
            terms /= decays.start
        terms, factors = self._steps(terms, self._transitions().mT if self.delta else self._transitions())
        for place in reversed(range(self.count)):
            self._step(self.chain[place + 1], factors[place], terms[place], self.chain[place])

    def _steps(self, *parts: Tensor) -> list[Tensor]:
        return [part.expand(len(self.X), -1, -1).unflatten(0, (self.count, -1)) for part in parts]

    def _step(self, before: Tensor, factor: Tensor, term: Tensor, after: Tensor) -> None:
        if self.delta:
            torch.baddbmm(term, factor, before, out=after)
        else:
            torch.addcmul(term, factor, before, out=after)

    def _transitions(self) -> Tensor:
        """M, (n, K, K), or without a and b, what multiplies the rows of a state, (n or 1, 1 or K, 1)."""
        decays, C = self.decays, self.length
        kept = decays.kept()
        if kept is None:
            kept = self.X.new_ones(1, 1, 1)
        if not self.delta:
            return kept
        reads, writes = self.a, self.b
        if decays.reads is not None and decays.writes is not None:
            reads, writes = reads * decays.reads[:, :C], writes * decays.writes[:, :C]
        erased = writes.mT @ (self.solved[0] @ reads)
        if decays.E is not None:
            erased *= decays.end / decays.start.mT
        return erased + torch.diag_embed(kept.squeeze(-1).expand(len(erased), erased.size(-1)))
