"""One result on the page: protocol, data card, cameras, best and worst rank lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.comparison import map_by_camera
from msinet_lab.figures.elements import Html, shaded, table, tag
from msinet_lab.figures.retrieval import list_gallery, shelves
from msinet_lab.figures.sheets import rank_list
from msinet_lab.report.subjects import Subject

DEEP = 10  # entries of a rank list
MOST_CAMERAS = 12  # a matrix of more is no picture any more
MOST_GROUPS = 40


def result_part(subject: Subject, lists: int) -> Html:
    """Everything about one result but its metrics, which stand beside those of the others."""
    result = subject.result
    assert result is not None
    return tag(
        "div",
        tag("h3", "Protocol"),
        tag("p", str(result.protocol)),
        _reranked(result),
        tag("p", subject.about) if subject.about else None,
        tag("h3", "Data"),
        data_card(subject),
        _cameras(result),
        _rank_lists(result, subject.root, lists),
    )


def _reranked(result: RetrievalResult) -> Html | None:
    if result.reranked_by is None:
        return None
    words = "Re-ranked with k1 {}, k2 {}, lambda {}.".format(*result.reranked_by)
    return tag("p", words)


def data_card(subject: Subject) -> Html:
    """Images, identities and cameras of each side; further columns; what the source remarked."""
    assert subject.result is not None
    dataset = subject.dataset
    parts = {"train": dataset.train} if dataset is not None and len(dataset.train) else {}
    parts |= {"query": subject.result.query_table, "gallery": subject.result.gallery_table}
    rows = [
        [side, f"{len(part):,}", f"{part['identity'].nunique():,}", _count(part, "camera")]
        for side, part in parts.items()
    ]
    known = ("path", "identity", "camera", "split")
    gallery = parts["gallery"]
    more = [f"{name} ({gallery[name].nunique():,})" for name in gallery if name not in known]
    notes = [] if dataset is None else dataset.notes
    return tag(
        "div",
        tag("p", dataset.name) if dataset is not None else None,
        table(("", "images", "identities", "cameras"), rows),
        tag("p", f"Further columns, with their values: {', '.join(more)}.") if more else None,
        [tag("p", note, class_="faint") for note in notes],
    )


def _count(part: pd.DataFrame, name: str) -> str:
    known = name in part and part[name].notna().any()
    return f"{part[name].nunique():,}" if known else "none"


def _cameras(result: RetrievalResult) -> Html | None:
    """Metrics of each query camera, and of each pair of cameras."""
    tables = result.query_table, result.gallery_table
    if any("camera" not in one or one["camera"].isna().any() for one in tables):
        return None
    found = result.breakdown("camera")
    rows = [
        [name, f"{one['queries']:.0f}", f"{one['counted']:.0f}", *map(_percent, one.iloc[2:])]
        for name, one in found.head(MOST_GROUPS).iterrows()
    ]
    head = ("query camera", "queries", "count", "mAP", "rank-1", "mINP")
    left_out = len(found) - len(rows)
    return tag(
        "div",
        tag("h3", "Cameras"),
        tag(
            "div",
            table(head, rows),
            _matrix(map_by_camera(result)) if len(found) <= MOST_CAMERAS else None,
            class_="side",
        ),
        tag("p", f"{left_out} more cameras are not shown.") if left_out else None,
    )


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}" if np.isfinite(value) else "–"


def _matrix(pairs: pd.DataFrame) -> Html | None:
    """mAP of each pair of cameras as a table in colours."""
    if pairs.empty:
        return None
    rows = [
        [tag("th", name, scope="row"), *(_shade(value) for value in row)]
        for name, row in zip(pairs.index, pairs.to_numpy(float), strict=True)
    ]
    words = "mAP in %, query camera (rows) against gallery camera (columns)"
    made = table(("", *pairs.columns), rows, class_="heat")
    return tag("div", tag("p", words, class_="faint"), made)


def _shade(value: float) -> Html:
    if not np.isfinite(value):
        return tag("td", "–")
    return shaded(f"{100 * value:.0f}", value)


def _rank_lists(result: RetrievalResult, root: Path | None, count: int) -> Html | None:
    """The queries of highest and of lowest AP, each with the head of its gallery."""
    if not count or not result.ranking.num_counted:
        return None
    best, worst = result.easiest(count).index, result.hardest(count).index
    photos = None if root is None else shelves(result, root)
    there = "" if root is not None else " Photographs: name their folder with --root."
    note = f"Nearest first; a frame and a mark tell matches from non-matches.{there}"
    return tag(
        "div",
        tag("h3", "Best queries"),
        tag("p", note, class_="faint"),
        [_rank_list(result, int(query), photos) for query in best],
        tag("h3", "Worst queries"),
        [_rank_list(result, int(query), photos) for query in worst],
    )


def _rank_list(result: RetrievalResult, query: int, photos: Any) -> Html:
    ranking = result.ranking
    words = (
        f"Query {query + 1}: AP {100 * ranking.average_precision[query]:.1f} %, first match at "
        f"rank {ranking.first_match_rank[query]}, {ranking.num_matches[query]} matches"
    )
    listing = list_gallery(result, query, DEEP)
    return tag("div", tag("p", words), rank_list(result, listing, photos))
