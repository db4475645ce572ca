"""Pictures of answers: every target drawn, unscored ones blank, wrong ones marked, and all of it legible."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from report.tidy import assert_tidy
from torch.nn import functional as F

from seqmodels.report.classes import MARKS, visible
from seqmodels.report.predictions import draw_predictions, plot_predictions
from seqmodels.tasks.task import IGNORED

WRONG = 1


def task(every_step=True, chronological=False, symbols=None):
    return SimpleNamespace(
        every_step=every_step,
        chronological=chronological,
        symbols=symbols,
        decode=lambda values, split: 10 * values,
        quantiles=None,
        names=None,
    )


def answering(answers, classes):
    return F.one_hot(torch.as_tensor(answers), classes).float()


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_a_confusion_matrix_has_its_counts_and_the_share_that_is_right(classes):
    targets = torch.arange(classes).repeat(100)
    answers = targets.clone()
    answers[0] = 1
    figure = draw_predictions(task(every_step=False), answering(answers, classes), targets, "m on t")
    (axes,) = figure.axes
    assert axes.get_title() == f"{1 - 1 / len(targets):.1%} of {len(targets)} sequences right"
    assert sorted(texts(axes)) == sorted(["100"] * (classes - 1) + ["99", "1"])
    assert_tidy(figure, legend=False)
    cell = axes.bbox.width / classes, axes.bbox.height / classes
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.width < cell[0]
        assert box.height < cell[1]
        assert text.get_fontsize() > 5


@pytest.mark.parametrize("names", [["yes", "no"], [f"class_{number}" for number in range(20)]])
def test_the_classes_of_a_confusion_matrix_have_their_symbols(names):
    targets = torch.arange(len(names))
    figure = draw_predictions(task(False, symbols=names), answering(targets, len(names)), targets, "m on t")
    (axes,) = figure.axes
    assert_tidy(figure, legend=False)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_many_classes_have_a_colour_bar_in_place_of_counts():
    targets = torch.arange(64)
    figure = draw_predictions(task(every_step=False), answering(targets, 64), targets, "m on t")
    axes, bar = figure.axes
    assert not axes.texts
    assert bar.get_ylabel() == "sequences"
    assert_tidy(figure, legend=False)


@pytest.mark.parametrize("classes", [2, 9, 256])
def test_classes_at_each_step_leave_the_unscored_blank(classes):
    targets = torch.randint(classes, (20, 30), generator=torch.Generator().manual_seed(0))
    answers = targets.clone()
    answers[:, 11] = (answers[:, 11] + 1) % classes
    targets[:, :10] = IGNORED
    targets[:, 20] = IGNORED
    figure = draw_predictions(task(), answering(answers, classes), targets, "m on t")
    cells = [axes.images[0].get_array() for axes in figure.axes[:3]]
    for panel in cells:
        assert panel.shape == (12, 20)  # from the first step that is scored
        assert panel.mask[:, 10].all()
        assert not np.delete(panel.mask, 10, axis=1).any()
    assert (cells[0] == targets[:12, 10:].numpy()).all()
    assert np.argwhere(cells[2].any(axis=0)).tolist() == [[1]]
    assert figure.axes[0].get_xlim() == (9.5, 29.5)
    assert figure.axes[3].get_ylabel() == "class"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["right", "wrong", "blank: not scored"]
    assert_tidy(figure)


def test_symbols_are_written_and_wrong_answers_marked():
    symbols = ["\N{REPLACEMENT CHARACTER}", "$", " ", "\n", "é", "漢"]
    targets = torch.tensor([[1, 2, 3, 4, 5, 1], [0, 1, IGNORED, 1, 1, 1]])
    answers = torch.tensor([[1, 2, 3, 4, 5, 2], [0, 1, 2, 1, 1, 1]])
    figure = draw_predictions(task(symbols=symbols), answering(answers, 6), targets, "m on t")
    first, second = figure.axes
    assert "".join(texts(first)) == "$␣⏎é�$" + "$␣⏎é�␣"
    assert "".join(texts(second)) == "�$$$$" * 2  # nothing where nothing is scored
    cells = first.images[0].get_array()
    assert np.argwhere(cells == WRONG).tolist() == [[1, 5]]
    assert first.images[0].get_cmap() is MARKS
    assert second.images[0].get_array().mask[:, 2].all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["right", "wrong", "blank: not scored"]
    assert_tidy(figure)


@pytest.mark.parametrize("width", [1, 3])
def test_symbols_fit_their_cells(width):
    targets = torch.randint(9, (5, 300), generator=torch.Generator().manual_seed(0))
    figure = draw_predictions(task(symbols=["M" * width for _ in range(9)]), answering(targets, 9), targets, "m on t")
    assert len(figure.axes) == 4
    assert_tidy(figure)
    axes = figure.axes[-1]
    steps = len(axes.texts) // 2
    assert axes.get_xlabel() == f"step ({300 - steps} later ones are not shown)"
    for text in axes.texts[:10]:
        assert text.get_fontsize() > 5
        assert text.get_window_extent().width <= axes.bbox.width / steps
        assert text.get_window_extent().height < axes.bbox.height / 2


def test_white_space_is_visible():
    assert visible("a b\t") == "a␣b⇥"
    assert visible("\x00") == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize("sequences", [1, 2, 128])
def test_all_targets_of_a_signal_are_drawn(sequences, count):
    targets = torch.randn(sequences, 30, count)
    outputs = targets + 0.1
    targets[:, :5] = torch.nan
    figure = draw_predictions(task(), outputs, targets, "m on t")
    columns, rows = min(count, 4), min(sequences, 3)
    assert len(figure.axes) == rows * columns
    for position, axes in enumerate(figure.axes):
        sequence, target = divmod(position, columns)
        drawn, answer = (line.get_ydata() for line in axes.lines)
        np.testing.assert_array_equal(drawn, targets[sequence, :, target])
        assert np.isnan(answer[:5]).all()
        np.testing.assert_array_equal(answer[5:], outputs[sequence, 5:, target])
        assert axes.get_xlim() == (-0.5, 29.5)
    titles = [axes.get_title() for axes in figure.axes[:columns]]
    assert titles == ([""] if count == 1 else [f"target {target} of {count}" for target in range(1, columns + 1)])
    assert "blank: not scored" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert_tidy(figure)


@pytest.mark.parametrize("count", [1, 3])
def test_a_forecast_and_its_error_in_the_units_of_the_data(count):
    targets = torch.randn(40, count)
    figure = draw_predictions(task(False, chronological=True), targets + 0.5, targets, "m on t")
    assert len(figure.axes) == 2 * count
    for target in range(count):
        measured, forecast = figure.axes[target].lines
        np.testing.assert_allclose(measured.get_ydata(), 10 * targets[:, target])
        np.testing.assert_allclose(forecast.get_ydata(), 10 * targets[:, target] + 5, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(figure.axes[count + target].lines[1].get_ydata(), 5, rtol=1e-5)
    assert_tidy(figure)


def test_quantiles_are_a_band_around_the_median_and_panels_have_their_names():
    targets = torch.randn(40, 6)
    outputs = (targets.unsqueeze(2) + torch.tensor([-1.0, 0.5, 3.0])).flatten(1)
    names = [f"{name}, {step} ahead" for step in (1, 2, 3) for name in "ab"]
    named = SimpleNamespace(**vars(task(False, chronological=True)) | {"quantiles": [0.1, 0.5, 0.9], "names": names})
    figure = draw_predictions(named, outputs, targets, "m on t")
    assert [axes.get_title() for axes in figure.axes[:4]] == ["a, 1 ahead", "b, 1 ahead", "a, 3 ahead", "b, 3 ahead"]
    for position, target in enumerate([0, 1, 4, 5]):
        axes = figure.axes[position]
        np.testing.assert_allclose(axes.lines[1].get_ydata(), 10 * targets[:, target] + 5, rtol=1e-4, atol=1e-4)
        (band,) = axes.collections
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(10 * targets[:, target].min().item() - 10, rel=1e-4)
        assert heights.max() == pytest.approx(10 * targets[:, target].max().item() + 30, rel=1e-4)
    assert "0.1 to 0.9 quantile" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert_tidy(figure)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_numbers_against_their_targets(count):
    targets = torch.rand(50, count)
    figure = draw_predictions(task(every_step=False), targets**2, targets, "m on t")
    assert len(figure.axes) == min(count, 4)
    for target, axes in enumerate(figure.axes):
        (points,) = axes.collections
        expected = np.stack([10 * targets[:, target], 10 * targets[:, target] ** 2], axis=1)
        np.testing.assert_allclose(points.get_offsets(), expected, rtol=1e-5)
        (diagonal,) = axes.lines
        assert (diagonal.get_xdata() == diagonal.get_ydata()).all()
    assert_tidy(figure)


def test_the_file_and_its_title(tmp_path):
    targets = torch.tensor([0, 1, 1])
    outputs = answering(targets, 2)
    plot_predictions(task(every_step=False), outputs, targets, tmp_path, "m on t")
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    figure = draw_predictions(task(every_step=False), outputs, targets, "m on t, seed 1")
    assert figure.get_suptitle() == "m on t, seed 1: answers in the test"
