"""Results side by side: curves, distances, cameras, identities in two dimensions, queries."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    RetrievalResult,
    compare,
    count_pairs,
    open_set,
    require_same_queries,
)
from msinet_lab.figures.comparison import (
    camera_matrix,
    cmc_curves,
    distance_histograms,
    embedding_figure,
    has_both,
    map_by_camera,
    metrics_table,
    open_set_curves,
    query_scatter,
    roc_curves,
    tsne,
)
from msinet_lab.figures.retrieval import gallery_image, list_gallery, shelves
from msinet_lab.figures.tiles import stack
from msinet_lab.panels.base import Panel, dropdown, row, several, slider, table_html

VIEWS = ("CMC", "distances", "ROC", "open set", "cameras", "identities (t-SNE)", "query by query")
LISTS = "rank lists"  # where the photographs are known
POINTS = 600  # images that t-SNE places at most
STRANGERS = 0.5  # share of the identities that an open set does not know
DRAWS = 2000  # of the bootstrap
LISTED = 8  # gallery images of a rank list


class ComparePanel(Panel):
    """Any number of `RetrievalResult`s by name: runs, protocols, target domains.

    root: folder of the photographs (one for all, or one for each result), for rank lists of one
    query in every network.
    """

    def __init__(
        self,
        results: Mapping[str, RetrievalResult],
        *,
        root: str | Path | Mapping[str, str | Path] | None = None,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("compare", saves_to)
        if not results:
            raise ReidError("there is no result to compare; evaluate at least one network")
        self.results, self.root = dict(results), root
        names = list(self.results)
        # What takes longer than a click may wait is kept.
        self._pairs = lru_cache(32)(lambda name: count_pairs(self.results[name]))
        self._cameras = lru_cache(32)(lambda name: map_by_camera(self.results[name]))
        self._points = lru_cache(32)(self._embed)
        self._order = lru_cache(32)(self._by_difference)
        self._photos = lru_cache(32)(self._open_photos)
        self.chosen = self.tag(several("results", names), "results")
        views = VIEWS if root is None else (*VIEWS, LISTS)
        self.view = self.tag(dropdown("view", views), "view")
        self.one = self.tag(dropdown("this", names, names[0]), "one")
        alike = [name for name in names[1:] if self._same_queries(names[0], name)]
        self.other = self.tag(dropdown("against", names, [*alike, names[-1]][0]), "other")
        self.identities = self.tag(slider("identities", 12, 2, 40), "identities")
        last = max(len(result.query_table) for result in self.results.values()) - 1
        self.query = self.tag(slider("query", 0, 0, last), "query")
        self.table, self.words = self.text("table"), self.text("words")
        self.picture("picture")
        self.children = (
            row(self.chosen, self.table),
            row(self.view, self.one, self.other, self.identities, self.query, self.save_button()),
            self.words,
            self.pictures["picture"],
            self.status,
        )
        controls = [self.chosen, self.view, self.one, self.other, self.identities, self.query]
        self.react(controls)
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
        draws = [self._cmc, self._distances, self._roc, self._open_set]
        draws += [self._camera_matrix, self._identities, self._queries, self._rank_lists]
        draw = draws[(*VIEWS, LISTS).index(view)]
        self.one.disabled = view in VIEWS[:4]
        self.other.disabled = view not in (VIEWS[6], LISTS)
        self.identities.disabled = view != VIEWS[5]
        self.query.disabled = view != LISTS
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

    def _open_photos(self, name: str) -> tuple[Any, Any]:
        assert self.root is not None
        root = self.root[name] if isinstance(self.root, Mapping) else self.root
        return shelves(self.results[name], root)

    def _embed(self, name: str, identities: int) -> tuple[np.ndarray, np.ndarray]:
        """Gallery rows of the identities with most images, and their places."""
        result = self.results[name]
        protocol, labels = result.protocol, result.gallery_table["identity"]
        out = [*protocol.junk_identities, *protocol.distractor_identities]
        most = labels[~labels.isin(out)].value_counts().index[:identities]
        rows = np.flatnonzero(labels.isin(most).to_numpy(bool))[:POINTS]
        return rows, tsne(result.gallery_features[rows])

    def _open_set(self, shown: Mapping[str, RetrievalResult]) -> Any:
        share = STRANGERS
        self.tell(
            "words",
            f"gallery entries of {100 * share:.0f} % of the identities are taken out, which makes "
            "strangers of their queries: how many others are found, at which rate of false alarms",
        )
        return open_set_curves({name: open_set(result, share) for name, result in shown.items()})

    def _pair(self) -> dict[str, RetrievalResult]:
        """The two results to be set against each other; `ReidError` where that cannot be."""
        names = self.one.value, self.other.value
        if names[0] == names[1]:
            raise ReidError("choose two different results to set against each other")
        require_same_queries(*(self.results[name] for name in names))
        return {name: self.results[name] for name in names}

    def _same_queries(self, one: str, other: str) -> bool:
        try:
            require_same_queries(self.results[one], self.results[other])
        except ReidError:
            return False
        return True

    def _queries(self, shown: Mapping[str, RetrievalResult]) -> Any:
        pair = self._pair()
        found = compare(*pair.values(), draws=DRAWS)
        gain = found.table["difference"].sort_values()
        parts = [
            ", ".join(f"{query} ({100 * value:+.0f})" for query, value in part.items())
            for part in (gain.iloc[::-1][:5], gain.iloc[:5])
        ]
        low, high = (100 * end for end in found.interval)
        words = (
            f"mAP {100 * found.difference:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}), "
            f"{found.better} queries won, {found.worse} lost",
            f"largest gains of {html.escape(self.other.value)} in AP points: queries {parts[0]}",
            f"largest losses: {parts[1]}",
        )
        self.tell("words", "<br>".join(words))
        return query_scatter(pair)

    def _rank_lists(self, shown: Mapping[str, RetrievalResult]) -> Any:
        """One query's rank list in every chosen result; queries where the two networks differ most
        come first.
        """
        if self.root is None:
            raise ReidError("rank lists need the photographs: ComparePanel(results, root=FOLDER)")
        first = self.results[self.one.value]
        others = [name for name in shown if not self._same_queries(self.one.value, name)]
        shown = {name: result for name, result in shown.items() if name not in others}
        if not shown:
            raise ReidError(f"no chosen result has the queries of {self.one.value!r}; choose one")
        places = self._order(*self._pair()) if self.one.value != self.other.value else None
        order = np.arange(len(first.query_table)) if places is None else places
        query = int(order[min(self.query.value, len(order) - 1)])
        sheets, words = [], []
        for name, result in shown.items():
            listing = list_gallery(result, query, LISTED)
            photos = self._photos(name)
            sheets.append(gallery_image(result, listing, *photos, columns=LISTED))
            precision = result.ranking.average_precision[query]
            words.append(f"{html.escape(name)}: AP {100 * precision:.1f} %")
        path = html.escape(str(first.query_table["path"].iloc[query]))
        told = [f"query {query} ({path}), from above: " + " · ".join(words)]
        if others:
            told.append(f"not shown, as their queries are others: {html.escape(', '.join(others))}")
        self.tell("words", "<br>".join(told))
        return stack(sheets)

    def _by_difference(self, one: str, other: str) -> np.ndarray:
        """All queries, those first whose AP differs most between two results."""
        precision = [self.results[name].ranking.average_precision for name in (one, other)]
        return np.argsort(-np.abs(np.nan_to_num(precision[1] - precision[0])), kind="stable")
