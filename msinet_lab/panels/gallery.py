"""Page through rank lists: pick a query, see its gallery with green, orange and grey borders."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.attention import Limits, colour_bar, limits_of, overlay
from msinet_lab.figures.retrieval import Listing, gallery_image, list_gallery, shelves
from msinet_lab.figures.style import encode
from msinet_lab.figures.tiles import stack
from msinet_lab.panels.base import ANY, Panel, checkbox, dropdown, row, slider
from msinet_lab.panels.networks import Networks, Results, root_of

ORDERS = {"worst AP first": 1.0, "best AP first": -1.0, "as in the data": 0.0}
EVERY, MISSED, UNMATCHED = "all queries", "first is a non-match", "without a match"
BAR_WIDTH = 220  # pixels
MapMaker = Callable[[str, int], np.ndarray]  # ("query" | "gallery", row) -> h x w map


@dataclass(frozen=True)
class Order:
    """What the order of the queries depends on."""

    network: str
    by: str
    which: str
    rerank: bool


@dataclass(frozen=True)
class Shown:
    """What is on show: every control, read once, and what came of it."""

    order: Order
    query: int
    heat: bool
    result: RetrievalResult
    listing: Listing


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
        self._controls(first, k)
        self.attempt(self.draw)

    def _controls(self, result: RetrievalResult, k: int) -> None:
        def named(words: str, names: Any) -> list[tuple[str, Any]]:
            return [(words, ANY), *((str(name), name) for name in names)]

        cameras = result.gallery_table.get("camera", pd.Series(dtype=object)).dropna().unique()
        identities = pd.unique(result.query_table["identity"])
        last = len(result.query_table) - 1
        names = self.networks.names
        self.network = self.tag(dropdown("network", names), "network")
        self.network.layout.display = None if len(names) > 1 else "none"
        self.by = self.tag(dropdown("order", list(ORDERS)), "order")
        self.which = self.tag(dropdown("show", (EVERY, MISSED, UNMATCHED)), "which")
        self.place = self.tag(slider("place in order", 0, 0, last), "query")
        self.identity = self.tag(dropdown("identity", named("(any)", identities)), "identity")
        self.k = self.tag(slider("k", min(k, 50), 1, 50), "k")
        views = named("all", sorted(cameras, key=str))
        self.camera = self.tag(dropdown("gallery camera", views), "camera")
        self.rerank = self.tag(checkbox("re-ranked"), "rerank")
        self.errors = self.tag(checkbox("non-matches only"), "errors")
        self.junk = self.tag(checkbox("show removed (junk)"), "junk")
        self.heat = self.tag(checkbox("heatmap"), "heatmap")
        self.heat.disabled = self.heatmap is None and not self.networks.given
        self.save_png = self.button("save-png", "Save PNG", "save", self.write_png)
        self.save_html = self.button("save-html", "Save HTML", "save", self.write_html)
        self.words = self.text("words")
        self.picture("picture", "jpeg")
        self.react([self.identity], self.jump)
        self.react([self.network, self.by, self.which, self.rerank])
        self.react([self.place, self.k, self.camera, self.errors, self.junk, self.heat])
        self.children = (
            row(self.network, self.by, self.which, self.identity),
            row(self.place, self.k, self.camera),
            row(self.rerank, self.errors, self.junk, self.heat, self.save_png, self.save_html),
            self.words,
            self.pictures["picture"],
            self.status,
        )

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

    def draw(self) -> str | None:
        order = Order(self.network.value, self.by.value, self.which.value, bool(self.rerank.value))
        result = self._result(order)
        if order != self.sorted:
            self._sort(order, result)
        self.shown, junk = None, bool(self.junk.value)
        if not len(self.order):
            raise ReidError("no query is left by this filter; choose 'all queries'")
        query = int(self.order[min(self.place.value, len(self.order) - 1)])
        listing = list_gallery(
            result,
            query,
            self.k.value,
            camera=None if self.camera.value is ANY else self.camera.value,
            non_matches_only=self.errors.value,
            with_junk=junk and not order.rerank,
        )
        self.shown = Shown(order, query, bool(self.heat.value), result, listing)
        self.show("picture", self._image(self.shown))
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
        ranking, sign = result.ranking, ORDERS[order.by]
        precision = np.asarray(ranking.average_precision, float)
        keep = {
            EVERY: np.ones(len(precision), bool),
            MISSED: np.asarray(ranking.first_match_rank) > 1,
            UNMATCHED: ~np.isfinite(precision),
        }[order.which]
        key = np.nan_to_num(precision * sign, nan=np.inf) if sign else np.zeros(len(precision))
        places = np.argsort(key, kind="stable")
        self.order = places[keep[places]]
        stays = self.sorted is not None and self.sorted.network != order.network
        query = self.shown.query if stays and self.shown else -1
        found = np.flatnonzero(self.order == query)
        with self.place.hold_trait_notifications():
            self.place.max = max(0, len(self.order) - 1)
            self.place.value = int(found[0]) if len(found) else 0
        self.sorted = order

    def jump(self) -> str | None:
        """Move to the first query of the chosen identity, in the present order."""
        wanted = self.identity.value
        if wanted is not ANY:
            names = self.networks.tables()[0]["identity"].iloc[self.order]
            places = np.flatnonzero((names == wanted).to_numpy(bool))
            if not len(places):
                raise ReidError(f"no query of identity {wanted} is left by this filter")
            self.place.value = int(places[0])
        return self.draw()

    def _image(self, shown: Shown) -> np.ndarray:
        """The rank list, with maps over its photographs where they are asked for."""
        if not shown.heat:
            return gallery_image(shown.result, shown.listing, *self.photos)
        rows = {"query": [shown.query], "gallery": shown.listing.rows.tolist()}
        maps: list[dict[int, np.ndarray]] = [
            {at: self._map(shown, side, at) for at in rows[side] if shelf.part(at) is not None}
            for side, shelf in zip(rows, self.photos, strict=True)
        ]
        limits = limits_of([one for side in maps for one in side.values()])
        photos = [
            Overlaid(shelf, side, limits) for shelf, side in zip(self.photos, maps, strict=True)
        ]
        image = gallery_image(shown.result, shown.listing, *photos)
        return stack([image, colour_bar(limits, min(BAR_WIDTH, image.shape[1]))])

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
        precision = ranking.average_precision[query]
        if not np.isfinite(precision):
            return f"{by}query {query}: no match in the gallery, so it does not count"
        first, count = ranking.first_match_rank[query], ranking.num_matches[query]
        words = f"{by}query {query}: AP {100 * precision:.1f} %, first match at rank {first}"
        return f"{words}, {count} matches"

    def write_png(self) -> str:
        """The gallery on show as PNG in `saves_to`."""
        shown = self._on_show()
        path = self.write(f"gallery-query-{shown.query}.png", encode(self._image(shown)))
        return f"saved {path.resolve()}"

    def write_html(self) -> str:
        """The gallery on show as one HTML file with the picture inside."""
        shown = self._on_show()
        data = base64.b64encode(self.pictures["picture"].value).decode()
        page = (
            "<!doctype html><meta charset='utf-8'><title>Rank list</title>"
            f"<body style='font-family:sans-serif'><h3>{html.escape(self.sentence())}</h3>"
            f"<p>{html.escape(str(shown.result.protocol))}</p>"
            f"<img alt='gallery' src='data:image/jpeg;base64,{data}'>"
        )
        path = self.write(f"gallery-query-{shown.query}.html", page.encode())
        return f"saved {path.resolve()}"
