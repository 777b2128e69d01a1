"""Results side by side: curves, distances, cameras, identities in two dimensions, queries."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Comparison,
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
from msinet_lab.figures.elements import table, tag, together
from msinet_lab.figures.retrieval import Listing, list_gallery, rank_list_figure, shelves
from msinet_lab.figures.sheets import rank_list
from msinet_lab.figures.tiles import Chosen
from msinet_lab.panels.base import Panel, dropdown, row, several, slider, table_html
from msinet_lab.panels.networks import as_query
from msinet_lab.panels.scatter import scatter_map

VIEWS = ("CMC", "distances", "ROC", "open set", "cameras", "identities (t-SNE)", "query by query")
LISTS = "rank lists"  # where the photographs are known
ORDERS = {"largest difference of AP": 0, "largest gain of AP": -1, "largest loss of AP": 1}
POINTS = 600  # images that t-SNE places at most
STRANGERS = 0.5  # share of the identities that an open set does not know
DRAWS = 2000  # of the bootstrap
LISTED = 8  # gallery images of a rank list
EXTREMES = 5  # queries of the largest gains, and of the largest losses


class ComparePanel(Panel):
    """Any number of `RetrievalResult`s by name: runs, protocols, target domains.

    root: folder of the photographs (one for all, or one for each result), for rank lists of one
    query in every network. A click on a query of the table, or on a point of the map of
    embeddings, shows its rank list.
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
        # What takes longer than a click may wait is kept.
        self._pairs = lru_cache(32)(lambda name: count_pairs(self.results[name]))
        self._cameras = lru_cache(32)(lambda name: map_by_camera(self.results[name]))
        self._points = lru_cache(32)(self._embed)
        self._compared = lru_cache(32)(self._set_against)
        self._order = lru_cache(32)(self._by_difference)
        self._photos = lru_cache(32)(self._open_photos)
        self._controls(list(self.results))
        self.attempt(self.draw)

    def _controls(self, names: list[str]) -> None:
        self.chosen = self.tag(several("results", names), "results")
        views = VIEWS if self.root is None else (*VIEWS, LISTS)
        self.view = self.tag(dropdown("view", views, width="220px"), "view")
        self.one = self.tag(dropdown("this", names, names[0], width="220px"), "one")
        alike = [name for name in names[1:] if self._same_queries(names[0], name)]
        other = [*alike, names[-1]][0]
        self.other = self.tag(dropdown("against", names, other, width="220px"), "other")
        self.identities = self.tag(slider("identities", 12, 2, 40), "identities")
        self.by = self.tag(dropdown("first", list(ORDERS), width="260px"), "by")
        last = max(len(result.query_table) for result in self.results.values())
        self.query = self.tag(slider("place in order", 1, 1, last, live=True), "query")
        self.table, self.words = self.text("table"), self.text("words")
        self.picture("picture")
        self.picture("queries", self.click)
        self.picture("list")
        self.map = widgets.VBox([])
        self.children = (
            row(self.chosen, self.table),
            row(self.view, self.one, self.other, self.identities, self.by, self.query),
            row(self.save_button()),
            self.words,
            self.status,
            self.pictures["queries"],
            self.map,
            self.pictures["picture"],
            self.pictures["list"],
        )
        controls = [self.chosen, self.view, self.one, self.other, self.identities]
        self.react([*controls, self.by, self.query])

    @property
    def shown(self) -> dict[str, RetrievalResult]:
        """The chosen results."""
        return {name: self.results[name] for name in self.chosen.value}

    def draw(self) -> str | None:
        shown, view = self.shown, self.view.value
        if not shown:
            raise ReidError("choose at least one result (Ctrl-click for several)")
        self.tell("table", table_html(_in_percent(metrics_table(shown))))
        self.tell("words", "")
        for old in self.map.children:
            old.close()
        self.map.children = ()
        for part in ("queries", "list"):
            self.hide(part)
        draws = [self._cmc, self._distances, self._roc, self._open_set]
        draws += [self._camera_matrix, self._identities, self._queries, self._rank_lists]
        draw = draws[(*VIEWS, LISTS).index(view)]
        used = {self.one: VIEWS[4:], self.other: VIEWS[6:], self.identities: VIEWS[5:6]}
        used |= {self.by: (), self.query: ()}
        for control, views in used.items():
            lists = view == LISTS and control is not self.identities
            control.layout.display = None if view in views or lists else "none"
        self.show("picture", *draw(shown))
        if self.map.children:
            self.pictures["picture"].layout.display = "none"  # it is there to be saved
        return None

    def _cmc(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return (cmc_curves({name: result.ranking for name, result in shown.items()}),)

    def _distances(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return (distance_histograms({name: self._pairs(name) for name in shown}),)

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
        return (roc_curves(rocs),)

    def _camera_matrix(self, shown: Mapping[str, RetrievalResult]) -> Any:
        return (camera_matrix(self._cameras(self.one.value)),)

    def _identities(self, shown: Mapping[str, RetrievalResult]) -> Any:
        name = self.one.value
        rows, points = self._points(name, self.identities.value)
        part = self.results[name].gallery_table.iloc[rows]
        camera = part.get("camera")
        cameras = None if camera is None or camera.isna().any() else camera
        title = f"Gallery features of {name}"
        photos = None if self.root is None else Chosen(self._photos(name)[1], rows)
        beside = self.pictures["picture"]
        self.map.children = (
            scatter_map(points, part, photos, lambda at: self._point(name, rows[at]), beside),
        )
        self.tell("words", "zoom with the wheel; a click on a point shows its rank list")
        return (embedding_figure(points, part["identity"], cameras, title),)

    def _point(self, name: str, at: int) -> None:
        """The rank list of a gallery image whose point was clicked."""
        self.attempt(lambda: self._show_point(name, int(at)))

    def _show_point(self, name: str, at: int) -> None:
        result, rows = as_query(self.results[name], at)
        photos = None
        if self.root is not None:
            gallery = self._photos(name)[1]
            photos = Chosen(gallery, [at]), Chosen(gallery, rows)
        words = f"gallery image {at + 1} of {name}: AP "
        words += f"{100 * result.ranking.average_precision[0]:.1f} %"
        listing = list_gallery(result, 0, LISTED)
        self.show("list", together(tag("b", words), rank_list(result, listing, photos)))

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
        return (open_set_curves({name: open_set(result, share) for name, result in shown.items()}),)

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

    def _set_against(self, one: str, other: str) -> Comparison:
        return compare(self.results[one], self.results[other], draws=DRAWS)

    def _difference(self, pair: Mapping[str, RetrievalResult]) -> str:
        """The difference of mAP with its interval, in a sentence."""
        found = self._compared(*pair)
        low, high = (100 * end for end in found.interval)
        one, other = map(html.escape, pair)
        return (
            f"{other} against {one}: mAP {100 * found.difference:+.2f} points (95 % interval "
            f"{low:+.2f} to {high:+.2f}), {found.better} queries won, {found.worse} lost"
        )

    def _queries(self, shown: Mapping[str, RetrievalResult]) -> Any:
        pair = self._pair()
        gain = self._compared(*pair).table["difference"].dropna().sort_values()
        self.tell("words", self._difference(pair))
        tables = []
        gains, losses = gain[gain > 0].iloc[::-1], gain[gain < 0]
        parts = {"largest gains": gains[:EXTREMES], "largest losses": losses[:EXTREMES]}
        for words, part in parts.items():
            rows = [
                tag("tr", *(tag("td", one) for one in line), data_at=f"query-{query}")
                for query, value in part.items()
                for line in [self._line(pair, query, value)]
            ]
            tables.append(table((words, *pair, "points of AP"), rows))
        self.show("queries", tag("div", tables, class_="side"))
        return (query_scatter(pair),)

    def _line(self, pair: Mapping[str, RetrievalResult], query: Any, value: float) -> list[str]:
        each = (result.ranking.average_precision[query] for result in pair.values())
        return [
            f"query {query + 1}",
            *(f"{100 * one:.1f} %" for one in each),
            f"{100 * value:+.1f}",
        ]

    def click(self, at: str, _: Any) -> str | None:
        """A query of the table: its rank lists in both networks."""
        query = int(at.removeprefix("query-"))
        if self.root is None:
            raise ReidError("rank lists need the photographs: ComparePanel(results, root=FOLDER)")
        self.by.value = next(iter(ORDERS))
        order = self._order(*self._pair(), self.by.value)
        self.query.value, self.view.value = 1 + int(np.flatnonzero(order == query)[0]), LISTS
        return self.draw()

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
        order, told = np.arange(len(first.query_table)), []
        if self.one.value != self.other.value:
            pair = self._pair()
            order = self._order(*pair, self.by.value)
            told.append(self._difference(pair))
        query = int(order[min(self.query.value, len(order)) - 1])
        path = html.escape(str(first.query_table["path"].iloc[query]))
        told.insert(0, f"<b>query {query + 1}</b> ({path})")
        sheets, listings = [], {}
        for name, result in shown.items():
            listings[name] = list_gallery(result, query, LISTED)
            photos = self._photos(name)
            words = f"{name}: AP {100 * result.ranking.average_precision[query]:.1f} %"
            sheets += [tag("b", words), rank_list(result, listings[name], photos)]
        if others:
            told.append(f"not shown, as their queries are others: {html.escape(', '.join(others))}")
        self.tell("words", "<br>".join(told))
        return together(*sheets), lambda: self._figures(listings)

    def _figures(self, listings: Mapping[str, Listing]) -> list[Figure]:
        """The rank lists on show, for files."""
        return [
            rank_list_figure(self.results[name], *self._photos(name), listings=[listing])
            for name, listing in listings.items()
        ]

    def _by_difference(self, one: str, other: str, by: str) -> np.ndarray:
        """All queries, those first whose AP differs most between two results, or rises or falls
        most from one to the other.
        """
        precision = [self.results[name].ranking.average_precision for name in (one, other)]
        gain, sign = np.nan_to_num(precision[1] - precision[0]), ORDERS[by]
        return np.argsort(sign * gain if sign else -np.abs(gain), kind="stable")


def _in_percent(metrics: pd.DataFrame) -> pd.DataFrame:
    """The same, its columns called by what they hold."""
    counts = ("queries", "counted")
    named = metrics.rename(columns=lambda name: name.replace("rank", "rank-"))
    return named.rename(columns=lambda name: name if name in counts else f"{name} in %")
