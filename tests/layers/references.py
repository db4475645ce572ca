"""Published references of the recurrences, as functions of tensors in one layout and in float64.

They come with `pip install 'seqmodels[references]'`. Every function here has the time first, as the layers have:

    q, k (time, batch, heads, K),  v (time, batch, heads, V),  state (batch, heads, K, V),  o_t = S_t^T q_t

with logarithms of decays, and returns the outputs (time, batch, heads, V) and the last state. What differs in a
reference (the order of dimensions, a q that it scales by 1/sqrt(K), a transposed state) is undone here, and said in
each docstring. Keys are taken as they are, without normalisation.

The texts of fla-core are executed rather than imported: its packages import triton, which a CPU does not need, and its
functions convert to single precision. In the text that is executed, they convert to double precision instead.
"""

import functools
import types
from importlib.metadata import PackageNotFoundError, distribution

import pytest
import torch

DOUBLE = {
    ".float()": ".double()",
    "torch.float32": "torch.float64",
    "torch.float)": "torch.float64)",
    "torch.float,": "torch.float64,",
}


@functools.cache
def in_double(package, file, **replaced):
    """The module in a file of an installed package, with double precision wherever it asks for single.

    `replaced` maps a name, which only describes it, to a pair: a piece of the text, and what is to stand there.
    """
    return executed(package, file, *DOUBLE.items(), *replaced.values())


def executed(package, file, *replaced):
    """The module in a file of an installed package, which is not imported itself; `replaced` are pairs of texts."""
    try:
        text = distribution(package).locate_file(file).read_text()
    except PackageNotFoundError:
        pytest.skip("needs the extra `references`")
    for old, new in replaced:
        text = text.replace(old, new)
    module = types.ModuleType(file)
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def fla(operation):
    return in_double("fla-core", f"fla/ops/{operation}/naive.py")


def batch_first(*tensors):
    return [tensor.transpose(0, 1) for tensor in tensors]


def heads_first(*tensors):
    """From (time, batch, heads, ...) to (batch, heads, time, ...)."""
    return [tensor.movedim(0, 2) for tensor in tensors]


def unscaled(q):
    """The q that a reference scales by 1/sqrt(K) to ours."""
    return q * q.size(-1) ** 0.5


def linear_attention(q, k, v, state):
    """S += k v^T; fla, (batch, time, heads, .), scale given as 1."""
    function = fla("linear_attn").naive_recurrent_linear_attn
    output, last = function(*batch_first(q, k, v), scale=1.0, initial_state=state, output_final_state=True)
    return output.transpose(0, 1), last


def normalised_linear_attention(q, k, v, state, total):
    """S += k v^T, z += k, o = S^T q / (z^T q + 1e-10); returns also z. `total` and z are (batch, heads, K); fla."""
    function = fla("linear_attn").naive_recurrent_linear_attn
    start = (state, total.unsqueeze(1))
    arguments = {"scale": 1.0, "initial_state": start, "output_final_state": True, "normalize": True}
    output, (last, last_total) = function(*batch_first(q, k, v), **arguments)
    return output.transpose(0, 1), last, last_total.squeeze(1)


def retention(q, k, v):
    """S = (1 - 2^(-5-h)) S + k v^T in head h, from zeros, all steps by one matrix; fla, no rotation, no last state."""
    return fla("retention").naive_retention(*heads_first(unscaled(q), k, v)).movedim(2, 0)


def scalar_decay(q, k, v, state, log_w, chunk=None):
    """S = w S + k v^T with one w a head, log_w (time, batch, heads): RetNet and Mamba-2; fla, scale given as 1.

    With `chunk`, its form in chunks.
    """
    module = fla("simple_gla")
    arguments = {"scale": 1.0, "initial_state": state, "output_final_state": True}
    if chunk is None:
        output, last = module.naive_recurrent_simple_gla(*batch_first(q, k, v, log_w), **arguments)
    else:
        output, last = module.naive_chunk_simple_gla(*batch_first(q, k, v, log_w), **arguments, chunk_size=chunk)
    return output.transpose(0, 1), last


def vector_decay(q, k, v, state, log_w):
    """S = diag(w) S + k v^T, log_w (time, batch, heads, K): GLA; fla."""
    function = fla("gla").naive_recurrent_gla
    output, last = function(*batch_first(unscaled(q), k, v, log_w), initial_state=state, output_final_state=True)
    return output.transpose(0, 1), last


def delta_rule(q, k, v, state, beta):
    """S = S + k (beta (v - S^T k))^T, beta (time, batch, heads): DeltaNet; fla, (batch, heads, time, .), k as given."""
    output, last = fla("delta_rule").delta_rule_recurrence(*heads_first(unscaled(q), k, v, beta), initial_state=state)
    return output.movedim(2, 0), last


def gated_delta_rule(q, k, v, state, beta, log_w, chunk=None):
    """The delta rule on w S, log_w (time, batch, heads): decay first, then erase; fla, with `chunk` its chunk form."""
    module = fla("gated_delta_rule")
    arguments = {"scale": 1.0, "initial_state": state, "output_final_state": True}
    q, k, v, beta, log_w = batch_first(q, k, v, beta, log_w)
    if chunk is None:
        output, last = module.naive_recurrent_gated_delta_rule(q, k, v, beta=beta, g=log_w, **arguments)
    else:
        output, last = module.naive_chunk_gated_delta_rule(q, k, v, beta=beta, g=log_w, chunk_size=chunk, **arguments)
    return output.transpose(0, 1), last


def gated_delta_rule_of_opengdn(q, k, v, state, beta, log_w, chunk=None):
    """The same by another author, who keeps the state as (V, K), scales nothing and takes w rather than log w."""
    opengdn = pytest.importorskip("opengdn", reason="needs the extra `references`")
    arguments = (*batch_first(q, k, v, log_w.exp(), beta), state.mT)
    if chunk is None:
        output, last = opengdn.gated_delta(*arguments)
    else:
        output, last = opengdn.gated_delta_chunkwise(*arguments, chunk_size=chunk)
    return output.transpose(0, 1), last.mT


def gated_delta_product(q, k, v, state, beta, log_w):
    """Several delta steps for each q, and one decay before them; fla.

    k, v and beta have one more dimension, the steps, after the time: (time, steps, batch, heads, .).
    """
    steps = k.size(1)
    k, v, beta = (part.flatten(0, 1) for part in (k, v, beta))
    output, last = fla("gated_delta_product").naive_recurrent_gated_delta_product(
        *batch_first(q, k, v, log_w, beta),
        scale=1.0,
        initial_state=state,
        output_final_state=True,
        num_householder=steps,
    )
    return output.transpose(0, 1), last


def kimi_delta_attention(q, k, v, state, beta, log_w):
    """The delta rule on diag(w) S, log_w (time, batch, heads, K): KDA; fla, scale given as 1."""
    function = fla("kda").naive_recurrent_kda
    arguments = {"scale": 1.0, "initial_state": state, "output_final_state": True}
    output, last = function(*batch_first(q, k, v, log_w, beta), **arguments)
    return output.transpose(0, 1), last


def diagonal_plus_low_rank(q, k, v, state, log_w, a, b):
    """S = diag(w) S + b (a^T S) + k v^T, where a reads S before its decay: RWKV-7; fla, (batch, heads, time, .)."""
    function = fla("generalized_delta_rule/dplr").dplr_recurrence
    output, last = function(*heads_first(unscaled(q), k, v, a, b, log_w), initial_state=state)
    return output.movedim(2, 0), last


def mlstm(q, k, v, state, input_sums, forget_sums):
    """The matrix LSTM by the xlstm package, one step after the other; sums of the gates are (time, batch, heads).

    `state` is (C, n, m), m (batch, heads), and so is the last one. C and n hold k / sqrt(K); q is not scaled. o is
    C^T q / (max(|n^T q|, exp(-m)) + 1e-6). The function squeezes its q, k and v in place, so it is given copies.
    """
    backends = pytest.importorskip("xlstm.blocks.mlstm.backends", reason="needs the extra `references`")
    matrix, total, stabiliser = state
    state = (matrix, total.unsqueeze(-1), stabiliser[..., None, None])
    outputs = []
    for parts in zip(q, k, v, strict=True):
        sums = (part[len(outputs)][..., None, None] for part in (input_sums, forget_sums))
        copies = (part.unsqueeze(2).clone() for part in parts)
        output, state = backends.recurrent_step_stabilized_simple(*state, *copies, *sums)
        outputs.append(output.squeeze(2))
    return torch.stack(outputs), (state[0], state[1].squeeze(-1), state[2][..., 0, 0])


def mlstm_of_kernels(q, k, v, state, input_sums, forget_sums):
    """The same by mlstm_kernels. It scales q instead of k, so its C and n are sqrt(K) times those of `mlstm`."""
    native = pytest.importorskip("mlstm_kernels.torch.recurrent.native_sequence", reason="needs the extra `references`")
    matrix, total, stabiliser = state
    output, last = native.mlstm_recurrent_sequence__native_fw(
        *heads_first(q, k, v, input_sums, forget_sums),
        c_initial=matrix,
        n_initial=total,
        m_initial=stabiliser.unsqueeze(-1),
        return_last_states=True,
        dtype_state=torch.float64,
    )
    return output.movedim(2, 0), (last[0], last[1], last[2].squeeze(-1))


def mlstm_in_parallel(q, k, v, input_sums, forget_sums):
    """The same from a state of zeros, all steps by one matrix, by the xlstm package."""
    backends = pytest.importorskip("xlstm.blocks.mlstm.backends", reason="needs the extra `references`")
    sums = (part.unsqueeze(-1) for part in heads_first(input_sums, forget_sums))
    return backends.parallel_stabilized_simple(*heads_first(q, k, v), *sums).movedim(2, 0)


def slstm(inputs, state, weight_ih, weight_hh, bias):
    """The scalar LSTM with one head by the xlstm package; its state is (y, c, n, m), m from 0 where n is 0."""
    module = pytest.importorskip("xlstm.blocks.slstm.src.vanilla.slstm", reason="needs the extra `references`")
    states, outputs = torch.stack(state), []
    for step in inputs:
        states, _ = module.slstm_forward_pointwise(step @ weight_ih.T, states[0] @ weight_hh.T, bias, states, {})
        outputs.append(states[0])
    return torch.stack(outputs), tuple(states)


def mamba_block(hidden_size, parallel, **replaced):
    """The mixer of the mambapy package in float64. Its state is (h, past), past (batch, channels, steps)."""
    module = in_double("mambapy", "mambapy/mamba.py", **replaced)
    config = module.MambaConfig(d_model=hidden_size, n_layers=1, bias=True, pscan=parallel)
    return module.MambaBlock(config).double()


def negative_eigenvalues():
    """The change of `mamba_block` to eigenvalues from -1 to 1, for which no package is published."""
    factor = "torch.exp(delta.unsqueeze(-1) * A)"
    return {"factors": (factor, f"2 * {factor} - 1")}
