"""Figures inside a page."""

import re

import numpy as np
from report.page.tags import Structure

from seqmodels.report.page.svg import figure_of, ink, svg_of
from seqmodels.report.sheet import BLUE


def drawing():
    with ink():
        figure = figure_of()
        axes = figure.subplots()
        axes.plot(np.linspace(0, 1, 30), np.sin(np.linspace(0, 7, 30)), "o-", color=BLUE, label="a < b & $x_1$")
        axes.imshow(np.eye(3), extent=(0, 1, 0, 1))
        axes.set_title("0.123456789", parse_math=False)
        axes.set_xlim(0, 1)
        axes.legend()
    return figure


def test_the_same_figure_is_the_same_text():
    assert svg_of(drawing(), "one", "a curve") == svg_of(drawing(), "one", "a curve")


def test_two_figures_of_a_page_share_no_identifier():
    one, other = (Structure(svg_of(drawing(), name, "a curve")) for name in ("one", "two"))
    assert one.ids
    assert one.references
    assert not set(one.ids) & set(other.ids)


def test_text_stays_text_in_the_ink_and_the_font_of_the_page():
    svg = svg_of(drawing(), "one", 'a "curve" <here>')
    structure = Structure(svg)
    assert "0.123456789" in structure.text  # numbers are shortened in shapes, not in words
    assert "currentColor" in svg
    assert "var(--blue,#0072b2)" in svg
    assert "DejaVu" not in svg
    assert "#010203" not in svg
    assert structure.tags[0][1]["aria-label"] == 'a "curve" <here>'


def test_nothing_is_left_of_a_file_of_its_own():
    svg = svg_of(drawing(), "one", "a curve")
    for part in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "http", "<!--"):
        assert part not in svg
    paths = re.findall(r' d="([^"]*)"', svg)
    assert not re.search(r"\.\d{3}", " ".join(paths))
