"""Results side by side: curves, distances, cameras, identities in two dimensions, and query against
query.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_lab.figures.comparison import (
    balanced_threshold,
    map_by_camera,
    metrics_table,
    pair_distances,
    query_scatter,
    roc,
)
from msinet_lab.figures.retrieval import (
    camera_matrix,
    cmc_curves,
    distance_histograms,
    embedding_figure,
    roc_curves,
    tsne,
)
from msinet_lab.panels.base import Panel, dropdown, row, slider, table_html

VIEWS = ("CMC", "distances", "ROC", "cameras", "identities (t-SNE)", "query by query")
POINTS = 600  # images that t-SNE places at most


class ComparePanel(Panel):
    """Any number of `RetrievalResult`s by name: runs, protocols, target domains."""

    def __init__(self, results: Mapping[str, Any], *, saves_to: str | Path = "figures") -> None:
        super().__init__("compare", saves_to)
        if not results:
            raise ReidError("there is no result to compare; evaluate at least one network")
        self.results = dict(results)
        names = list(self.results)
        # What takes longer than a click may wait is kept.
        self._pairs = lru_cache(maxsize=32)(lambda name: pair_distances(self.results[name]))
        self._cameras = lru_cache(maxsize=32)(lambda name: map_by_camera(self.results[name]))
        self._points = lru_cache(maxsize=32)(self._embed)
        self.chosen = self.tag(
            widgets.SelectMultiple(
                options=names, value=names, description="results", rows=min(6, len(names) + 1)
            ),
            "results",
        )
        self.view = self.tag(dropdown("view", VIEWS), "view")
        self.one = self.tag(dropdown("this", names, names[0]), "one")
        self.other = self.tag(dropdown("against", names, names[-1]), "other")
        self.identities = self.tag(slider("identities", 12, 2, 40), "identities")
        self.table, self.words = (
            self.tag(widgets.HTML(), "table"),
            self.tag(widgets.HTML(), "words"),
        )
        self.picture("picture")
        self.children = (
            row(self.chosen, self.table),
            row(self.view, self.one, self.other, self.identities, self.save_button()),
            self.words,
            self.pictures["picture"],
            self.status,
        )
        self.react([self.chosen, self.view, self.one, self.other, self.identities])
        self.attempt(self.draw)

    @property
    def shown(self) -> dict[str, Any]:
        """The chosen results."""
        return {name: self.results[name] for name in self.chosen.value}

    def draw(self) -> str | None:
        if not self.shown:
            raise ReidError("choose at least one result (Ctrl-click for several)")
        self.table.value = table_html(metrics_table(self.shown))
        self.words.value = ""
        draw = {
            "CMC": self._cmc,
            "distances": self._distances,
            "ROC": self._roc,
            "cameras": self._camera_matrix,
            "identities (t-SNE)": self._identities,
            "query by query": self._queries,
        }
        for control, views in (
            (self.one, VIEWS[3:]),
            (self.other, VIEWS[5:]),
            (self.identities, VIEWS[4:5]),
        ):
            control.disabled = self.view.value not in views
        self.show("picture", draw[self.view.value]())
        return None

    def _cmc(self) -> Any:
        return cmc_curves({name: result.ranking for name, result in self.shown.items()})

    def _distances(self) -> Any:
        return distance_histograms({name: self._pairs(name) for name in self.shown})

    def _roc(self) -> Any:
        curves, words = {}, []
        for name in self.shown:
            right, wrong = self._pairs(name)
            curves[name] = roc(right, wrong)[:2]
            at, false, true = balanced_threshold(right, wrong)
            words.append(
                f"{name}: errors balance at distance {at:.3f} ({100 * false:.1f} % of wrong pairs taken, "
                f"{100 * (1 - true):.1f} % of right pairs missed)"
            )
        self.words.value = "<br>".join(words)
        return roc_curves(curves)

    def _camera_matrix(self) -> Any:
        return camera_matrix(self._cameras(self.one.value))

    def _identities(self) -> Any:
        rows, points = self._points(self.one.value, self.identities.value)
        table = self.results[self.one.value].gallery_table.iloc[rows]
        cameras = None if table["camera"].isna().any() else table["camera"]
        return embedding_figure(
            points, table["identity"], cameras, f"Gallery features of {self.one.value}"
        )

    def _embed(self, name: str, identities: int) -> tuple[np.ndarray, np.ndarray]:
        result = self.results[name]
        table, out = (
            result.gallery_table,
            [*result.protocol.junk_identities, *result.protocol.distractor_identities],
        )
        counts = table.loc[~table["identity"].isin(out), "identity"].value_counts(sort=True)
        rows = np.flatnonzero(table["identity"].isin(counts.index[:identities]).to_numpy(bool))[
            :POINTS
        ]
        return rows, tsne(result.gallery_features[rows])

    def _queries(self) -> Any:
        names = self.one.value, self.other.value
        first, second = (np.asarray(self.results[name].ranking.average_precision) for name in names)
        if first.shape == second.shape:
            gain = pd.Series(second - first).dropna().sort_values()
            best = ", ".join(
                f"{query} ({100 * value:+.0f})" for query, value in gain.iloc[::-1][:5].items()
            )
            worst = ", ".join(
                f"{query} ({100 * value:+.0f})" for query, value in gain.iloc[:5].items()
            )
            self.words.value = f"largest gains of {names[1]} in AP points: queries {best}<br>largest losses: {worst}"
        return query_scatter(names, first, second)
