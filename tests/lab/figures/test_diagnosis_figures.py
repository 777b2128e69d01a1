"""Pictures of the diagnostics, drawn from made-up numbers, and the command that makes them."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.offsetbox import AnchoredOffsetbox

from msinet_core import OPERATIONS, Genotype
from msinet_core.cli import main
from msinet_core.config import SearchConfig
from msinet_core.search import search
from msinet_core.search.history import SearchHistory
from msinet_lab.diagnosis import Trajectory, agreement, place_among
from msinet_lab.diagnosis.effects import OperationEffect
from msinet_lab.diagnosis.gap import OperationStrength
from msinet_lab.diagnosis.trainings import rank_correlation
from msinet_lab.figures import diagnosis as figures
from msinet_lab.figures.style import FAINT, as_array, new_figure, operation_colour, rgb


@pytest.fixture
def made(search_lines):
    rng = np.random.default_rng(0)
    loss = rng.normal(0, 0.01, (12, 4))
    loss[3, 1] = np.nan
    genotypes = [Genotype.sample(seed) for seed in range(9)]
    scores = {genotype: float(rng.random()) for genotype in genotypes}
    slots = pd.DataFrame(
        {
            "slot": range(1, 13),
            "operation": ["none", "exchange", "channel_gate"] * 4,
            "difference": loss[:, 0],
            "low": loss[:, 0] - 0.01,
            "high": loss[:, 0] + 0.01,
        }
    )
    table = pd.DataFrame(
        {"mAP": [0.1, 0.2, 0.3, 0.0]}, index=["soft, a", "one-hot, a", "soft, b", "one-hot, b"]
    )
    return {
        "trajectory": (
            figures.trajectory_figure,
            Trajectory(SearchHistory.from_lines(search_lines)),
        ),
        "one epoch": (
            figures.trajectory_figure,
            Trajectory(SearchHistory.from_lines(search_lines[:4])),
        ),
        "effect": (
            figures.effect_figure,
            OperationEffect(rng.random((12, 4)), rng.integers(0, 4, 12)),
        ),
        "seeds": (figures.agreement_figure, agreement(genotypes[:3])),
        "gap": (
            figures.gap_figure,
            SimpleNamespace(
                table=table,
                slots=slots,
                reestimated=SimpleNamespace(difference=-0.1, interval=(-0.2, -0.01)),
            ),
        ),
        "strength": (
            figures.strength_figure,
            OperationStrength(loss, rng.dirichlet(np.ones(4), 12), loss, loss),
        ),
        "baselines": (
            figures.baseline_figure,
            SimpleNamespace(
                place=place_among(0.5, list(scores.values())),
                random=scores,
                named={"all none": 0.1, "paper": 0.9},
            ),
        ),
        "correlation": (figures.correlation_figure, rank_correlation(scores, scores)),
    }


NAMES = [
    "trajectory",
    "one epoch",
    "effect",
    "seeds",
    "gap",
    "strength",
    "baselines",
    "correlation",
]


def last_line(figure):
    """Mark and number, its colour, the criterion, its colour."""
    parts = figure.artists[-1].get_child().get_children()
    texts = [part._text for part in parts]
    return [word for text in texts for word in (text.get_text(), text.get_color())]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_whether_its_criterion_is_met(made, name):
    draw, value = made[name]
    figure = draw(value)
    number, colour, criterion, grey = last_line(figure)
    mark = {"✔": figures.GOOD, "✘": figures.ALARM}
    assert colour == mark[number[0]]
    assert re.search(r"\d", number)
    assert criterion.startswith("criterion: ")
    assert grey == FAINT
    assert as_array(figure).std() > 0


def test_the_mark_follows_the_number():
    """Not the criterion: the same picture of other numbers has the other mark."""
    found = place_among(0.95, [0.1] * 30), place_among(0.05, [0.1] * 30)
    marks = []
    for place in found:
        against = SimpleNamespace(place=place, random=dict(enumerate([0.1] * 30)), named={})
        number, *_ = last_line(figures.baseline_figure(against))
        assert f"p = {place.p:.2f}" in number
        marks.append(number[0])
    assert marks == ["✔", "✘"]
    agreeing = [Genotype.uniform("exchange")] * 3, [Genotype.sample(seed) for seed in range(3)]
    seeds = [last_line(figures.agreement_figure(agreement(one)))[0][0] for one in agreeing]
    assert seeds == ["✔", "✘"]


def test_the_last_winners_are_in_the_picture(made):
    _, told = made["trajectory"]
    picture = as_array(figures.trajectory_figure(told)).reshape(-1, 3)
    for column in set(told.winners[-1].tolist()):
        colour = np.array(rgb(operation_colour(OPERATIONS[column])))
        assert (picture == colour).all(1).sum() > 100


def test_a_winner_that_does_next_to_nothing_has_a_red_ring():
    distance = np.full((12, 4), 0.5)
    effect = OperationEffect(distance, np.full(12, 2))
    fine = as_array(figures.effect_figure(effect))
    distance = distance.copy()
    distance[4, 2] = 0.01
    red = np.array(rgb("#B3261E"))
    flagged = as_array(figures.effect_figure(OperationEffect(distance, np.full(12, 2))))
    count = [int((np.abs(page.astype(int) - red).sum(-1) < 30).sum()) for page in (fine, flagged)]
    assert count[1] > count[0] + 20


def test_the_command(tiny_settings, tmp_path, capsys):
    run = search(SearchConfig(**tiny_settings), tmp_path / "run", progress=False)
    assert main(["trust", "--run", str(run.path), "--seeds", str(run.path), "--random", "3"]) == 0
    told = capsys.readouterr().out
    assert "better than random" in told
    assert "seeds agree" in told
    made = {path.name for path in (run.path / "trust").iterdir()}
    assert {"trajectory.png", "gap.png", "seeds.png", "verdicts.json", "baselines.csv"} <= made
    assert main(["trust", "--run", str(run.path), "--trainings", "3"]) == 2
    assert "8 or more" in capsys.readouterr().err
    assert main(["trust", "--run", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("width", [4.5, 6.2, 12])
def test_the_criterion_stays_within_the_figure(width):
    """In as many lines as it takes, none of them over the axes."""
    made = new_figure(width, 3)
    axes = made.add_subplot()
    axes.set_xlabel("mAP in %")
    words = "the alignment losses lie right of none, by more than the seeds spread (one deviation)"
    figures.judged(made, None, "0 of 3 claims reproduced", words)
    made.savefig(io.BytesIO(), dpi=made.dpi)
    line = next(one for one in made.get_children() if isinstance(one, AnchoredOffsetbox))
    box = line.get_window_extent()
    assert box.x1 <= made.bbox.x1
    assert box.y0 >= 0
    padding = 8  # of the box, pixels: less than a line
    assert box.y1 <= axes.xaxis.label.get_window_extent().y0 + padding
