"""Click a point of the query and see where the network finds it in other photographs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.attention import cell_of, overlay, with_point
from msinet_lab.figures.feature_maps import (
    Looker,
    learned_map,
    point_map,
    similarity_cam,
    whole_map,
)
from msinet_lab.figures.style import encode
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet
from msinet_lab.panels.base import Panel, checkbox, dropdown, row, share, slider
from msinet_lab.panels.click import ClickPicture

DEPTH = 50  # entries of the rank list to choose a partner from
LARGE = 192  # pixels; the maps are small: show them on something larger


class AttentionPanel(Panel):
    """Maps between a query and its gallery.

    models: networks by name, such as `{"without SAM": a, "with SAM": b}`; whatever gives features
        of images and has layers with maps. result: the `RetrievalResult` whose rank lists name the
        partners. root, height, width: of the photographs and of the networks' input, pixels.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        result: RetrievalResult,
        root: str | Path,
        height: int,
        width: int,
        *,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("attention", saves_to)
        if not models:
            raise ReidError("there is no network to look into; give at least one")
        self.result = result
        tables = result.query_table, result.gallery_table
        large = max(height, LARGE), round(width * max(height, LARGE) / height)
        self.photos = [
            PhotoShelf(root, list(table["path"]), *large, fit="stretch") for table in tables
        ]
        self.lookers = {
            name: [Looker(model, table, root, height, width) for table in tables]
            for name, model in models.items()
        }
        self.entries: dict[int, str] = {}  # match or non-match, by row of the gallery
        self._controls(list(models))
        self.attempt(self.pick_query)

    def _controls(self, models: list[str]) -> None:
        self.model = self.tag(dropdown("network", models), "model")
        last = len(self.result.query_table) - 1
        self.query = self.tag(slider("query", 0, 0, last), "query")
        self.partner = self.tag(dropdown("partner", [("", 0)], width="380px"), "partner")
        self.layer = self.tag(dropdown("layer", []), "layer")
        self.opacity = self.tag(share("opacity", 0.6), "opacity")
        self.cam = self.tag(checkbox("Grad-CAM", True), "cam")
        self.click = self.tag(ClickPicture(), "click")
        self.click.layout.align_self = "flex-start"
        self.click.layout.flex = "0 0 auto"
        self.picture("maps")
        self.picture("matches")
        hint = "<b>Click the query</b> (or use the arrow keys on it) to choose a point."
        nearest = "<b>The same point in the nearest match and in the nearest non-match</b>"
        self.children = (
            row(self.model, self.query, self.partner),
            row(self.layer, self.opacity, self.cam, self.save_button()),
            widgets.HTML(hint),
            row(self.click, self.pictures["maps"]),
            widgets.HTML(nearest),
            self.pictures["matches"],
            self.status,
        )
        self.react([self.query], self.pick_query)
        self.react([self.model, self.partner, self.layer, self.opacity, self.cam])
        self.click.observe(lambda _: self.attempt(self.draw, latest=True), names="point")

    def pick_query(self) -> str | None:
        """List the query's nearest gallery images as partners, the nearest first."""
        query = self.query.value
        head = self.result.rank_list(query, DEPTH)
        kinds = ["match" if match else "non-match" for match in head.is_match]
        self.entries = dict(zip(head.gallery_index.tolist(), kinds, strict=True))
        if not self.entries:
            raise ReidError(f"query {query} has nothing to be compared with in the gallery")
        names = self.result.gallery_table["identity"].iloc[head.gallery_index]
        told = enumerate(zip(kinds, names, head.distance, strict=True), 1)
        words = [f"{place}: {kind}, id {name}, at {at:.3f}" for place, (kind, name, at) in told]
        self.partner.options = list(zip(words, self.entries, strict=True))
        self.partner.value = next(iter(self.entries))
        return self.draw()

    def draw(self) -> str | None:
        mine, theirs = self.lookers[self.model.value]
        if tuple(mine.layers) != self.layer.options:  # another network may have other layers
            kept = self.layer.value
            self.layer.options = tuple(mine.layers)
            self.layer.value = kept if kept in mine.layers else list(mine.layers)[-1]
        query, partner, layer = self.query.value, int(self.partner.value), self.layer.value
        point, opacity = self.click.point, self.opacity.value
        features = mine.features(query, layer)
        position = cell_of(*point, *features.shape[1:])
        photo = self.photos[0][query]
        self.click.value = encode(with_point(photo, *point))

        def maps(at: int) -> list[Tile]:
            """The partner, where the point is in it, where any of the query is, the pair's CAM."""
            theirs_at = theirs.features(at, layer)
            kind = self.entries[at]
            identity = self.result.gallery_table["identity"].iloc[at]
            found: dict[tuple[str, str], np.ndarray] = {
                ("where the", "point is"): point_map(features, theirs_at, position),
                ("where any", "of it is"): whole_map(features, theirs_at),
            }
            if self.cam.value:
                pair = mine.input(query), theirs.input(at)
                cam = similarity_cam(mine.model, mine.layers[layer], *pair)
                found["Grad-CAM", "of the pair"] = cam
            other = self.photos[1][at]
            over = [Tile(overlay(other, m, opacity), "plain", w) for w, m in found.items()]
            return [Tile(other, kind, (f"id {identity}", kind)), *over]

        tiles = maps(partner)
        learned = learned_map(mine.model, mine.input(query))
        if learned is not None:
            words = "query: learned", "attention"
            tiles.append(Tile(overlay(photo, learned, opacity), "plain", words))
        self.show("maps", sheet(tiles, len(tiles)))
        nearest: list[Tile] = []
        for kind in ("match", "non-match"):
            first = next((at for at, own in self.entries.items() if own == kind), None)
            nearest += [] if first is None else maps(first)
        self.show("matches", sheet(nearest, len(nearest)))
        return None
