"""Whether a picture can be read: nothing lies on anything else, and nothing beyond the edge."""

import itertools

from matplotlib.figure import Figure


def assert_tidy(figure: Figure, legend: bool = True) -> None:
    """A title, all axes with their labels, and the legend: each in the sheet, and none over another."""
    figure.draw_without_rendering()
    parts = {f"axes {number}": axes.get_tightbbox() for number, axes in enumerate(figure.axes)}
    parts["title"] = figure._suptitle.get_window_extent()
    assert figure.get_suptitle()
    assert len(figure.legends) == legend
    if legend:
        parts["legend"] = figure.legends[0].get_window_extent()
    for name, box in parts.items():
        assert box.x0 >= -1 and box.y0 >= -1, f"{name} goes beyond the sheet"  # noqa: PT018
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, f"{name} goes beyond the sheet"  # noqa: PT018
    for (one, box), (other, second) in itertools.combinations(parts.items(), 2):
        width = min(box.x1, second.x1) - max(box.x0, second.x0)
        height = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert min(width, height) <= 1, f"{one} and {other} overlap"
