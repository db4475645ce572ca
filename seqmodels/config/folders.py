"""The folders of the package and of its configs."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF = next(folder.resolve() for folder in (PACKAGE / "conf" / "seqmodels", PACKAGE.parent / "conf") if folder.is_dir())
"""An installed package carries conf/ inside. A checkout has a link there, which git on Windows may leave out."""
