"""The folders of the package and of its configs."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE.parent / "conf", PACKAGE / "conf" / "seqmodels")
CONF = next(folder for folder in PLACES if (folder / "verb.yaml").is_file())
"""A checkout has conf/ beside the package, an installed package carries it inside."""
