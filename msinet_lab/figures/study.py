"""The study's pictures: every setting's score over the seeds, and what became of each claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from msinet_lab.figures.diagnosis import judged
from msinet_lab.figures.style import (
    ALARM,
    CARD,
    FAINT,
    INK,
    SERIES,
    Look,
    dress,
    empty_figure,
    new_figure,
)
from msinet_lab.study.verdicts import SMALLEST, VERDICTS, in_todays_words, verdicts

TITLES = {
    "a": "Twins split, overlaps, and the leaking step",
    "b": "Searched, random, uniform and the paper's genotype",
    "c": "Spatial alignment across domains",
    "d": "MSINet and ResNets, unpretrained unless it says otherwise: not the paper's claim",
}
RIGHT_OF = "by more than the seeds spread (band: one deviation)"
CRITERIA = {
    "a": f"the twins split lies right of the usual one on every data set, {RIGHT_OF}",
    "b": f"the searched genotype lies right of random and uniform ones, {RIGHT_OF}",
    "c": f"the alignment losses lie right of none, {RIGHT_OF}",
    "d": "MSINet lies level with networks of ten times its size, or to the right",
}
COLOURS = dict(zip(VERDICTS, (SERIES[2], ALARM, "#8A9099"), strict=True))
FARTHEST = 40.0  # mAP points; what lies beyond is drawn at the edge


def part_figure(rows: pd.DataFrame, part: str) -> Figure:
    """mAP of each setting of one part, an axes a data set.

    A dot a training; over them mean and deviation of the seeds.
    """
    own = in_todays_words(rows[rows["part"] == part])
    if own.empty:
        return empty_figure(f"Part {part} has not been carried out.")
    # settings that are drawn, such as `random 2`, are shown together
    families = own["setting"].str.replace(r"^random .*", "random", regex=True)
    own = own.assign(setting=families, points=100 * own["mAP"])
    settings, datasets = list(families.unique()), list(own["data"].unique())
    figure = new_figure(3.2 + 3.0 * len(datasets), 1.5 + 0.42 * len(settings), TITLES[part])
    grid = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, data in zip(grid, datasets, strict=True):
        _settings(axes, own[own["data"] == data], settings)
        dress(axes, str(data), "mAP in %", grid="x")
    return judged(figure, *_outcome(verdicts(own)), CRITERIA[part])


def _settings(axes: Axes, table: pd.DataFrame, settings: list[str]) -> None:
    palette = {name: SERIES[0] if name == settings[0] else FAINT for name in settings}
    hue: Look = {
        "x": "points",
        "y": "setting",
        "hue": "setting",
        "palette": palette,
        "legend": False,
    }
    every: Look = {**hue, "order": settings, "hue_order": settings, "ax": axes}
    seaborn.stripplot(table, size=5, alpha=0.8, jitter=False, **every)
    mean: Look = {"marker": "|", "markersize": 15, "markeredgewidth": 2.4, "linestyle": "none"}
    seaborn.pointplot(
        table, errorbar="sd", err_kws={"linewidth": 5, "alpha": 0.35}, **every, **mean
    )


def verdict_figure(rows: pd.DataFrame) -> Figure:
    """What the rows of a study say of each claim; see `claims_figure`."""
    return claims_figure(verdicts(rows))


def claims_figure(table: pd.DataFrame, smallest: float = SMALLEST) -> Figure:
    """Difference in mAP points of each claim with its 95 % interval, coloured by its verdict.

    table: as of `verdicts`; smallest: mAP, the smallest difference worth having.
    """
    if table.empty:
        return empty_figure("No claim has both of its sides yet.")
    figure = new_figure(7.3, 1.9 + 0.27 * len(table), "What became of each claim")
    axes = figure.add_subplot()
    points = 100 * table[["difference", "low", "high"]].replace([np.inf, -np.inf], np.nan)
    reach = float(np.clip(np.nanmax(points.abs().to_numpy(float)), 2.0, FARTHEST))
    axes.axvspan(0, 100 * smallest, color=CARD, zorder=0)
    axes.axvline(0, color=INK, linewidth=1)
    for place, line in enumerate(table.to_dict("records")):
        colour = COLOURS[line["verdict"]]
        ends = np.clip([100 * line["low"], 100 * line["high"]], -1.05 * reach, 1.05 * reach)
        thick = 4.5 if line["data"] == "all" else 2.2
        axes.plot(ends, [place, place], color=colour, linewidth=thick, alpha=0.6)
        middle = np.clip(100 * line["difference"], -reach, reach)
        axes.plot(middle, place, marker="o", markersize=7, color=colour)
    words = "difference in mAP points, 95 % interval"
    dress(axes, "", words, grid="x")
    names = [f"{c} · {data}" for c, data in zip(table["claim"], table["data"], strict=True)]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    handles = [Line2D([], [], color=c, lw=4, label=n) for n, c in COLOURS.items()]
    axes.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.3, 1),
        ncols=3,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
    )
    words = "the interval is right of zero; the band is too small to matter"
    return judged(figure, *_outcome(table), words)


def _outcome(table: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether all claims of a table of verdicts are reproduced (None: some are undecided), in
    numbers; of several data sets, by all of them together.
    """
    if table.empty:
        return None, "no claim has both of its sides yet"
    last = table.groupby("claim", sort=False)["verdict"].last()  # `all` comes last
    reproduced, not_reproduced = ((last == word).sum() for word in VERDICTS[:2])
    undecided = len(last) - reproduced - not_reproduced
    words = f"{reproduced} claims reproduced, {not_reproduced} not, {undecided} undecided"
    if reproduced == len(last):
        return True, words
    return (False if not_reproduced else None), words


def study_figures(rows: pd.DataFrame) -> dict[str, Figure]:
    """The pictures of all parts in the table, and the verdicts."""
    figures = {f"part_{part}": part_figure(rows, part) for part in sorted(set(rows["part"]))}
    return figures | {"verdicts": verdict_figure(rows)}
