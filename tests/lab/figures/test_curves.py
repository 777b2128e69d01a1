"""Curves from a history in every state: nothing, a step, one epoch, all."""

import numpy as np
import pandas as pd
import pytest

from msinet_lab.figures import curves
from msinet_lab.figures.style import SERIES, as_array


def training_lines(epochs):
    lines = []
    for epoch in range(1, epochs + 1):
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "loss": 8.0 / epoch,
                "global_triplet": 0.2,
                "alignment": 0.0,
                "learning_rate": 0.05,
            }
        )
        if epoch % 2 == 0:
            lines.append(
                {"kind": "evaluation", "epoch": epoch, "mAP": epoch / 10, "rank1": epoch / 8}
            )
    return lines


def labels(figure):
    return {
        line.get_label()
        for axes in figure.axes
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


@pytest.mark.parametrize("draw", [curves.search_curves, curves.training_curves])
@pytest.mark.parametrize(
    "history", [[], pd.DataFrame(), [{"kind": "epoch", "epoch": 1, "learning_rate": 0.1}]]
)
def test_little_or_nothing_yet(draw, history):
    assert as_array(draw(history)).std() > 0


def test_search_curves(search_lines):
    figure = curves.search_curves(pd.DataFrame(search_lines))
    assert {"train", "validation", "stage 1", "stage 3", "weights", "alpha"} <= labels(figure)
    loss = next(line for line in figure.axes[0].lines if line.get_label() == "validation")
    np.testing.assert_allclose(loss.get_ydata(), [3.0 / epoch for epoch in range(1, 7)])


def test_steps_before_the_first_epoch_ends(search_lines):
    assert as_array(curves.search_curves(search_lines[:2])).std() > 0


def test_training_curves_leave_out_a_part_that_is_always_zero():
    figure = curves.training_curves(training_lines(6))
    assert {"total", "global triplet", "mAP", "rank-1"} <= labels(figure)
    assert "alignment" not in labels(figure)
    mean = next(line for line in figure.axes[1].lines if line.get_label() == "mAP")
    np.testing.assert_allclose(mean.get_xdata(), [2, 4, 6])
    np.testing.assert_allclose(mean.get_ydata(), [20, 40, 60])


def test_steps_are_spread_over_their_epoch():
    steps = pd.DataFrame({"epoch": [1, 1, 2, 2], "step": [1, 2, 1, 2]})
    assert curves._steps_in_epochs(steps).tolist() == [0.5, 1.0, 1.5, 2.0]


def test_scores_of_held_out_identities_and_of_other_data_are_drawn_too(search_lines):
    lines = training_lines(4)
    lines += [{"kind": "validation", "epoch": e, "mAP": 0.3} for e in (2, 4)]
    lines += [{"kind": "target", "epoch": e, "name": n, "mAP": 0.2} for e in (2, 4) for n in "xy"]
    drawn = labels(curves.training_curves(lines))
    assert {"mAP", "mAP, validation", "mAP, x", "mAP, y"} <= drawn
    assert len(curves.search_curves(search_lines).axes) == 3
    scored = [*search_lines, {"kind": "evaluation", "epoch": 3, "mAP": 0.5, "rank1": 0.6}]
    assert "mAP" in labels(curves.search_curves(scored))


def test_curves_apart_are_the_same_a_figure_each(search_lines):
    whole = curves.search_curves(search_lines)
    parts = curves.apart(curves.search_parts(search_lines), "nothing")
    assert [labels(part) for part in parts] == [
        {line.get_label() for line in axes.lines if not line.get_label().startswith("_")}
        for axes in whole.axes
    ]
    assert len(curves.apart([], "nothing")) == 1


def test_runs_over_each_other():
    short, long = training_lines(3), training_lines(8)
    figures = curves.apart(curves.overlaid({"a": short, "b": long}), "nothing")
    titles = [figure.axes[0].get_title("left") for figure in figures]
    assert titles == ["Loss", "mAP in %", "rank-1 in %"]
    loss = figures[0].axes[0].lines
    assert [line.get_color() for line in loss] == list(SERIES[:2])
    assert [len(line.get_xdata()) for line in loss] == [3, 8]
    np.testing.assert_allclose(figures[1].axes[0].lines[1].get_ydata(), [20, 40, 60, 80])
    smooth = curves.apart(curves.overlaid({"b": long}, 0.5), "nothing")[0].axes[0].lines
    raw = [8.0 / epoch for epoch in range(1, 9)]
    np.testing.assert_allclose(smooth[0].get_ydata(), raw)
    third = (raw[2] + 0.5 * raw[1] + 0.25 * raw[0]) / 1.75
    assert smooth[1].get_ydata()[2] == pytest.approx(third)
