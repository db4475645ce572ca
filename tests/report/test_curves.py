"""Pictures of scores: the star at the checkpoint, the whole curve in view, far lines named and left out."""

import itertools

import numpy as np
import pandas as pd
import pytest
from report.results import LENGTHS, result_with
from report.tidy import assert_tidy

from seqmodels.report.curves import draw_curves, draw_lengths, plot_curves, plot_lengths


def metrics_with(scores, metric="mse"):
    """A metrics.csv with a validation each 100 steps, as the logger counts them, and a training loss each 50."""
    steps = 100 * np.arange(1, len(scores) + 1) - 1
    validation = pd.DataFrame({"step": steps, "val_loss": scores, f"val_{metric}": scores})
    training = pd.DataFrame({"step": np.arange(49, steps[-1] + 1, 50)})
    return pd.concat([training.assign(train_loss=0.3), validation], ignore_index=True)


def line(axes, start):
    (found,) = [line for line in axes.lines if line.get_label().startswith(start)]
    return found


def within(axes, value):
    low, high = axes.get_ylim()
    return low < value < high


def test_the_star_stands_at_the_checkpoint_that_was_tested():
    figure = draw_curves(result_with(best_step=200, test=0.03), metrics_with([0.4, 0.02, 0.3]))
    star = line(figure.axes[1], "test 0.03")
    assert star.get_marker() == "*"
    assert star.get_xydata().tolist() == [[200, 0.03]]
    validation = line(figure.axes[1], "validation").get_xydata()
    assert validation.tolist() == [[100, 0.4], [200, 0.02], [300, 0.3]]
    assert "step 200" in star.get_label()
    assert figure.get_suptitle() == "my_rnn on my_task, seed 7"
    assert_tidy(figure)


@pytest.mark.parametrize("metric", ["mse", "accuracy"])
@pytest.mark.parametrize("scores", [[0.4, 0.02, 0.3], [0.3], [0.5, 0.5], [1.0, 0.9], [1e-9, 0.4], [0.0, 0.2]])
def test_the_axis_holds_the_whole_curve_the_star_and_solved(scores, metric):
    result = result_with(metric=metric, solved_at=0.99 if metric == "accuracy" else 0.01)
    figure = draw_curves(result, metrics_with(scores, metric))
    for value in [*scores, result["test"], result["solved_at"]]:
        assert within(figure.axes[1], value)
    for value in [*scores, 0.3]:
        assert within(figure.axes[0], value)
    assert_tidy(figure)


def test_a_line_far_off_is_left_out_and_named():
    """As on co2, where chance is 36 and the curve at 0.4."""
    result = result_with(
        metric="rmse", test=0.39, chance=36.0, baselines={"persistence": 0.503, "drift": 0.502}, solved_at=0.502
    )
    figure = draw_curves(result, metrics_with([0.47, 0.468, 0.42], "rmse"))
    axes = figure.axes[1]
    assert not within(axes, 36)
    assert within(axes, 0.503)
    low, high = axes.transData.transform([[0, 0.42], [0, 0.47]])[:, 1]
    assert high - low > axes.bbox.height / 4
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "chance in the test 36 (above)" in named
    assert "solved = drift in the test 0.502" in named
    assert "persistence in the test 0.503" in named
    assert_tidy(figure)


def test_a_line_near_by_is_drawn():
    figure = draw_curves(result_with(chance=0.6), metrics_with([0.5, 0.1, 0.02]))
    assert within(figure.axes[1], 0.6)
    assert figure.axes[1].get_yscale() == "log"
    assert line(figure.axes[1], "chance").get_label() == "chance in the test 0.6"


def test_losses_that_diverge_leave_the_finite_ones_in_view():
    figure = draw_curves(result_with(), metrics_with([0.4, np.inf, 0.3]))
    assert within(figure.axes[0], 0.4)
    assert_tidy(figure)


def test_lengths_with_the_band_of_training():
    figure = draw_lengths(result_with(**LENGTHS))
    (axes,) = figure.axes
    assert line(axes, "test, mean 0.05").get_xydata().tolist() == [[40, 0.02], [80, 0.05], [320, 0.08]]
    assert line(axes, "chance, mean 0.5").get_ydata().tolist() == [0.4, 0.2, 0.6]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["40", "80", "320"]
    (band,) = axes.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (0.5, 40.5)
    assert band.get_label() == "trained at length 1 to 40"
    assert axes.get_xlim()[0] < 40 < 320 < axes.get_xlim()[1]
    assert all(within(axes, value) for value in (0.02, 0.08, 0.01))
    assert figure.get_suptitle() == "my_rnn on my_task, seed 7"
    assert_tidy(figure)


@pytest.mark.parametrize("trained", [[1, 10], [5000, 6000]])
def test_some_of_the_band_is_in_view(trained):
    axes = draw_lengths(result_with(**LENGTHS | {"trained_lengths": trained})).axes[0]
    (left, right), (band,) = axes.get_xlim(), axes.patches
    assert max(left, band.get_x()) < min(right, band.get_x() + band.get_width())


@pytest.mark.parametrize("tested", [range(1, 60), [2**power for power in range(16)], [10, 11, 12, 5000], [40, 41]])
def test_names_of_lengths_do_not_overlap(tested):
    rows = [{"length": length, "test": 0.1, "chance": 0.5, "unseen": True} for length in tested]
    figure = draw_lengths(result_with(**LENGTHS | {"lengths": rows}))
    assert_tidy(figure)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) > 1
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_files(tmp_path):
    result = result_with(**LENGTHS)
    metrics_with([0.4, 0.3]).to_csv(tmp_path / "metrics.csv", index=False)
    plot_curves(result, tmp_path)
    plot_lengths(result, tmp_path)
    for name in ("curves.png", "lengths.png"):
        header = (tmp_path / name).read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1080, 420)
