"""The folders of the package and of its configs, and how a folder is typed."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE.parent / "conf", PACKAGE / "conf" / "seqmodels")
CONF = next(folder for folder in PLACES if (folder / "verb.yaml").is_file())
"""A checkout has conf/ beside the package, an installed package carries it inside."""


def override(name: str, path: object) -> str:
    """The override that sets a setting to a path, quoted for Hydra's grammar if necessary."""
    text = str(path)
    if re.fullmatch(r"[\w./+-]+", text):
        return f"{name}={text}"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{quoted}"'
