"""A source x target matrix as colours, with the intervals written in."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from msinet_core.retrieval import DomainMatrix
from msinet_lab.figures.heatmaps import bar, heat
from msinet_lab.figures.style import FAINT, Look, dress, new_figure

NAMES = {"mAP": "mAP", "rank1": "rank-1", "mINP": "mINP"}


def draw_matrix(matrix: DomainMatrix, metric: Literal["mAP", "rank1", "mINP"] = "mAP") -> Figure:
    """Rows are networks, columns the data sets they were scored on; numbers are per cent, small
    ones below them the ends of their 95 % intervals.
    """
    value, low, high = (100 * matrix.grid(f"{metric}{end}") for end in ("", "_low", "_high"))
    rows, columns = value.shape
    figure = new_figure(2.6 + 1.5 * columns, 1.3 + 0.8 * rows)
    axes = figure.subplots()
    dress(axes, f"{NAMES[metric]}, %: trained on (rows), tested on (columns)")
    names = list(map(str, value.index)), list(map(str, value.columns))
    heat(axes, value.to_numpy(), (0, 100), words=".1f", rows=names[0], columns=names[1])
    for text in list(axes.texts):
        x, y = text.get_position()
        ends = low.iat[int(y), int(x)], high.iat[int(y), int(x)]
        words = "{:.1f} to {:.1f}".format(*ends)
        small: Look = {"fontsize": 7, "ha": "center", "va": "top", "color": text.get_color()}
        axes.text(x, y + 0.16, words, **small)
    bar(axes)
    axes.tick_params(colors=FAINT)
    return figure
