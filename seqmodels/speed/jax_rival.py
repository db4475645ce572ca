"""The layers of `torch.nn` in JAX, as its users write them: `jax.lax.scan` under `jax.jit`, on the CPU.

    p_t = W_ih x_t + b_ih + b_hh         for all steps at once, one product; GRU: b_hn stays in the step
    s_t = cell(p_t, s_{t-1})             the scan over time, unrolled by the one of `UNROLLS` that is fastest

Training is the outputs, and by `jax.vjp` the gradients of inputs and parameters.

Threads: XLA takes the size of its pool from PJRT_NPROC whenever a client is made, so each number of threads gets a
client of its own. The calling thread may compute beside the pool, and `--xla_cpu_multi_thread_eigen=false` does not
prevent that in jaxlib 0.10.2; so `on_cpus` keeps all threads of the process, and so torch's, to as many CPUs. Without
asynchronous dispatch, short computations stay in the calling thread, as in torch.

JAX is imported by the functions that use it, because it is an extra.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.layers import RecurrentLayer

UNROLLS = (1, 4, 8, 16)
"""Steps in one turn of the scan's loop."""


class JaxRival:
    """A layer's computation in JAX.

    Args:
        layer: one for which `has_rival` is true, on the CPU, in single or double precision.
        inputs: (time, batch, features).
        gradient: of the outputs, (time, batch, hidden size).
    """

    def __init__(self, layer: RecurrentLayer, inputs: Tensor, gradient: Tensor) -> None:
        import jax

        use_threads(torch.get_num_threads())
        self.names = layer.parameter_names
        layers = range(layer.num_layers)
        with jax.enable_x64(inputs.dtype == torch.float64):  # what is compiled here keeps its dtype
            parameters = [{name: in_jax(getattr(layer, f"{name}_l{row}")) for name in self.names} for row in layers]
            outputs = functools.partial(forward, STEPS[layer.reference])
            read = (parameters, in_jax(inputs))
            self.infer = fastest(outputs, *read)
            self.train = fastest(functools.partial(forward_and_backward, outputs), *read, in_jax(gradient))

    def results(self) -> list[Tensor]:
        """The output, and the gradients of inputs and parameters, in the order of the parameters."""
        outputs, (d_parameters, d_inputs) = self.train()
        d_weights = [layer[name] for layer in d_parameters for name in self.names]
        return [in_torch(result) for result in (outputs, d_inputs, *d_weights)]


def has_rival(layer: nn.Module) -> bool:
    """Whether a layer is an RNN with tanh, a GRU or an LSTM in one direction, with biases and without projections."""
    plain = {"nonlinearity": "tanh", "bidirectional": False, "proj_size": 0, "bias": True}
    like_torch = getattr(layer, "reference", None) in STEPS
    return like_torch and all(getattr(layer, name, value) == value for name, value in plain.items())


@functools.lru_cache(maxsize=1)  # a client stays while the number does
def use_threads(threads: int) -> None:
    """Make a client with so many threads; what was compiled before is lost."""
    import jax
    from jax.extend.backend import clear_backends

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    clear_backends()
    with environment("PJRT_NPROC", str(threads)):
        jax.devices()


@contextmanager
def on_cpus(number: int) -> Iterator[None]:
    """Keep every thread of the process, and those it starts, to so many CPUs for a while, where the system is Linux."""
    allowed = os.sched_getaffinity(0) if Path("/proc/self/task").exists() else set()
    keep_to(set(sorted(allowed)[:number]))
    try:
        yield
    finally:
        keep_to(allowed)


def keep_to(cpus: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir() if cpus else ():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cpus)


def forward(step: Callable[..., Any], parameters: Any, inputs: Any, *, unroll: int) -> Any:
    """The outputs of stacked layers, each of which begins with states of zeros."""
    from jax import lax
    from jax import numpy as jnp

    sequence = inputs
    for weights in parameters:
        hidden = weights["weight_hh"].shape[1]
        bias = weights["bias_hh"].at[2 * hidden :].set(0) if step is gru_step else weights["bias_hh"]
        projected = sequence @ weights["weight_ih"].T + (weights["bias_ih"] + bias)
        zeros = jnp.zeros((inputs.shape[1], hidden), inputs.dtype)

        def advance(states: Any, step_input: Any, weights: Any = weights) -> Any:
            states = step(step_input, states, weights)
            return states, states[0]

        _, sequence = lax.scan(advance, (zeros,) * (2 if step is lstm_step else 1), projected, unroll=unroll)
    return sequence


def forward_and_backward(
    outputs: Callable[..., Any], parameters: Any, inputs: Any, gradient: Any, *, unroll: int
) -> Any:
    """The outputs, and the gradients of parameters and inputs."""
    import jax

    result, backward = jax.vjp(functools.partial(outputs, unroll=unroll), parameters, inputs)
    return result, backward(gradient)


def rnn_step(projected: Any, states: Any, weights: Any) -> Any:
    from jax import numpy as jnp

    (h,) = states
    return (jnp.tanh(projected + h @ weights["weight_hh"].T),)


def gru_step(projected: Any, states: Any, weights: Any) -> Any:
    import jax
    from jax import numpy as jnp

    (h,) = states
    from_r, from_z, from_n = jnp.split(projected, 3, axis=-1)
    sum_r, sum_z, sum_n = jnp.split(h @ weights["weight_hh"].T, 3, axis=-1)
    r, z = jax.nn.sigmoid(from_r + sum_r), jax.nn.sigmoid(from_z + sum_z)
    n = jnp.tanh(from_n + r * (sum_n + weights["bias_hh"][2 * h.shape[-1] :]))
    return (n + z * (h - n),)


def lstm_step(projected: Any, states: Any, weights: Any) -> Any:
    import jax
    from jax import numpy as jnp

    h, c = states
    i, f, g, o = jnp.split(projected + h @ weights["weight_hh"].T, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


STEPS: dict[Any, Callable[..., Any]] = {nn.RNN: rnn_step, nn.GRU: gru_step, nn.LSTM: lstm_step}


def fastest(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """The function, compiled and given its arguments, with the `unroll` that was fastest; it waits for its result."""
    import jax

    def computation(unroll: int) -> Callable[[], Any]:
        compiled = jax.jit(functools.partial(function, unroll=unroll)).lower(*arguments).compile()
        return lambda: jax.block_until_ready(compiled(*arguments))

    return min(map(computation, UNROLLS), key=shortest)


def shortest(computation: Callable[[], Any]) -> float:
    """The seconds of the shortest of a few calls, after one that is not counted."""
    computation()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        computation()
        times.append(time.perf_counter() - started)
    return min(times)


def in_jax(tensor: Tensor) -> Any:
    from jax import numpy as jnp

    return jnp.array(tensor.detach().numpy())


def in_torch(array: Any) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(array))


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """An environment variable with another value for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
