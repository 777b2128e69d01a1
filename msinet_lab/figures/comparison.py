"""Numbers and pictures that set results side by side: pairs, cameras, and query against query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msinet_core.retrieval import rank
from msinet_lab.figures.retrieval import junk_rows
from msinet_lab.figures.style import FAINT, INK, SERIES, dress, empty_figure, legend, new_figure


def pair_distances(result: Any, queries: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Distances of (right pairs, wrong pairs) between a result's queries and its gallery, as
    scored.

    At most `queries` queries, drawn with `seed`; entries that the protocol removes are left out.
    """
    count = len(result.query_table)
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:queries])
    gallery = unit(result.gallery_features)
    names = result.gallery_table["identity"].to_numpy()
    unmatched = (
        result.gallery_table["identity"]
        .isin(list(result.protocol.distractor_identities))
        .to_numpy(bool)
    )
    right, wrong = [], []
    for query in chosen:
        distance = np.sqrt(np.maximum(2 - 2 * (gallery @ unit(result.query_features[query])), 0))
        kept = np.ones(len(gallery), bool)
        kept[junk_rows(result, int(query))] = False
        same = (names == result.query_table["identity"].iloc[query]) & ~unmatched
        right.append(distance[kept & same])
        wrong.append(distance[kept & ~same])
    empty = np.zeros(0)
    return np.concatenate([empty, *right]), np.concatenate([empty, *wrong])


def unit(features: Any) -> np.ndarray:
    """Rows (or one vector) divided by their Euclidean length, float32."""
    array = np.asarray(features, dtype=np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)


def roc(right: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate, threshold), rising: "same" is a distance of at most
    the threshold.
    """
    if not len(right) or not len(wrong):
        return (np.zeros(0),) * 3
    thresholds = np.unique(np.concatenate([right, wrong]))
    if len(thresholds) > 2000:
        thresholds = np.quantile(thresholds, np.linspace(0, 1, 2000))
    false = np.searchsorted(np.sort(wrong), thresholds, side="right") / len(wrong)
    true = np.searchsorted(np.sort(right), thresholds, side="right") / len(right)
    return false, true, thresholds


def balanced_threshold(right: np.ndarray, wrong: np.ndarray) -> tuple[float, float, float]:
    """(threshold, false rate, true rate) where as many wrong pairs are accepted as right ones
    refused, in share.
    """
    false, true, thresholds = roc(right, wrong)
    if not len(thresholds):
        return (float("nan"),) * 3
    best = int(np.argmin(np.abs(false - (1 - true))))
    return float(thresholds[best]), float(false[best]), float(true[best])


def map_by_camera(result: Any) -> pd.DataFrame:
    """mAP of each query camera (rows) against each gallery camera (columns); NaN where no query
    counts.
    """
    tables = result.query_table, result.gallery_table
    if any("camera" not in table or table["camera"].isna().any() for table in tables):
        return pd.DataFrame()
    rows, columns = (sorted(table["camera"].unique()) for table in tables)
    values = pd.DataFrame(np.nan, index=rows, columns=columns)
    for mine in rows:
        for theirs in columns:
            values.loc[mine, theirs] = _map_between(result, mine, theirs)
    return values.rename_axis(index="query camera", columns="gallery camera")


def _map_between(result: Any, mine: Any, theirs: Any) -> float:
    query = (result.query_table["camera"] == mine).to_numpy(bool)
    gallery = (result.gallery_table["camera"] == theirs).to_numpy(bool)
    one, two = result.query_table[query], result.gallery_table[gallery]
    if not set(one["identity"]) & set(two["identity"]):
        return float("nan")
    return rank(
        result.query_features[query],
        result.gallery_features[gallery],
        one["identity"],
        two["identity"],
        one["camera"],
        two["camera"],
        same_camera="exclude" if result.protocol.exclude_same_camera else "keep",
        junk_identities=result.protocol.junk_identities,
        distractor_identities=result.protocol.distractor_identities,
    ).mean_average_precision


def metrics_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """A row a result: mAP, rank-1, 5, 10 and mINP in per cent, and how many queries count."""
    rows = {name: result.metrics() for name, result in results.items()}
    table = pd.DataFrame(rows).T
    shares = [name for name in table.columns if name not in ("queries", "counted")]
    table[shares] = (100 * table[shares].astype(float)).round(1)
    return table.astype({name: int for name in ("queries", "counted") if name in table})


def query_scatter(names: tuple[str, str], first: Any, second: Any) -> Figure:
    """Average precision of every query under two results: above the diagonal the second wins."""
    one, two = (np.asarray(values, dtype=float) for values in (first, second))
    if one.shape != two.shape:
        return empty_figure(
            "These results have different queries, so they cannot be compared one by one."
        )
    keep = np.isfinite(one) & np.isfinite(two)
    one, two = one[keep], two[keep]
    if not len(one):
        return empty_figure("No query counts in both results.")
    figure = new_figure(5.2, 5.0)
    axes = dress(
        figure.add_subplot(), "Average precision of each query", names[0], names[1], grid="both"
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for mask, colour, label in (
        (two > one, SERIES[2], f"{names[1]} wins"),
        (two < one, SERIES[5], f"{names[0]} wins"),
        (two == one, FAINT, "equal"),
    ):
        axes.scatter(
            one[mask],
            two[mask],
            s=22,
            color=colour,
            alpha=0.65,
            linewidths=0,
            label=f"{label}: {int(mask.sum())}",
        )
    axes.plot(
        one.mean(),
        two.mean(),
        marker="P",
        markersize=11,
        color=INK,
        linestyle="none",
        label="mean (mAP)",
    )
    axes.set_aspect("equal")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend(axes, "lower right")
    return figure
