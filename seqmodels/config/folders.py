"""The folders of the package and of its configs."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
"""An installed package carries conf/ inside, a checkout has it beside the package."""
