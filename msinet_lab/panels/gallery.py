"""Page through rank lists: pick a query, see its gallery with green, orange and grey borders."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.attention import overlay
from msinet_lab.figures.retrieval import Listing, gallery_image, list_gallery, shelves
from msinet_lab.figures.style import encode
from msinet_lab.panels.base import ANY, Panel, checkbox, dropdown, row, slider

ORDERS = {"worst AP first": 1.0, "best AP first": -1.0, "as in the data": 0.0}
EVERY, MISSED, UNMATCHED = "all queries", "first is a non-match", "without a match"
MapMaker = Callable[[str, int], np.ndarray]  # ("query" | "gallery", row) -> h x w map


class Overlaid:
    """A shelf of photographs with a heatmap over each; `make(side, row)` gives the map."""

    def __init__(self, shelf: Any, side: str, make: MapMaker) -> None:
        self.shelf, self.side, self.make = shelf, side, make

    def __getitem__(self, row: int) -> np.ndarray:
        return overlay(self.shelf[row], self.make(self.side, int(row)))


class GalleryPanel(Panel):
    """Rank lists of a `RetrievalResult`.

    root: folder that the tables' paths are relative to. heatmap: optional function (side, row) ->
    map, laid over the photographs on request. height, width: of a tile, in pixels.
    """

    def __init__(
        self,
        result: RetrievalResult,
        root: str | Path,
        *,
        k: int = 20,
        height: int = 128,
        width: int = 64,
        heatmap: MapMaker | None = None,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("gallery", saves_to)
        self.results, self.heatmap = {False: result}, heatmap
        self.photos = shelves(result, root, height, width)
        self.order: np.ndarray = np.zeros(0, int)
        self.listing: Listing | None = None
        self._controls(result, k)
        self.attempt(self.pick_order)

    def _controls(self, result: RetrievalResult, k: int) -> None:
        def named(words: str, names: Any) -> list[tuple[str, Any]]:
            return [(words, ANY), *((str(name), name) for name in names)]

        cameras = result.gallery_table.get("camera", pd.Series(dtype=object)).dropna().unique()
        identities = pd.unique(result.query_table["identity"])
        last = len(result.query_table) - 1
        self.by = self.tag(dropdown("order", list(ORDERS)), "order")
        self.which = self.tag(dropdown("show", (EVERY, MISSED, UNMATCHED)), "which")
        self.place = self.tag(slider("query", 0, 0, last), "query")
        self.identity = self.tag(dropdown("identity", named("(any)", identities)), "identity")
        self.k = self.tag(slider("k", min(k, 50), 1, 50), "k")
        views = named("all", sorted(cameras, key=str))
        self.camera = self.tag(dropdown("gallery camera", views), "camera")
        self.rerank = self.tag(checkbox("re-ranked"), "rerank")
        self.errors = self.tag(checkbox("non-matches only"), "errors")
        self.junk = self.tag(checkbox("show removed (junk)"), "junk")
        self.heat = self.tag(checkbox("heatmap"), "heatmap")
        self.heat.disabled = self.heatmap is None
        self.save_png = self.button("save-png", "Save PNG", "save", self.write_png)
        self.save_html = self.button("save-html", "Save HTML", "save", self.write_html)
        self.words = self.text("words")
        self.picture("picture", "jpeg")
        self.react([self.by, self.which, self.rerank], self.pick_order)
        self.react([self.identity], self.jump)
        self.react([self.place, self.k, self.camera, self.errors, self.junk, self.heat])
        self.children = (
            row(self.by, self.which, self.identity),
            row(self.place, self.k, self.camera),
            row(self.rerank, self.errors, self.junk, self.heat, self.save_png, self.save_html),
            self.words,
            self.pictures["picture"],
            self.status,
        )

    @property
    def result(self) -> RetrievalResult:
        """The result on show: as scored, or re-ranked (computed when first asked for)."""
        wanted = bool(self.rerank.value)
        if wanted not in self.results:
            self.results[wanted] = self.results[False].reranked()
        return self.results[wanted]

    @property
    def query(self) -> int:
        """Row of the query on show."""
        if not len(self.order):
            raise ReidError("no query is left by this filter; choose 'all queries'")
        return int(self.order[min(self.place.value, len(self.order) - 1)])

    def pick_order(self) -> str | None:
        """Sort and filter the queries, then show the first of them."""
        ranking, sign = self.result.ranking, ORDERS[self.by.value]
        precision = np.asarray(ranking.average_precision, float)
        keep = {
            EVERY: np.ones(len(precision), bool),
            MISSED: np.asarray(ranking.first_match_rank) > 1,
            UNMATCHED: ~np.isfinite(precision),
        }[self.which.value]
        key = np.nan_to_num(precision * sign, nan=np.inf) if sign else np.zeros(len(precision))
        order = np.argsort(key, kind="stable")
        self.order = order[keep[order]]
        with self.place.hold_trait_notifications():
            self.place.max = max(0, len(self.order) - 1)
            self.place.value = 0
        return self.draw()

    def jump(self) -> str | None:
        """Move to the first query of the chosen identity, in the present order."""
        wanted = self.identity.value
        if wanted is not ANY:
            names = self.result.query_table["identity"].iloc[self.order]
            places = np.flatnonzero((names == wanted).to_numpy(bool))
            if not len(places):
                raise ReidError(f"no query of identity {wanted} is left by this filter")
            self.place.value = int(places[0])
        return self.draw()

    def draw(self) -> str | None:
        result, query, junk = self.result, self.query, self.junk.value
        reranked = result is not self.results[False]
        self.listing = list_gallery(
            result,
            query,
            self.k.value,
            camera=None if self.camera.value is ANY else self.camera.value,
            non_matches_only=self.errors.value,
            with_junk=junk and not reranked,
        )
        self.show("picture", self._image(self.heat.value))
        self.tell("words", f"<b>{html.escape(self.sentence())}</b>")
        if junk and reranked:
            return "removed entries have no re-ranked distance, so they are not shown"
        return None

    def _image(self, heat: bool) -> np.ndarray:
        """The listing on show."""
        assert self.listing is not None
        photos: Any = self.photos
        if heat and self.heatmap is not None:
            sides = zip(self.photos, ("query", "gallery"), strict=True)
            photos = [Overlaid(shelf, side, self.heatmap) for shelf, side in sides]
        return gallery_image(self.result, self.listing, *photos)

    def sentence(self) -> str:
        """What is known of the query on show: AP, first match, number of matches."""
        query, ranking = self.query, self.result.ranking
        precision = ranking.average_precision[query]
        if not np.isfinite(precision):
            return f"query {query}: no match in the gallery, so it does not count"
        first, count = ranking.first_match_rank[query], ranking.num_matches[query]
        words = f"query {query}: AP {100 * precision:.1f} %, first match at rank {first}"
        return f"{words}, {count} matches"

    def write_png(self) -> str:
        """The gallery on show as PNG in `saves_to`."""
        path = self.write(f"gallery-query-{self.query}.png", encode(self._image(self.heat.value)))
        return f"saved {path.resolve()}"

    def write_html(self) -> str:
        """The gallery on show as one HTML file with the picture inside."""
        data = base64.b64encode(self.pictures["picture"].value).decode()
        page = (
            "<!doctype html><meta charset='utf-8'><title>Rank list</title>"
            f"<body style='font-family:sans-serif'><h3>{html.escape(self.sentence())}</h3>"
            f"<p>{html.escape(str(self.result.protocol))}</p>"
            f"<img alt='gallery' src='data:image/jpeg;base64,{data}'>"
        )
        path = self.write(f"gallery-query-{self.query}.html", page.encode())
        return f"saved {path.resolve()}"
