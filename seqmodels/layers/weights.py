"""The parameters of one layer in one direction, by name."""

from typing import Any


class Weights:
    """A plain namespace, `weights.weight_hh` and so on. (`torch.compile` cannot follow Python's own.)"""

    def __init__(self, **weights: Any) -> None:
        for name, weight in weights.items():
            setattr(self, name, weight)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"expected one of the weights {', '.join(vars(self))}, got {name}")
