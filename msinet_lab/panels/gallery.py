"""Page through rank lists: pick a query, see its gallery with green, orange and grey borders."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_lab.figures.attention import overlay
from msinet_lab.figures.retrieval import Listing, gallery_image, list_gallery
from msinet_lab.figures.style import save
from msinet_lab.figures.tiles import PhotoShelf
from msinet_lab.panels.base import ANY, Panel, checkbox, dropdown, row, slider

ORDERS = ("worst AP first", "best AP first", "as in the data")
FILTERS = ("all queries", "rank-1 wrong", "without a match")
MapMaker = Callable[[str, int], np.ndarray]  # ("query" | "gallery", row) -> h x w map


class Overlaid:
    """A shelf of photographs with a heatmap over each; `make(side, row)` gives the map."""

    def __init__(self, shelf: Any, side: str, make: MapMaker, opacity: float = 0.55) -> None:
        self.shelf, self.side, self.make, self.opacity = shelf, side, make, opacity

    def __getitem__(self, row: int) -> np.ndarray:
        return overlay(self.shelf[row], self.make(self.side, int(row)), self.opacity)


class GalleryPanel(Panel):
    """Rank lists of a `RetrievalResult`.

    root: folder that the tables' paths are relative to. heatmap: optional function (side, row) ->
        map,
    laid over the photographs on request. height, width: of a tile, in pixels.
    """

    def __init__(
        self,
        result: Any,
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
        self.photos = {
            side: PhotoShelf(root, table["path"], height, width)
            for side, table in (("query", result.query_table), ("gallery", result.gallery_table))
        }
        self.order: np.ndarray = np.zeros(0, int)
        self.listing: Listing | None = None
        self._controls(result, k)
        self.attempt(self.pick_order)

    def _controls(self, result: Any, k: int) -> None:
        cameras = (
            []
            if "camera" not in result.gallery_table
            else sorted(result.gallery_table["camera"].dropna().unique(), key=str)
        )
        identities = list(pd.unique(result.query_table["identity"]))
        self.by = self.tag(dropdown("order", ORDERS), "order")
        self.which = self.tag(dropdown("show", FILTERS), "which")
        self.place = self.tag(slider("query", 0, 0, len(result.query_table) - 1), "query")
        self.identity = self.tag(
            dropdown("identity", [("(any)", ANY), *((str(name), name) for name in identities)]),
            "identity",
        )
        self.k = self.tag(slider("k", min(k, 50), 1, 50), "k")
        self.camera = self.tag(
            dropdown("gallery camera", [("all", ANY), *((str(name), name) for name in cameras)]),
            "camera",
        )
        self.rerank = self.tag(checkbox("re-ranked"), "rerank")
        self.errors = self.tag(checkbox("wrong entries only"), "errors")
        self.junk = self.tag(checkbox("show removed (junk)"), "junk")
        self.heat = self.tag(checkbox("heatmap"), "heatmap")
        self.heat.disabled = self.heatmap is None
        self.save_png = self.tag(widgets.Button(description="Save PNG", icon="save"), "save-png")
        self.save_html = self.tag(widgets.Button(description="Save HTML", icon="save"), "save-html")
        self.words = self.tag(widgets.HTML(), "words")
        self.picture("picture", "jpeg")
        self.react([self.by, self.which, self.rerank], self.pick_order)
        self.react([self.identity], self.jump)
        self.react([self.place, self.k, self.camera, self.errors, self.junk, self.heat])
        self.react([self.save_png], self.write_png)
        self.react([self.save_html], self.write_html)
        self.children = (
            row(self.by, self.which, self.identity),
            row(self.place, self.k, self.camera),
            row(self.rerank, self.errors, self.junk, self.heat, self.save_png, self.save_html),
            self.words,
            self.pictures["picture"],
            self.status,
        )

    @property
    def result(self) -> Any:
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
        precision = np.asarray(self.result.ranking.average_precision, float)
        first = np.asarray(self.result.ranking.first_match_rank)
        keep = {
            "all queries": np.ones(len(precision), bool),
            "rank-1 wrong": first > 1,
            "without a match": ~np.isfinite(precision),
        }[self.which.value]
        sign = {"worst AP first": 1.0, "best AP first": -1.0}.get(self.by.value, 0.0)
        order = np.argsort(np.nan_to_num(precision * sign, nan=np.inf) * (sign != 0), kind="stable")
        self.order = order[keep[order]]
        with self.place.hold_trait_notifications():
            self.place.max = max(0, len(self.order) - 1)
            self.place.value = 0
        return self.draw()

    def jump(self) -> str | None:
        """Move to the first query of the chosen identity, in the present order."""
        if self.identity.value is ANY:
            return self.draw()
        same = (
            self.result.query_table["identity"].iloc[self.order] == self.identity.value
        ).to_numpy(bool)
        if not same.any():
            raise ReidError(f"no query of identity {self.identity.value} is left by this filter")
        self.place.value = int(np.flatnonzero(same)[0])
        return self.draw()

    def draw(self) -> str | None:
        result, query = self.result, self.query
        self.listing = list_gallery(
            result,
            query,
            self.k.value,
            errors_only=self.errors.value,
            camera=None if self.camera.value is ANY else self.camera.value,
            with_junk=self.junk.value and not self.rerank.value,
        )
        photos: dict[str, Any] = dict(self.photos)
        if self.heat.value and self.heatmap is not None:
            photos = {side: Overlaid(shelf, side, self.heatmap) for side, shelf in photos.items()}
        self.show(
            "picture", gallery_image(result, self.listing, photos["query"], photos["gallery"])
        )
        self.words.value = f"<b>{html.escape(self.sentence())}</b>"
        if self.junk.value and self.rerank.value:
            return "removed entries have no re-ranked distance, so they are not shown"
        return None

    def sentence(self) -> str:
        """What is known of the query on show: AP, first match, number of matches."""
        query, ranking = self.query, self.result.ranking
        if not np.isfinite(ranking.average_precision[query]):
            return f"query {query}: no match in the gallery, so it does not count"
        return (
            f"query {query}: AP {100 * ranking.average_precision[query]:.1f} %, "
            f"first match at rank {ranking.first_match_rank[query]}, {ranking.num_matches[query]} matches"
        )

    def write_png(self) -> str:
        """The gallery on show as PNG in `saves_to`."""
        self.saves_to.mkdir(parents=True, exist_ok=True)
        path = self.saves_to / f"gallery-query-{self.query}.png"
        listing = self.listing or list_gallery(self.result, self.query, self.k.value)
        save(
            gallery_image(self.result, listing, self.photos["query"], self.photos["gallery"]), path
        )
        return f"saved {path.resolve()}"

    def write_html(self) -> str:
        """The gallery on show as one HTML file with the picture inside."""
        self.saves_to.mkdir(parents=True, exist_ok=True)
        path = self.saves_to / f"gallery-query-{self.query}.html"
        data = base64.b64encode(self.pictures["picture"].value).decode()
        path.write_text(
            "<!doctype html><meta charset='utf-8'><title>Rank list</title>"
            f"<body style='font-family:sans-serif'><h3>{html.escape(self.sentence())}</h3>"
            f"<p>{html.escape(str(self.result.protocol))}</p><img alt='gallery' src='data:image/jpeg;base64,{data}'>"
        )
        return f"saved {path.resolve()}"
