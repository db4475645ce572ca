"""Figures as inline SVG, in the text colour of the page; the same figure yields the same bytes."""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.figure import Figure

from seqmodels.report.sheet import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, SKY

INK = "#010203"
"""Drawn in place of black, and replaced by the colour of the page's text."""

COLORS = {BLUE: "blue", SKY: "sky", ORANGE: "orange", RED: "red", GREEN: "green", PURPLE: "purple", GRAY: "gray"}
COLORS["#EEEEEE"] = "line"
"""Colours for which a page has its own shades, light and dark: the CSS variables --blue and so on."""

SMALL, WIDE = (4.6, 3.1), (9.2, 3.4)
"""The sizes in inches of a figure that fits on a phone, and of one that has to be scrolled there."""


@contextmanager
def ink() -> Iterator[None]:
    """Within this context, figures are drawn in `INK` on a transparent background, and text remains text."""
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "hatch.color")
    options = dict.fromkeys(inked, INK) | {
        "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
        "svg.fonttype": "none", "svg.hashsalt": "seqmodels", "svg.image_inline": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "font.size": 9.0,
        "xtick.major.width": 0.7, "ytick.major.width": 0.7, "path.simplify": True, "path.simplify_threshold": 0.3,
    }  # fmt: skip
    with matplotlib.rc_context(options):  # type: ignore[arg-type]
        yield


def figure_of(size: tuple[float, float] = SMALL) -> Figure:
    """An empty figure of a page, without a title: its caption says what it shows."""
    return Figure(figsize=size, layout="constrained")


def svg_of(figure: Figure, name: str, alt: str) -> str:
    """A figure as an <svg> element.

    Args:
        name: distinguishes it from the other figures of a page, in the identifiers inside it.
        alt: what it shows, for readers who cannot see it.
    """
    content = io.StringIO()
    with ink():
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", lambda tag: _smaller(tag[0]), body)
    body = _with_unique_ids(body, name)
    body = re.sub(r"<defs>\s*</defs>|\s*\n\s*", "", body)
    label = html.escape(alt, quote=True)
    # Wide enough for its text to be read; on a narrower screen, the figure can be scrolled.
    least = f"min-width:{1.25 * 72 * figure.get_figwidth():.0f}px" if figure.get_figwidth() > SMALL[0] else ""
    return f'<svg class="plot" {view[0]} style="{least}" role="img" aria-label="{label}">{body.strip()}</svg>'


def _smaller(tag: str) -> str:
    """A tag with numbers of two decimals, and the fonts and colours of the page."""
    tag = re.sub(r'(?<=[ "])(d|x|y|points|width|height|transform)="[^"]*"', lambda found: _rounded(found[0]), tag)
    # Versions of matplotlib write "font: 9px 'DejaVu Sans', ..." or "font-size: 9px; font-family: 'DejaVu Sans', ...".
    tag = re.sub(r"font: (?:\w+ )*([\d.]+px)( [^;\"]+)", r"font-size: \1; font-family:\2", tag)
    tag = re.sub(r"font-family: ([^;\"]+);? ?", _generic, tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = tag.replace(INK, "currentColor").replace("stroke: #000000", "stroke: currentColor")
    for color, variable in COLORS.items():
        tag = tag.replace(color.lower(), f"var(--{variable},{color.lower()})")
    return tag.replace("xlink:href", "href").replace("; ", ";").replace(": ", ":")


def _generic(family: re.Match[str]) -> str:
    """The family of a text's font, which is the page's own unless all characters should have the same width."""
    return "font-family: monospace; " if "monospace" in family[1] else ""


def _rounded(attribute: str) -> str:
    """The numbers of an attribute with two decimals; with more in a matrix, which scales pictures."""
    decimals = 5 if "matrix" in attribute or "scale" in attribute else 2

    def shorter(number: re.Match[str]) -> str:
        return f"{float(number[0]):.{decimals}f}".rstrip("0").rstrip(".")

    return re.sub(r"-?\d+\.\d+(?:e-?\d+)?", shorter, attribute)


def _with_unique_ids(body: str, name: str) -> str:
    """Only the identifiers that are referred to, each prefixed with the name of the figure."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
    for old in sorted(used, key=len, reverse=True):
        for before in ('id="', "url(#", 'href="#'):
            body = re.sub(re.escape(before + old) + r'(?=[")])', f"{before}{name}-{old}", body)
    return body
