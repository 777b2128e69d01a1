"""Pictures of `recipe.csv`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msinet_lab.figures.style import FAINT, INK, SERIES, dress, new_figure


def genotypes_figure(rows: pd.DataFrame) -> Figure:
    """Each genotype's mAP against its seed's median random one, a dot a seed, a bar their mean: 20
    random genotypes in the order of their means, then the paper's and what searches found.

    rows: of `recipe.csv`.
    """
    own = rows[rows["part"] == "genotypes"]
    sets = list(own["data"].unique())
    figure = new_figure(9.6, 1.2 + 3.0 * len(sets), "Random genotypes, the paper's, and found ones")
    grid = figure.subplots(len(sets), 1, squeeze=False)[:, 0]
    for axes, data in zip(grid, sets, strict=True):
        table = own[own["data"] == data].pivot(index="arm", columns="seed", values="mAP")
        random = table.index.str.startswith("random ")
        table = table.loc[:, table[random].notna().all()]
        points = 100 * (table - table[random].median())
        drawn = points[random].loc[points[random].mean(axis=1).sort_values().index]
        _dots(axes, pd.concat([drawn, points[~random]]), len(drawn))
        dress(axes, f"{data}: {table.shape[1]} seeds", "", "mAP points to the median", grid="y")
    return figure


def _dots(axes: Axes, points: pd.DataFrame, drawn: int) -> None:
    """A column of dots a genotype; the first `drawn` of them are random ones."""
    axes.axhline(0, color=INK, linewidth=1)
    for place, (_, values) in enumerate(points.iterrows()):
        colour = FAINT if place < drawn else SERIES[0]
        at = place + (place >= drawn)  # a gap before those that are not random
        axes.plot(np.full(len(values), at), values, "o", color=colour, markersize=4.5, alpha=0.7)
        axes.plot([at - 0.35, at + 0.35], 2 * [values.mean()], color=colour, linewidth=2.5)
    others = [str(name).removeprefix("searched: ") for name in points.index[drawn:]]
    places = [(drawn - 1) / 2, *range(drawn + 1, drawn + 1 + len(others))]
    axes.set_xticks(places, ["20 random genotypes, by their mean", *others], fontsize=8.5)
    for label in axes.get_xticklabels()[1:]:
        label.set(rotation=28, ha="right", rotation_mode="anchor")
