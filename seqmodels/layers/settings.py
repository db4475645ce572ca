"""The arguments that every recurrent layer accepts, for constructors that pass them on."""

from typing import Any, Literal, TypedDict


class LayerSettings(TypedDict, total=False):
    """The arguments of `RecurrentLayer` beside the sizes: `**settings: Unpack[LayerSettings]`."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    device: Any
    dtype: Any
    backend: Literal["auto", "autograd", "bptt"]
