"""Renders a page from a template and its content."""

import base64
import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import printable

HERE = Path(__file__).parent
DASH = "\N{EN DASH}"


def render(template: str, **content: Any) -> str:
    """A page. Every string in `content` is escaped, unless it is `Markup`."""
    return environment().get_template(template).render(**content)


@cache
def environment() -> Environment:
    """The templates, with the functions and texts that they use."""
    made = Environment(
        loader=FileSystemLoader(HERE, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"shown": shown, "printable": printable}
    script = (HERE / "sort.js").read_text(encoding="utf-8")
    made.globals |= {
        "style": Markup((HERE / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return made


def shown(value: Any, digits: int = 4) -> str:
    """A value as a cell shows it: a number with a few digits, a whole number with separated thousands, or text."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if abs(value) < 10**15 else significant(value)
    if isinstance(value, float):
        return significant(value, digits) if math.isfinite(value) else DASH
    return printable(value)
