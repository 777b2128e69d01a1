"""Results side by side: curves, distances, cameras, identities in two dimensions, queries."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult, count_pairs
from msinet_core.retrieval.comparison import require_same_queries
from msinet_lab.figures.comparison import (
    camera_matrix,
    cmc_curves,
    distance_histograms,
    embedding_figure,
    has_both,
    map_by_camera,
    metrics_table,
    query_scatter,
    roc_curves,
    tsne,
)
from msinet_lab.figures.style import empty_figure
from msinet_lab.panels.base import Panel, dropdown, row, several, slider, table_html

VIEWS = ("CMC", "distances", "ROC", "cameras", "identities (t-SNE)", "query by query")
POINTS = 600  # images that t-SNE places at most


class ComparePanel(Panel):
    """Any number of `RetrievalResult`s by name: runs, protocols, target domains."""

    def __init__(
        self, results: Mapping[str, RetrievalResult], *, saves_to: str | Path = "figures"
    ) -> None:
        super().__init__("compare", saves_to)
        if not results:
            raise ReidError("there is no result to compare; evaluate at least one network")
        self.results = dict(results)
        names = list(self.results)
        # What takes longer than a click may wait is kept.
        self._pairs = lru_cache(32)(lambda name: count_pairs(self.results[name]))
        self._cameras = lru_cache(32)(lambda name: map_by_camera(self.results[name]))
        self._points = lru_cache(32)(self._embed)
        self.chosen = self.tag(several("results", names), "results")
        self.view = self.tag(dropdown("view", VIEWS), "view")
        self.one = self.tag(dropdown("this", names, names[0]), "one")
        self.other = self.tag(dropdown("against", names, names[-1]), "other")
        self.identities = self.tag(slider("identities", 12, 2, 40), "identities")
        self.table, self.words = self.text("table"), self.text("words")
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
    def shown(self) -> dict[str, RetrievalResult]:
        """The chosen results."""
        return {name: self.results[name] for name in self.chosen.value}

    def draw(self) -> str | None:
        shown, view = self.shown, self.view.value
        if not shown:
            raise ReidError("choose at least one result (Ctrl-click for several)")
        self.tell("table", table_html(metrics_table(shown)))
        self.tell("words", "")
        draws = [self._cmc, self._distances, self._roc]
        draws += [self._camera_matrix, self._identities, self._queries]
        draw = draws[VIEWS.index(view)]
        self.one.disabled = view not in VIEWS[3:]
        self.other.disabled = view not in VIEWS[5:]
        self.identities.disabled = view != VIEWS[4]
        self.show("picture", draw(shown))
        return None

    def _cmc(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return cmc_curves({name: result.ranking for name, result in shown.items()})

    def _distances(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return distance_histograms({name: self._pairs(name) for name in shown})

    def _roc(self, shown: Mapping[str, RetrievalResult]) -> Any:
        counted = {name: self._pairs(name) for name in shown}
        rocs = {name: pairs.roc() for name, pairs in counted.items() if has_both(pairs)}
        words = []
        for name, roc in rocs.items():
            error, at = roc.equal_error
            words.append(
                f"{html.escape(name)}: EER {100 * error:.1f} % at distance {at:.3f}: there as many "
                "non-matches are taken for matches as matches are missed"
            )
        self.tell("words", "<br>".join(words))
        return roc_curves(rocs)

    def _camera_matrix(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return camera_matrix(self._cameras(self.one.value))

    def _identities(self, shown: Mapping[str, RetrievalResult]) -> Any:
        name = self.one.value
        rows, points = self._points(name, self.identities.value)
        table = self.results[name].gallery_table.iloc[rows]
        camera = table.get("camera")
        cameras = None if camera is None or camera.isna().any() else camera
        title = f"Gallery features of {name}"
        return embedding_figure(points, table["identity"], cameras, title)

    def _embed(self, name: str, identities: int) -> tuple[np.ndarray, np.ndarray]:
        """Gallery rows of the identities with most images, and their places."""
        result = self.results[name]
        protocol, labels = result.protocol, result.gallery_table["identity"]
        out = [*protocol.junk_identities, *protocol.distractor_identities]
        most = labels[~labels.isin(out)].value_counts().index[:identities]
        rows = np.flatnonzero(labels.isin(most).to_numpy(bool))[:POINTS]
        return rows, tsne(result.gallery_features[rows])

    def _queries(self, shown: Mapping[str, RetrievalResult]) -> Any:
        names = self.one.value, self.other.value
        one, other = (self.results[name] for name in names)
        try:
            require_same_queries(one, other)
        except ReidError as error:
            return empty_figure(str(error))
        first, second = (np.asarray(each.ranking.average_precision) for each in (one, other))
        gain = pd.Series(second - first).dropna().sort_values()
        parts = [
            ", ".join(f"{query} ({100 * value:+.0f})" for query, value in part.items())
            for part in (gain.iloc[::-1][:5], gain.iloc[:5])
        ]
        words = f"largest gains of {html.escape(names[1])} in AP points: queries {parts[0]}"
        self.tell("words", f"{words}<br>largest losses: {parts[1]}")
        return query_scatter(names, first, second)
