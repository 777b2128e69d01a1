"""Pictures of a ranking: galleries, rank lists, CMC, distances, ROC, embedded identities, cameras.

`Listing` is what a gallery shows of one query; `list_gallery` makes it from a `RetrievalResult`, so
that what is shown is what was scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msinet_lab.figures.style import (
    FAINT,
    INK,
    MATCH_COLOURS,
    SERIES,
    bare,
    dress,
    empty_figure,
    legend,
    new_figure,
)
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet, stack

BLUES = "Blues"


@dataclass(frozen=True)
class Listing:
    """The head of one query's gallery, nearest first: k rows of the gallery table and how each
    counts.
    """

    query: int
    rows: np.ndarray  # k, rows of the gallery table
    distances: np.ndarray  # k
    kinds: tuple[str, ...]  # k: right, wrong or junk
    ranks: tuple[int | None, ...]  # k, from 1; None for junk, which has no rank


def junk_rows(result: Any, query: int) -> np.ndarray:
    """Gallery rows that the protocol removes for this query: junk identities, own identity by the
    same camera.
    """
    table, probe = result.gallery_table, result.query_table.iloc[query]
    removed = table["identity"].isin(list(result.protocol.junk_identities)).to_numpy(bool)
    if (
        result.protocol.exclude_same_camera
        and "camera" in table
        and not pd.isna(probe.get("camera"))
    ):
        same = (table["identity"] == probe["identity"]) & (table["camera"] == probe["camera"])
        removed = removed | same.fillna(False).to_numpy(bool)
    return np.flatnonzero(removed)


def _distances(result: Any, query: int, rows: np.ndarray) -> np.ndarray:
    """Euclidean distances between the L2-normalised features of one query and some gallery rows."""

    def unit(features: Any) -> np.ndarray:
        array = np.asarray(features, dtype=np.float64)
        return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)

    cosine = unit(result.gallery_features[rows]) @ unit(result.query_features[query])
    return np.sqrt(np.maximum(2 - 2 * cosine, 0))


def list_gallery(
    result: Any,
    query: int,
    k: int = 20,
    *,
    camera: Any = None,
    errors_only: bool = False,
    with_junk: bool = False,
) -> Listing:
    """The k nearest gallery images of a query as scored, optionally of one camera, errors only, or
    with junk.

    `result` is a `RetrievalResult`. Ranks are those of the full list, whatever is filtered.
    """
    size = len(result.gallery_table)
    wanted = k
    while True:  # filters thin the list out, so look deeper until k are left or the gallery ends
        head = result.rank_list(query, min(wanted, size))
        rows, right = np.asarray(head.gallery_index), np.asarray(head.is_match, bool)
        keep = np.ones(len(rows), bool)
        if camera is not None:
            keep &= (result.gallery_table["camera"].iloc[rows] == camera).to_numpy(bool)
        if errors_only:
            keep &= ~right
        if keep.sum() >= k or wanted >= size:
            break
        wanted *= 4
    place = np.flatnonzero(keep)[:k]
    entries = [
        (float(head.distance[p]), int(rows[p]), "right" if right[p] else "wrong", int(p) + 1)
        for p in place
    ]
    if with_junk:
        entries = _with_junk(result, query, entries, k, camera)
    return Listing(
        query,
        np.array([row for _, row, _, _ in entries], dtype=np.int64),
        np.array([distance for distance, _, _, _ in entries]),
        tuple(kind for _, _, kind, _ in entries),
        tuple(rank for _, _, _, rank in entries),
    )


def _with_junk(result: Any, query: int, entries: list[Any], k: int, camera: Any) -> list[Any]:
    rows = junk_rows(result, query)
    if camera is not None:
        rows = rows[(result.gallery_table["camera"].iloc[rows] == camera).to_numpy(bool)]
    junk = [
        (float(distance), int(row), "junk", None)
        for row, distance in zip(rows, _distances(result, query, rows), strict=True)
    ]
    return sorted([*entries, *junk], key=lambda entry: (entry[0], entry[1]))[:k]


def _words(table: pd.DataFrame, row: int) -> str:
    """`id 12 · cam 3`, or without the camera where there is none."""
    line = table.iloc[row]
    camera = line.get("camera")
    return f"id {line['identity']}" + (
        "" if camera is None or pd.isna(camera) else f" · cam {camera}"
    )


def shelves(
    result: Any, root: Any, height: int = 128, width: int = 64, keep: int = 512
) -> tuple[PhotoShelf, PhotoShelf]:
    """The photographs of a result's queries and gallery, read from `root` when asked for."""
    return (
        PhotoShelf(root, result.query_table["path"], height, width, keep),
        PhotoShelf(root, result.gallery_table["path"], height, width, keep),
    )


def gallery_image(
    result: Any,
    listing: Listing,
    query_photos: Any,
    gallery_photos: Any,
    *,
    columns: int = 10,
    captions: bool = True,
) -> np.ndarray:
    """The query and its gallery as one uint8 image: blue query, then right, wrong and junk with a
    mark each.

    `query_photos[i]` and `gallery_photos[i]` give row i's photograph, H x W x 3 uint8 (a
    `PhotoShelf`).
    """

    def words(first: str, table: pd.DataFrame, row: int) -> tuple[str, ...]:
        return (first, _words(table, row)) if captions else ()

    tiles = [
        Tile(
            query_photos[listing.query],
            "query",
            words(f"query {listing.query}", result.query_table, listing.query),
        )
    ]
    for row, distance, kind, rank in zip(
        listing.rows, listing.distances, listing.kinds, listing.ranks, strict=True
    ):
        first = f"{'junk' if rank is None else rank} · {distance:.3f}"
        tiles.append(Tile(gallery_photos[row], kind, words(first, result.gallery_table, row)))
    return sheet(tiles, columns, lead=True)


def best_and_worst(average_precision: Any, count: int = 5) -> list[int]:
    """Row numbers of the `count` queries of highest AP and the `count` of lowest, best first; NaN
    left out.
    """
    values = np.asarray(average_precision, dtype=float)
    order = np.argsort(-values, kind="stable")
    order = order[np.isfinite(values[order])]
    if len(order) <= 2 * count:
        return [int(row) for row in order]
    return [int(row) for row in (*order[:count], *order[-count:])]


def rank_list_figure(
    result: Any,
    query_photos: Any,
    gallery_photos: Any,
    queries: Sequence[int] | None = None,
    k: int = 10,
) -> Figure:
    """Rank lists of several queries below each other, by default the five best and the five worst
    by AP.
    """
    precision = np.asarray(result.ranking.average_precision, dtype=float)
    first = np.asarray(result.ranking.first_match_rank)
    chosen = best_and_worst(precision) if queries is None else list(queries)
    if not chosen:
        return empty_figure(
            "No query has a match in the gallery, so there is no rank list to show."
        )
    rows = [
        gallery_image(
            result, list_gallery(result, query, k), query_photos, gallery_photos, columns=k
        )
        for query in chosen
    ]
    picture = stack(rows)
    figure = Figure(
        figsize=((picture.shape[1] + 150) / 100, (picture.shape[0] + 44) / 100),
        dpi=100,
        facecolor="white",
    )
    width, height = figure.get_figwidth() * 100, figure.get_figheight() * 100
    axes = bare(
        figure.add_axes((140 / width, 0, picture.shape[1] / width, picture.shape[0] / height))
    )
    axes.imshow(picture, interpolation="none")
    top = 0
    for query, image in zip(chosen, rows, strict=True):
        text = f"AP {100 * precision[query]:.1f} %\nfirst match {first[query]}"
        axes.text(
            -12,
            top + image.shape[0] / 2,
            text,
            ha="right",
            va="center",
            fontsize=9,
            color=INK,
            clip_on=False,
        )
        top += image.shape[0] + 4
    title = (
        "Rank lists" if queries is not None else "Queries of highest and lowest average precision"
    )
    figure.text(0.01, 1 - 14 / height, title, fontsize=12, fontweight="bold", color=INK, va="top")
    return figure


def cmc_curves(rankings: Mapping[str, Any], ranks: int = 20) -> Figure:
    """Share of queries with a match among the first k, a line a result; the mAP is in the legend."""
    figure = new_figure(6.4, 3.8)
    axes = dress(
        figure.add_subplot(),
        "Cumulative matching characteristic",
        "rank k",
        "share of queries",
        grid="both",
    )
    for place, (name, ranking) in enumerate(rankings.items()):
        curve = np.asarray(ranking.cmc)[:ranks]
        if np.isfinite(curve).any():
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                color=SERIES[place % len(SERIES)],
                linewidth=2,
                marker="o",
                markersize=3.5,
                label=f"{name} (mAP {100 * ranking.mean_average_precision:.1f} %)",
            )
    if not axes.lines:
        return empty_figure("No query counts under this protocol, so there is no curve.")
    axes.set_ylim(min(0.98, axes.get_ylim()[0]), 1.005)
    axes.set_xticks([1, *range(5, ranks + 1, 5)])
    legend(axes, "lower right")
    return figure


def distance_histograms(
    pairs: Mapping[str, tuple[Any, Any]], threshold: float | None = None
) -> Figure:
    """Distances between pairs of the same identity and of different ones, an axes a result.

    `pairs[name]` = (distances of right pairs, distances of wrong pairs), any lengths.
    """
    if not pairs:
        return empty_figure("No distances to show.")
    figure = new_figure(5.4 * min(2, len(pairs)), 2.8 * -(-len(pairs) // 2))
    grid = figure.subplots(-(-len(pairs) // 2), min(2, len(pairs)), squeeze=False, sharex=True)
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    for axes, (name, (right, wrong)) in zip(grid.flat, pairs.items(), strict=False):
        dress(axes, name, "distance", "density")
        bins = np.histogram_bin_edges(
            np.concatenate([np.ravel(right), np.ravel(wrong), [0.0, 1.0]]), 60
        ).tolist()
        for values, kind, label in (
            (wrong, "wrong", "different identities"),
            (right, "right", "same identity"),
        ):
            if len(values):
                axes.hist(values, bins=bins, density=True, color=MATCH_COLOURS[kind], alpha=0.35)
                axes.hist(
                    values,
                    bins=bins,
                    density=True,
                    histtype="step",
                    color=MATCH_COLOURS[kind],
                    linewidth=1.6,
                    label=label,
                )
        if threshold is not None:
            axes.axvline(
                threshold,
                color=INK,
                linewidth=1.2,
                linestyle="--",
                label=f"threshold {threshold:.2f}",
            )
        legend(axes, "upper left")
    return figure


def roc_curves(
    curves: Mapping[str, tuple[Any, Any]], point: tuple[float, float] | None = None
) -> Figure:
    """True against false positive rate of "same identity", false rates on a logarithmic axis.

    `curves[name]` = (false positive rates, true positive rates); `point` marks a chosen threshold.
    """
    figure = new_figure(6.4, 3.8)
    axes = dress(
        figure.add_subplot(),
        "Same or different: ROC",
        "false positive rate",
        "true positive rate",
        grid="both",
    )
    for place, (name, (false, true)) in enumerate(curves.items()):
        false, true = np.asarray(false, float), np.asarray(true, float)
        keep = false > 0
        if keep.any():
            axes.plot(
                false[keep], true[keep], color=SERIES[place % len(SERIES)], linewidth=2, label=name
            )
    if not axes.lines:
        return empty_figure("There are not enough pairs for an ROC curve.")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    if point is not None:
        axes.plot(
            *point,
            marker="o",
            color=INK,
            markersize=7,
            linestyle="none",
            label="suggested threshold",
        )
    legend(axes, "lower right")
    return figure


def tsne(features: Any, seed: int = 0) -> np.ndarray:
    """N x D features in two dimensions (N x 2), by t-SNE on L2-normalised features; few points are
    spread by PCA.
    """
    values = np.asarray(features, dtype=np.float64)
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    if len(values) < 5:
        centred = values - values.mean(0, keepdims=True)
        return np.pad(
            (centred @ np.linalg.svd(centred, full_matrices=False)[2].T)[:, :2], ((0, 0), (0, 2))
        )[:, :2]
    from sklearn.manifold import TSNE

    return TSNE(
        2, perplexity=min(30, (len(values) - 1) / 3), init="pca", random_state=seed
    ).fit_transform(values)


def embedding_figure(points: Any, identities: Any, cameras: Any = None, title: str = "") -> Figure:
    """Points in two dimensions (N x 2), a colour an identity (repeating beyond eight), a shape a
    camera.
    """
    points, names = np.asarray(points), pd.Series(list(identities))
    if len(points) == 0:
        return empty_figure("No images to embed.")
    figure = new_figure(6.4, 5.2)
    axes = bare(figure.add_subplot(), title)
    shapes = "osD^vP*X"
    views = pd.Series(["all"] * len(names) if cameras is None else list(cameras)).astype(str)
    colour_of = {name: SERIES[place % len(SERIES)] for place, name in enumerate(pd.unique(names))}
    for place, view in enumerate(sorted(views.unique())):
        part = (views == view).to_numpy()
        axes.scatter(
            points[part, 0],
            points[part, 1],
            s=34,
            marker=shapes[place % len(shapes)],
            linewidths=0.5,
            c=[colour_of[name] for name in names[part]],
            edgecolors="white",
        )
        if (
            cameras is not None
        ):  # a grey twin off the page, so that the legend shows shapes and no colour
            axes.scatter(
                [], [], s=34, marker=shapes[place % len(shapes)], c=FAINT, label=f"camera {view}"
            )
    for name in pd.unique(names)[:40]:
        middle = np.median(points[(names == name).to_numpy()], axis=0)
        axes.annotate(
            str(name),
            middle,
            fontsize=8,
            color=INK,
            ha="center",
            va="center",
            fontweight="bold",
            bbox={
                "boxstyle": "round,pad=0.15",
                "facecolor": "white",
                "alpha": 0.75,
                "linewidth": 0,
            },
        )
    legend(axes, "best", columns=2)
    return figure


def camera_matrix(
    table: pd.DataFrame, title: str = "mAP by query camera (row) and gallery camera (column)"
) -> Figure:
    """A table of shares (0..1, NaN where nothing counts), rows and columns cameras, as an annotated
    heatmap.
    """
    values = table.to_numpy(dtype=float)
    if values.size == 0 or not np.isfinite(values).any():
        return empty_figure("This data has no cameras to compare.")
    figure = new_figure(1.9 + 0.62 * values.shape[1], 1.3 + 0.46 * values.shape[0])
    axes = figure.add_subplot()
    axes.imshow(np.ma.masked_invalid(values), cmap=BLUES, vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("#F2F3F5")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        axes.text(
            column,
            row,
            f"{100 * value:.0f}" if np.isfinite(value) else "–",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if value > 0.55 else INK,
        )
    axes.set_xticks(range(values.shape[1]), [str(name) for name in table.columns])
    axes.set_yticks(range(values.shape[0]), [str(name) for name in table.index])
    axes.tick_params(length=0, labelsize=9, colors=FAINT)
    axes.set_title(title, fontsize=10, color=INK, loc="left", wrap=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
