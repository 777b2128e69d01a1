"""Page through rank lists: pick a query, see its gallery with green, orange and grey borders."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from msinet_core.data import boxes_of
from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.attention import Limits, limits_of, overlay
from msinet_lab.figures.elements import Html, picture, table, tag, together
from msinet_lab.figures.retrieval import Listing, list_gallery, rank_list_figure, shelves
from msinet_lab.figures.sheets import rank_list, scale
from msinet_lab.figures.tiles import Chosen, read_photo, tile_shape
from msinet_lab.panels.attention import AttentionPanel
from msinet_lab.panels.base import ANY, Panel, checkbox, dropdown, row, shortest, slider
from msinet_lab.panels.filters import QueryFilter, Wanted, failures, named
from msinet_lab.panels.networks import Networks, Results, as_query, root_of

ORDERS = {"worst AP first": 1.0, "best AP first": -1.0, "as in the data": 0.0}
BAR_WIDTH = 220  # pixels
LARGE = 256 * 256  # of the photograph that was clicked, pixels
MapMaker = Callable[[str, int], np.ndarray]  # ("query" | "gallery", row) -> h x w map


@dataclass(frozen=True)
class Order:
    """What the order of the queries depends on."""

    network: str
    by: str
    wanted: Wanted
    rerank: bool


@dataclass(frozen=True)
class Shown:
    """What is on show: every control, read once, and what came of it.

    own: the row of a gallery image that is the query; then `result` is of that one query, and
    `rows` are the rows of the whole gallery that its gallery has.
    """

    order: Order
    query: int
    heat: bool
    result: RetrievalResult
    listing: Listing
    own: int | None = None
    rows: np.ndarray | None = None


class Overlaid:
    """A shelf of photographs with a map over each that has one, all on one scale."""

    def __init__(self, shelf: Any, maps: Mapping[int, np.ndarray], limits: Limits) -> None:
        self.shelf, self.maps, self.limits = shelf, maps, limits

    def __getitem__(self, row: int) -> np.ndarray:
        photo = self.shelf[row]
        if row not in self.maps:
            return photo
        return overlay(photo, self.maps[row], limits=self.limits, part=self.shelf.part(row))


class GalleryPanel(Panel):
    """Rank lists of one network or of several, each its own.

    A click on a tile shows the whole photograph and all that is known of it; from there it can be
    made the query, and the pair be looked at in an `AttentionPanel`.

    results: a `RetrievalResult`, or several by name over the same queries, or a data set that
        `networks` are evaluated on. root: folder that the tables' paths are relative to; known from
        a data set. networks: SOURCEs of `load_model`, modules or `Embedder`s by the same names
        (or the one of a single result), for heatmaps. heatmap: instead, a function (side, row) ->
        map of your own. height, width: of a tile, in pixels; by default of the shape that most
        photographs have.
    """

    def __init__(
        self,
        results: Results,
        root: str | Path | None = None,
        *,
        networks: Any = None,
        k: int = 20,
        height: int | None = None,
        width: int | None = None,
        heatmap: MapMaker | None = None,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("gallery", saves_to)
        place = root_of(results, root)
        if not isinstance(networks, Mapping):
            networks = {} if networks is None else {"": networks}
        self.networks, self.heatmap = Networks(networks, results, place), heatmap
        self.reranked: dict[str, RetrievalResult] = {}
        first = self.networks.result(self.networks.names[0])
        self.photos = shelves(first, place, height, width)
        self.order: np.ndarray = np.zeros(0, int)
        self.sorted: Order | None = None
        self.shown: Shown | None = None
        self.own: int | None = None  # a gallery image that was made the query
        self.clicked: tuple[str, int] | None = None  # side and row
        self.attention: AttentionPanel | None = None
        self._as_query = lru_cache(8)(
            lambda network, row: as_query(self.networks.result(network), row)
        )
        self._controls(first, k)
        self.attempt(self.draw)

    def _controls(self, result: RetrievalResult, k: int) -> None:
        cameras = result.gallery_table.get("camera", pd.Series(dtype=object)).dropna().unique()
        last = len(result.query_table)
        names = self.networks.names
        self.network = self.tag(dropdown("network", names), "network")
        self.network.layout.display = None if len(names) > 1 else "none"
        self.by = self.tag(dropdown("order", list(ORDERS), width="190px"), "order")
        self.place = self.tag(slider("place in order", 1, 1, last, live=True), "query")
        self.filter = QueryFilter(self, result.query_table)
        self.which, self.identity = self.filter.which, self.filter.identity
        self.k = self.tag(slider("k", min(k, 50), 1, 50, width="240px"), "k")
        views = named("all", sorted(cameras, key=str))
        self.camera = self.tag(dropdown("gallery camera", views, width="200px"), "camera")
        self.rerank = self.tag(checkbox("re-ranked"), "rerank")
        self.errors = self.tag(checkbox("non-matches only"), "errors")
        self.junk = self.tag(checkbox("show removed (junk)"), "junk")
        self.heat = self.tag(checkbox("heatmap"), "heatmap")
        self.heat.disabled = self.heatmap is None and not self.networks.given
        tip = "queries of this choice whose nearest image is no match"
        self.save_failures = self.button("failures", "Failures as CSV", "save", self.write_csv, tip)
        self.words = self.text("words")
        self.picture("picture", self.click)
        self._below()
        self.react([self.network, self.by, self.rerank, *self.filter.controls])
        self.react([self.place], self.draw_query)
        self.react([self.k, self.camera, self.errors, self.junk, self.heat])
        self.children = (
            row(self.network, self.by, self.place, self.k, self.camera),
            row(self.rerank, self.errors, self.junk, self.heat),
            self.filter.box,
            row(self.save_button(), self.save_failures),
            self.words,
            self.status,
            self.pictures["picture"],
            self.below,
        )

    def _below(self) -> None:
        """What a click on a tile opens."""
        self.detail = self.picture("detail")
        self.make_query = self.button("make-query", "Make it the query", "search", self.ask)
        self.look = self.button("look", "Look into the pair", "eye", self.open_pair)
        self.close_detail = self.button("close", "Close", "times", self.close_clicked)
        buttons = row(self.make_query, self.look, self.close_detail)
        self.pair = widgets.VBox([])
        self.below = widgets.VBox([buttons, self.detail, self.pair])
        self.below.layout.display = "none"

    @property
    def result(self) -> RetrievalResult:
        """The result on show."""
        return self._on_show().result

    @property
    def query(self) -> int:
        """Row of the query on show."""
        return self._on_show().query

    @property
    def listing(self) -> Listing:
        """The rank list on show."""
        return self._on_show().listing

    def _on_show(self) -> Shown:
        if self.shown is None:
            raise ReidError("nothing is on show; choose another query, or 'all queries'")
        return self.shown

    # -- the rank list -------------------------------------------------------------------------

    def draw_query(self) -> str | None:
        """The query at a place in the order: no longer an image of the gallery."""
        self.own = None
        return self.draw()

    def draw(self) -> str | None:
        wanted = self.filter.wanted()
        order = Order(self.network.value, self.by.value, wanted, bool(self.rerank.value))
        result = self._result(order)
        if order != self.sorted:
            self._sort(order, result)
        self.shown, junk, own = None, bool(self.junk.value), self.own
        if not len(self.order):
            raise ReidError("no query is left by this filter; choose 'all queries'")
        query, rows = int(self.order[min(self.place.value, len(self.order)) - 1]), None
        if own is not None:
            result, rows = self._as_query(order.network, own)
            query = 0
        listing = list_gallery(
            result,
            query,
            self.k.value,
            camera=None if self.camera.value is ANY else self.camera.value,
            non_matches_only=self.errors.value,
            with_junk=junk and not order.rerank,
        )
        self.shown = Shown(order, query, bool(self.heat.value), result, listing, own, rows)
        self.show("picture", self._framed(self._image(self.shown)), self._figure)
        self.tell("words", f"<b>{html.escape(self.sentence())}</b>{self._heat_words(self.shown)}")
        if junk and order.rerank:
            return "removed entries have no re-ranked distance, so they are not shown"
        return None

    def _result(self, order: Order) -> RetrievalResult:
        """A network's result: as scored, or re-ranked (computed when first asked for)."""
        scored = self.networks.result(order.network)
        if not order.rerank:
            return scored
        if order.network not in self.reranked:
            self.reranked[order.network] = scored.reranked()
        return self.reranked[order.network]

    def _sort(self, order: Order, result: RetrievalResult) -> None:
        """Sort and filter the queries; on show is the first, or the same as before where only the
        network is another.
        """
        sign = ORDERS[order.by]
        precision = np.asarray(result.ranking.average_precision, float)
        key = np.nan_to_num(precision * sign, nan=np.inf) if sign else np.zeros(len(precision))
        places = np.argsort(key, kind="stable")
        self.order = places[order.wanted.mask(result)[places]]
        stays = self.sorted is not None and self.sorted.network != order.network
        query = self.shown.query if stays and self.shown and self.shown.own is None else -1
        if not stays:
            self.own = None
        found = np.flatnonzero(self.order == query)
        with self.place.hold_trait_notifications():
            self.place.max = max(1, len(self.order))
            self.place.value = 1 + int(found[0]) if len(found) else 1
        self.sorted = order

    def _photos(self, shown: Shown) -> tuple[Any, Any]:
        """The photographs of the query and the gallery on show, by their rows in its result."""
        if shown.own is None:
            return self.photos
        return Chosen(self.photos[1], [shown.own]), Chosen(self.photos[1], shown.rows)

    def _row(self, shown: Shown, side: str, at: int) -> tuple[str, int]:
        """Side and row of the whole tables of what is on show."""
        if shown.own is None or shown.rows is None:
            return side, at
        return "gallery", shown.own if side == "query" else int(shown.rows[at])

    def _image(self, shown: Shown) -> Html:
        """The rank list, with maps over its photographs where they are asked for."""
        queries, gallery = self._photos(shown)
        if not shown.heat:
            return rank_list(shown.result, shown.listing, (queries, gallery))
        maps: dict[str, dict[int, np.ndarray]] = {"query": {}, "gallery": {}}
        rows = {"query": [shown.query], "gallery": shown.listing.rows.tolist()}
        for side, own in rows.items():
            for at in own:
                whole, row = self._row(shown, side, at)
                if self.photos[whole == "gallery"].part(row) is not None:
                    maps[side][at] = self._map(shown, whole, row)
        limits = limits_of([one for side in maps.values() for one in side.values()])
        photos = [
            Overlaid(shelf, maps[side], limits)
            for side, shelf in zip(maps, (queries, gallery), strict=True)
        ]
        listed = rank_list(shown.result, shown.listing, photos)
        return together(listed, scale(limits, BAR_WIDTH))

    def _map(self, shown: Shown, side: str, at: int) -> np.ndarray:
        if self.heatmap is not None:
            return self.heatmap(side, at)
        looker = self.networks.lookers(shown.order.network)[side == "gallery"]
        return looker.strength(at)

    def _heat_words(self, shown: Shown) -> str:
        if not shown.heat or self.heatmap is not None:
            return ""
        looker = self.networks.lookers(shown.order.network)[0]
        return (
            f"<br>Maps: length of the features at each place of {looker.telling}, all pictures on "
            "one scale"
        )

    def sentence(self) -> str:
        """What is known of the query on show: AP, first match, number of matches."""
        shown = self._on_show()
        ranking, query = shown.result.ranking, shown.query
        by = f"{shown.order.network}, " if len(self.networks.names) > 1 else ""
        name = f"query {query + 1}"
        if shown.own is not None:
            name = f"gallery image {shown.own + 1} as the query"
        precision = ranking.average_precision[query]
        if not np.isfinite(precision):
            return f"{by}{name}: no match in the gallery, so it does not count"
        first, count = ranking.first_match_rank[query], ranking.num_matches[query]
        words = f"{by}{name}: AP {100 * precision:.1f} %, first match at rank {first}"
        return f"{words}, {count} matches"

    # -- a tile that was clicked ---------------------------------------------------------------

    def click(self, at: str, _: Any) -> str | None:
        """Show a tile's whole photograph, and what is known of it."""
        side, _, number = at.partition("-")
        shown = self._on_show()
        side, place = self.clicked = self._row(shown, side, int(number))
        photos = self.networks.tables()[side == "gallery"]
        line = photos.iloc[place]
        path = self.networks.root / str(line["path"])
        box = (boxes_of(photos.iloc[place : place + 1]) or [None])[0]
        shape = tile_shape(
            self.networks.root, [line["path"]], LARGE, None if box is None else [box]
        )
        photo = picture(read_photo(path, *shape, box=box), str(line["path"]), 92)
        entry = next((one for one in shown.listing.entries if f"gallery-{one.row}" == at), None)
        known = [(name, value) for name, value in line.items() if name != "split"]
        if entry is not None:
            rank = "removed" if entry.rank is None else entry.rank
            known = [("rank", rank), ("distance", f"{entry.distance:.4f}"), *known]
        words = f"{side} image {place + 1}" + (f", {entry.kind}" if entry is not None else "")
        facts = tag("div", tag("b", words), table((), known))
        self.show("detail", tag("div", photo, facts, class_="side"))
        self.make_query.disabled = side == "query" and shown.own is None
        self.look.disabled = not self.networks.given or entry is None or shown.own is not None
        tip = "maps of the query and this image" if self.networks.given else "needs a network"
        self.look.tooltip = tip
        self.below.layout.display = None
        self._frame()
        return None

    def _framed(self, listed: str) -> Html:
        """A frame around the tile whose photograph is open, where it is on show."""
        shown, clicked = self._on_show(), self.clicked
        listed = listed.replace(' data-open="1"', "")
        names = [("query", shown.query), *(("gallery", at) for at in shown.listing.rows.tolist())]
        at = next((f"{s}-{n}" for s, n in names if self._row(shown, s, n) == clicked), None)
        marked = f'data-at="{at}"'
        return Html(listed.replace(marked, f'{marked} data-open="1"'))

    def _frame(self) -> None:
        self.pictures["picture"].value = self._framed(self.pictures["picture"].value)

    def ask(self) -> str | None:
        """Let the clicked image be the query: whose rank list it is."""
        if self.clicked is None:
            return None
        side, place = self.clicked
        if side == "gallery":
            self.own = place
        else:
            found = np.flatnonzero(self.order == place)
            self.own = None
            if not len(found):
                raise ReidError("this query is left out by the filter; choose 'all queries'")
            self.place.value = 1 + int(found[0])
        return self.draw()

    def open_pair(self) -> str | None:
        """The query and the clicked image in an attention panel below."""
        shown = self._on_show()
        if self.clicked is None or shown.own is not None:
            return None
        networks = self.networks
        if self.attention is None:
            given = networks.given
            data: Any = networks.data if isinstance(networks.data, Mapping) else networks.result
            if callable(data):
                data = {name: networks.result(name) for name in networks.names}
            self.attention = AttentionPanel(given, data, networks.root, saves_to=self.saves_to)
        self.attention.open_pair(shown.order.network, shown.query, self.clicked[1])
        self.pair.children = (self.attention,)
        return None

    def close_clicked(self) -> None:
        """Away with the photograph and the pair."""
        self.clicked, self.pair.children = None, ()
        self.hide("detail")
        self.below.layout.display = "none"
        self._frame()

    # -- what is saved -------------------------------------------------------------------------

    def _figure(self) -> Any:
        """The rank list on show as a figure, for SVG, PDF or PNG."""
        shown = self._on_show()
        photos = self._photos(shown)
        return rank_list_figure(shown.result, *photos, listings=[shown.listing])

    def write_csv(self) -> str:
        """The failures among the queries of this choice as `failures.csv` in `saves_to`."""
        shown = self._on_show()
        found = failures(self._result(shown.order), self.order)
        path = self.write("failures.csv", found.to_csv(index=False).encode())
        return f"saved {len(found)} of {len(self.order)} queries as {shortest(path)}"
