"""The place between chance and solved."""

import math

import pytest

from seqmodels.report.place import place_of, scale_of


def test_place_between_chance_and_solved():
    assert place_of(0.745, 0.5, 0.99, "accuracy") == pytest.approx(0.5)
    assert place_of(0.01, 0.1, 0.001, "mse") == pytest.approx(0.5)  # half-way on a logarithmic scale
    assert place_of(0.4, 0.5, 0.99, "accuracy") == 0
    assert place_of(1.0, 0.5, 0.99, "accuracy") == 1
    assert (place_of(0.2, 0.1, 0.001, "mse"), place_of(0.0, 0.1, 0.001, "mse")) == (0, 1)
    assert place_of(0.5, 1.0, 0.0, "mse") == 0.5  # there is no logarithm of zero
    assert (place_of(1.0, 1.0, 1.0, "accuracy"), place_of(0.9, 1.0, 1.0, "accuracy")) == (1, 0)
    assert all(math.isnan(place_of(*values, "mse")) for values in ((math.nan, 1, 0.1), (0.5, math.nan, 0.1)))


def test_a_scale_has_a_place_for_all_scores():
    logarithmic = scale_of("mse", [0.1, 0.4])
    assert logarithmic(0.1) - logarithmic(0.2) == pytest.approx(logarithmic(0.2) - logarithmic(0.4))
    linear = scale_of("mse", [0.0, 0.4])
    assert linear(0.0) - linear(0.2) == pytest.approx(linear(0.2) - linear(0.4)) == 0.2
    assert scale_of("accuracy", [0.5, 1.0])(0.7) == 0.7
