"""Numbers and pictures that set results side by side: curves, pairs, cameras, queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from msinet_core.retrieval import OpenSet, Pairs, RetrievalResult, Roc, require_same_queries
from msinet_lab.figures.heatmaps import heat
from msinet_lab.figures.retrieval import unit
from msinet_lab.figures.style import (
    CARD,
    FAINT,
    INK,
    MATCH_COLOURS,
    PAGE,
    SERIES,
    Look,
    bare,
    dress,
    empty_figure,
    legend,
    new_axes,
    new_figure,
    series,
)

BINS = 80  # of a histogram of distances, 0 to 2
CAMERA_SHAPES = "osD^vP*X"


def metrics_table(results: Mapping[str, RetrievalResult]) -> pd.DataFrame:
    """A row a result: mAP, rank-1, 5, 10 and mINP in per cent, and how many queries count."""
    table = pd.DataFrame({name: result.metrics() for name, result in results.items()}).T
    counts = [name for name in ("queries", "counted") if name in table]
    shares = table.columns.difference(counts, sort=False)
    table[shares] = (100 * table[shares].astype(float)).round(1)
    return table.astype(dict.fromkeys(counts, int))


def cmc_curves(rankings: Mapping[str, Any], ranks: int = 20) -> Figure:
    """Queries (%) with a match among the first k, a line a result; its mAP in the legend."""
    title = "Cumulative matching characteristic"
    figure, axes = new_axes(6.4, 3.8, title, "rank k", "queries, %", "both")
    for (name, ranking), colour in zip(rankings.items(), series(len(rankings)), strict=True):
        curve = 100 * np.asarray(ranking.cmc)[:ranks]
        if np.isfinite(curve).any():
            words = f"{name} (mAP {100 * ranking.mean_average_precision:.1f} %)"
            look: Look = {"linewidth": 2, "marker": "o", "markersize": 3.5}
            axes.plot(np.arange(1, len(curve) + 1), curve, color=colour, label=words, **look)
    if not axes.lines:
        return empty_figure("No query counts under this protocol, so there is no curve.")
    axes.set_ylim(min(98, axes.get_ylim()[0]), 100.5)
    axes.set_xticks([1, *range(5, ranks + 1, 5)])
    legend(axes, "lower right")
    return figure


def distance_histograms(pairs: Mapping[str, Pairs]) -> Figure:
    """Distances of matches and of non-matches, an axes a result; a line where the EER lies."""
    if not pairs:
        return empty_figure("No distances to show.")
    rows, columns = -(-len(pairs) // 2), min(2, len(pairs))
    figure = new_figure(5.4 * columns, 2.8 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    kinds = {"negative": "non-match", "positive": "match"}
    for axes, (name, counted) in zip(grid.flat, pairs.items(), strict=False):
        table = counted.histogram(BINS).rename(columns=kinds)
        long = table.melt("distance", [*kinds.values()], "pairs", "share")
        look: Look = {"hue": "pairs", "palette": MATCH_COLOURS, "element": "step", "alpha": 0.35}
        look |= {"binwidth": 2 / BINS, "binrange": (0, 2), "weights": "share"}
        seaborn.histplot(long, x="distance", ax=axes, **look)
        seen = table.loc[table[[*kinds.values()]].any(axis=1), "distance"]
        if len(seen):
            axes.set_xlim(max(0, seen.min() - 0.1), min(2, seen.max() + 0.1))
        dress(axes, name, "distance", "share of pairs")
        if has_both(counted):
            at = counted.roc().threshold()
            axes.axvline(at, color=INK, linewidth=1.2, linestyle="--")
            axes.set_title(f"{name}: EER at {at:.2f}", fontsize=10.5, color=INK, loc="left")
        axes.get_legend().set(title="", frame_on=False)
    return figure


def has_both(pairs: Pairs) -> bool:
    """Whether there are matches and non-matches, without which there is no ROC."""
    return bool(pairs.positive.any() and pairs.negative.any())


def roc_curves(rocs: Mapping[str, Roc]) -> Figure:
    """True against false positive rate of "same identity"; a dot marks the equal error rate (EER).

    False rates are on a logarithmic axis.
    """
    labels = "Match or non-match: ROC", "false positive rate", "true positive rate", "both"
    figure, axes = new_axes(6.4, 3.8, *labels)
    for (name, roc), colour in zip(rocs.items(), series(len(rocs)), strict=True):
        curve, (error, _) = roc.curve(), roc.equal_error
        words = f"{name} (EER {100 * error:.1f} %)"
        look: Look = {"color": colour, "linewidth": 2, "label": words}
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], **look)
        axes.plot(error, 1 - error, marker="o", color=colour, markeredgecolor=INK, markersize=7)
    if not axes.lines:
        return empty_figure("There are not enough pairs for an ROC curve.")
    axes.set_xscale("log")
    axes.set_xlim(1e-4, 1.1)
    axes.set_ylim(0, 1.02)
    legend(axes, "lower right")
    return figure


def map_by_camera(result: RetrievalResult) -> pd.DataFrame:
    """mAP of each query camera (rows) against each gallery camera; NaN where no query counts."""
    tables = result.query_table, result.gallery_table
    if any("camera" not in table or table["camera"].isna().any() for table in tables):
        return pd.DataFrame()
    rows, columns = (sorted(table["camera"].unique()) for table in tables)
    values = [[_map_between(result, mine, theirs) for theirs in columns] for mine in rows]
    table = pd.DataFrame(values, rows, columns, dtype=float)
    return table.rename_axis(index="query camera", columns="gallery camera")


def _map_between(result: RetrievalResult, mine: Any, theirs: Any) -> float:
    query = (result.query_table["camera"] == mine).to_numpy(bool)
    gallery = (result.gallery_table["camera"] == theirs).to_numpy(bool)
    one, two = result.query_table[query], result.gallery_table[gallery]
    if not set(one["identity"]) & set(two["identity"]):
        return float("nan")
    features = result.query_features[query], result.gallery_features[gallery]
    part = RetrievalResult.score(*features, one, two, result.protocol, device=result.device)
    return part.ranking.mean_average_precision


def camera_matrix(table: pd.DataFrame) -> Figure:
    """`map_by_camera` as a heatmap in per cent, a dash where nothing counts."""
    values = 100 * table.to_numpy(dtype=float)
    if values.size == 0 or not np.isfinite(values).any():
        return empty_figure("This data has no cameras to compare.")
    figure = new_figure(1.9 + 0.62 * values.shape[1], 1.3 + 0.46 * values.shape[0])
    axes = figure.add_subplot()
    rows, columns = (list(map(str, names)) for names in (table.index, table.columns))
    heat(axes, values, (0, 100), words=".0f", rows=rows, columns=columns)
    for text in axes.texts:
        text.set_fontweight("normal")
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.text(column + 0.5, row + 0.5, "–", ha="center", va="center", color=FAINT)
    dress(axes, "mAP in %", "gallery camera", "query camera", grid="")
    axes.set_facecolor(CARD)
    return figure


def tsne(features: Any, seed: int = 0) -> np.ndarray:
    """N x D features in two dimensions (N x 2), by t-SNE on L2-normalised features.

    Fewer than five points are spread by PCA.
    """
    values = unit(features)
    if len(values) < 5:
        centred = values - values.mean(0, keepdims=True)
        axes = np.linalg.svd(centred, full_matrices=False)[2]
        return np.pad((centred @ axes.T)[:, :2], ((0, 0), (0, 2)))[:, :2]
    from sklearn.manifold import TSNE

    perplexity = min(30, (len(values) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)


def embedding_figure(points: Any, identities: Any, cameras: Any = None, title: str = "") -> Figure:
    """Points in two dimensions (N x 2), a colour an identity (repeating), a shape a camera."""
    names = pd.Series(list(identities), dtype=object)
    if len(names) == 0:
        return empty_figure("No images to embed.")
    views = ["all"] * len(names) if cameras is None else [f"camera {name}" for name in cameras]
    table = pd.DataFrame(np.asarray(points), columns=["x", "y"]).assign(view=views)
    figure = new_figure(6.4, 5.2)
    axes = figure.add_subplot()
    order = sorted(set(views))
    markers = [CAMERA_SHAPES[place % len(CAMERA_SHAPES)] for place in range(len(order))]
    look: Look = {
        "style": "view",
        "style_order": order,
        "markers": markers,
        "hue": names.astype(str),
        "palette": dict(zip(map(str, names.unique()), series(names.nunique()), strict=True)),
    }
    seaborn.scatterplot(table, x="x", y="y", s=34, ax=axes, legend=False, **look)
    for marker, view in zip(markers, order if cameras is not None else (), strict=False):
        axes.scatter([], [], s=34, marker=marker, c=FAINT, label=view)
    box: Look = {"boxstyle": "round,pad=0.15", "facecolor": PAGE, "alpha": 0.75, "linewidth": 0}
    middle = table.groupby(names.to_numpy(), sort=False)[["x", "y"]].median()[:40]
    for name, x, y in middle.itertuples():
        words: Look = {"fontsize": 8, "color": INK, "fontweight": "bold", "bbox": box}
        axes.annotate(str(name), (x, y), ha="center", va="center", **words)
    bare(axes, title).set(xlabel="", ylabel="")
    legend(axes, "best", columns=2)
    return figure


def query_scatter(results: Mapping[str, RetrievalResult]) -> Figure:
    """Average precision (%) of every query under two results: above the diagonal the second wins.

    `ReidError` unless both are over the same queries.
    """
    require_same_queries(*results.values())
    names = list(results)
    one, two = (
        100 * np.asarray(r.ranking.average_precision, dtype=float) for r in results.values()
    )
    table = pd.DataFrame({"one": one, "two": two}).dropna()
    if table.empty:
        return empty_figure("No query counts in both results.")
    sides = {1: f"{names[1]} wins", -1: f"{names[0]} wins", 0: "equal"}
    wins = (table["two"] > table["one"]).astype(int) - (table["two"] < table["one"])
    words = {side: f"{name}: {int((wins == side).sum())}" for side, name in sides.items()}
    figure = new_figure(5.2, 5.0)
    axes = figure.add_subplot()
    colours = dict(zip(words.values(), (SERIES[2], SERIES[5], FAINT), strict=True))
    look: Look = {"hue": wins.map(words), "hue_order": list(words.values()), "palette": colours}
    seaborn.scatterplot(table, x="one", y="two", s=26, alpha=0.65, linewidth=0, ax=axes, **look)
    mean: Look = {"marker": "P", "markersize": 11, "color": INK, "linestyle": "none"}
    axes.plot(table["one"].mean(), table["two"].mean(), label="mean (mAP)", **mean)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1)
    dress(axes, "Average precision of each query, %", names[0], names[1], grid="both")
    axes.set(aspect="equal", xlim=(-2, 102), ylim=(-2, 102))
    legend(axes, "lower right")
    return figure


def difference_figure(table: pd.DataFrame, title: str) -> Figure:
    """Differences in mAP and rank-1 of the rows of `comparison_table` or `Comparison.breakdown`, in
    points, with their intervals; a filled mark where the interval leaves zero out.
    """
    table = table.dropna(subset=["mAP_difference"])
    if table.empty:
        return empty_figure("There is nothing to compare.")
    figure = new_figure(6.8, 1.2 + 0.42 * len(table))
    axes = figure.add_subplot()
    places = np.arange(len(table))[::-1]
    for metric, words, colour, shift in (
        ("mAP", "mAP", SERIES[0], 0.12),
        ("rank1", "rank-1", SERIES[1], -0.12),
    ):
        middle, low, high = (
            100 * table[f"{metric}_{part}"].to_numpy(float)
            for part in ("difference", "low", "high")
        )
        look: Look = {"color": colour, "linewidth": 2}
        axes.hlines(places + shift, low, high, **look)
        sure = (low > 0) | (high < 0)
        mark: Look = {"marker": "o", "linestyle": "none", "markersize": 7, "color": colour}
        axes.plot(middle[sure], (places + shift)[sure], **mark)
        axes.plot(middle[~sure], (places + shift)[~sure], **mark, markerfacecolor=PAGE)
        axes.plot([], [], label=words, color=colour, linewidth=2, marker="o")
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(places, [str(name) for name in table.index])
    axes.set_ylim(-0.6, len(table) - 0.4)
    dress(axes, title, "difference in points, with its interval", "", "x")
    legend(axes, "best")
    return figure


def open_set_curves(found: Mapping[str, OpenSet], k: int = 1) -> Figure:
    """Detection and identification rate at rank k against the false alarm rate, a line a result."""
    title = f"Open set: identities found at rank {k}"
    labels = "false alarm rate (unknown queries)", "detection and identification rate", "both"
    figure, axes = new_axes(6.4, 3.8, title, *labels)
    for (name, one), colour in zip(found.items(), series(len(found)), strict=True):
        curve = one.curve(k)
        rate = one.identification_rate(0.1, k)
        words = f"{name} ({100 * rate:.1f} % at FAR 10 %)"
        look: Look = {"color": colour, "linewidth": 2, "label": words}
        axes.plot(curve["false_alarm_rate"], curve["identification_rate"], **look)
    if not axes.lines:
        return empty_figure("There is no open set to show.")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    legend(axes, "lower right")
    return figure
