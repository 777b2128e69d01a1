"""Which queries a panel goes through: by identity, camera, AP, any further column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from msinet_core.retrieval import RetrievalResult
from msinet_lab.panels.base import ANY, LABEL, Panel, dropdown, row

KNOWN = ("path", "identity", "camera", "split")
EVERY, MISSED, UNMATCHED = "all queries", "first is a non-match", "without a match"
WHOLE = (0.0, 100.0)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a query; what does not matter is None."""

    which: str = EVERY
    identity: Any = None
    camera: Any = None
    precision: tuple[float, float] = WHOLE  # AP, per cent
    column: str | None = None
    value: Any = None

    def mask(self, result: RetrievalResult) -> np.ndarray:
        """Queries (bool, Q) of a result that are wanted."""
        table, ranking = result.query_table, result.ranking
        percent = 100 * np.asarray(ranking.average_precision, float)
        keep = {
            EVERY: np.ones(len(table), bool),
            MISSED: np.asarray(ranking.first_match_rank) > 1,
            UNMATCHED: ~np.isfinite(percent),
        }[self.which]
        low, high = self.precision
        if (low, high) != WHOLE:
            with np.errstate(invalid="ignore"):
                keep &= (percent >= low) & (percent <= high)
        pairs = ("identity", self.identity), ("camera", self.camera), (self.column, self.value)
        for column, value in pairs:
            if column is not None and value is not None:
                keep &= (table[column] == value).to_numpy(bool)
        return keep


class QueryFilter:
    """The controls of `Wanted` in a panel, folded until they are wanted."""

    def __init__(self, panel: Panel, table: pd.DataFrame) -> None:
        self.table = table
        self.which = panel.tag(dropdown("show", (EVERY, MISSED, UNMATCHED)), "which")
        identities = pd.unique(table["identity"])
        self.identity = panel.tag(dropdown("identity", named("(any)", identities)), "identity")
        cameras = table.get("camera", pd.Series(dtype=object)).dropna().unique()
        options = named("(any)", sorted(cameras, key=str))
        self.camera = panel.tag(dropdown("query camera", options, width="200px"), "query-camera")
        layout = widgets.Layout(width="340px")
        look: Any = {"min": 0, "max": 100, "step": 1, "layout": layout, "style": LABEL}
        look |= {"readout_format": ".0f", "continuous_update": False}
        made = widgets.FloatRangeSlider(value=WHOLE, description="AP in %", **look)
        self.precision = panel.tag(made, "precision")
        further = [str(name) for name in table if name not in KNOWN]
        self.column = panel.tag(dropdown("column", named("(any)", further)), "column")
        self.value = panel.tag(dropdown("is", named("(any)", [])), "value")
        for one in (self.column, self.value):
            one.layout.display = None if further else "none"
        self.column.observe(self._offer, names="value")
        self.controls = [self.which, self.identity, self.camera, self.precision]
        self.controls += [self.column, self.value]
        self.box = widgets.Accordion(
            [row(*self.controls)], titles=("Which queries",), selected_index=None
        )

    def _offer(self, _: Any) -> None:
        """The values of the chosen column."""
        column = self.column.value
        values = [] if column is ANY else pd.unique(self.table[column].dropna()).tolist()
        self.value.options = named("(any)", sorted(values, key=str))

    def wanted(self) -> Wanted:
        """Every control, read once."""

        def given(control: Any) -> Any:
            return None if control.value is ANY else control.value

        column = given(self.column)
        value = None if column is None else given(self.value)
        precision = self.precision.value
        identity, camera = given(self.identity), given(self.camera)
        return Wanted(self.which.value, identity, camera, precision, column, value)


def named(words: str, names: Any) -> list[tuple[str, Any]]:
    """Options of a dropdown, the first for all of them."""
    return [(words, ANY), *((str(name), name) for name in names)]


def failures(result: RetrievalResult, queries: np.ndarray) -> pd.DataFrame:
    """A row for each of the queries whose nearest gallery image is none of its matches, with that
    image; those without a match have no first match.
    """
    ranking, rows = result.ranking, []
    for query in queries.tolist():
        if ranking.first_match_rank[query] == 1 and np.isfinite(ranking.average_precision[query]):
            continue
        head, own = result.rank_list(query, 1), result.query_table.iloc[query]
        first = head.gallery_index[:1]
        nearest = result.gallery_table.iloc[first[0]] if len(first) else None
        row = {"query": query + 1, **own.drop("split", errors="ignore")}
        row["AP in %"] = round(100 * float(ranking.average_precision[query]), 2)
        rank = int(ranking.first_match_rank[query])
        row["first match at rank"] = rank if rank > 0 else None
        for name in ("path", "identity", "camera"):
            if nearest is not None and name in nearest:
                row[f"nearest {name}"] = nearest[name]
        rows.append(row)
    return pd.DataFrame(rows)
