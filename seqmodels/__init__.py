"""Train sequence models, and trust them. `seqmodels.layers` needs torch alone."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodels.predict import load_predictor
    from seqmodels.restore import load_run

__version__ = "0.1.0"
__all__ = ["load_predictor", "load_run"]


def __getattr__(name: str) -> Any:
    # Reading a run folder needs hydra; importing a layer should not.
    if name == "load_run":
        from seqmodels.restore import load_run

        return load_run
    if name == "load_predictor":
        from seqmodels.predict import load_predictor

        return load_predictor
    raise AttributeError(f"module 'seqmodels' has no attribute {name!r}")
