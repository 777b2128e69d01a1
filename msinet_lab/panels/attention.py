"""Click a point of the query and see where the network finds it in other photographs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from msinet_core.errors import ReidError
from msinet_lab.figures.attention import cell_of, overlay, with_point
from msinet_lab.figures.feature_maps import (
    LAYERS,
    Looker,
    learned_map,
    point_map,
    similarity_cam,
    whole_map,
)
from msinet_lab.figures.style import encode
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet
from msinet_lab.panels.base import LABEL, Panel, checkbox, dropdown, row, slider
from msinet_lab.panels.click import ClickPicture

DEPTH = 50  # entries of the rank list to choose a partner from


class AttentionPanel(Panel):
    """Maps between a query and its gallery.

    models: networks by name, such as `{"without SAM": a, "with SAM": b}`; result: the
        `RetrievalResult` whose
    rank lists name the partners; root, height, width: of the photographs and of the networks'
    input.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        result: Any,
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
        large = (
            max(height, 192),
            round(width * max(height, 192) / height),
        )  # the maps are small: show them on something larger
        self.photos = {
            side: PhotoShelf(root, list(table["path"]), *large, fit="stretch")
            for side, table in (("query", result.query_table), ("gallery", result.gallery_table))
        }
        self.lookers = {
            name: tuple(
                Looker(model, table, root, height, width)
                for table in (result.query_table, result.gallery_table)
            )
            for name, model in models.items()
        }
        self.model = self.tag(dropdown("network", list(models)), "model")
        self.query = self.tag(slider("query", 0, 0, len(result.query_table) - 1), "query")
        self.partner = self.tag(dropdown("partner", [("", 0)], width="380px"), "partner")
        self.layer = self.tag(dropdown("layer", list(LAYERS), "stage 3"), "layer")
        self.opacity = self.tag(
            widgets.FloatSlider(
                0.6,
                min=0,
                max=1,
                step=0.05,
                description="opacity",
                style=LABEL,
                continuous_update=False,
            ),
            "opacity",
        )
        self.cam = self.tag(checkbox("Grad-CAM", True), "cam")
        self.click = self.tag(ClickPicture(), "click")
        self.click.layout.align_self = "flex-start"
        self.click.layout.flex = "0 0 auto"
        self.picture("maps")
        self.picture("matches")
        self.hint = widgets.HTML(
            "<b>Click the query</b> (or use the arrow keys on it) to choose a point."
        )
        self.children = (
            row(self.model, self.query, self.partner),
            row(self.layer, self.opacity, self.cam, self.save_button()),
            self.hint,
            row(self.click, self.pictures["maps"]),
            widgets.HTML("<b>The same point in the nearest right and the nearest wrong match</b>"),
            self.pictures["matches"],
            self.status,
        )
        self.react([self.query], self.pick_query)
        self.react([self.model, self.partner, self.layer, self.opacity, self.cam])
        self.click.observe(lambda _: self.attempt(self.draw, latest=True), names="point")
        self.attempt(self.pick_query)

    def pick_query(self) -> str | None:
        """List the query's nearest gallery images as partners, the nearest first."""
        head = self.result.rank_list(self.query.value, DEPTH)
        self.entries = [
            (int(at), bool(right))
            for at, right in zip(head.gallery_index, head.is_match, strict=True)
        ]
        if not self.entries:
            raise ReidError(
                f"query {self.query.value} has nothing to be compared with in the gallery"
            )
        identities = self.result.gallery_table["identity"]
        self.partner.options = [
            (
                f"{place + 1}: {'right' if right else 'wrong'}, id {identities.iloc[at]}, at {distance:.3f}",
                at,
            )
            for place, ((at, right), distance) in enumerate(
                zip(self.entries, head.distance, strict=True)
            )
        ]
        self.partner.value = self.entries[0][0]
        return self.draw()

    def draw(self) -> str | None:
        mine, theirs = self.lookers[self.model.value]
        query = mine.features(self.query.value, self.layer.value)
        position = cell_of(*self.click.point, *query.shape[1:])
        photo = self.photos["query"][self.query.value]
        self.click.value = encode(with_point(photo, *self.click.point))
        tiles = self._maps(mine, theirs, query, position, int(self.partner.value))
        learned = learned_map(mine.model, mine.features(self.query.value))
        if learned is not None:
            tiles.append(
                Tile(
                    overlay(photo, learned, self.opacity.value),
                    "plain",
                    ("query: learned", "attention"),
                )
            )
        self.show("maps", sheet(tiles, len(tiles)))
        matches = []
        for right in (True, False):
            first = next((at for at, is_right in self.entries if is_right == right), None)
            if first is not None:
                matches += self._maps(mine, theirs, query, position, first)
        self.show("matches", sheet(matches, len(matches)))
        return None

    def _maps(self, mine: Looker, theirs: Looker, query: Any, position: int, at: int) -> list[Tile]:
        """The partner, where the point is in it, where any of the query is, and the pair's
        Grad-CAM.
        """
        photo, features = self.photos["gallery"][at], theirs.features(at, self.layer.value)
        kind = "right" if dict(self.entries)[at] else "wrong"
        opacity = self.opacity.value
        identity = self.result.gallery_table["identity"].iloc[at]
        tiles = [
            Tile(photo, kind, (f"id {identity}", kind)),
            Tile(
                overlay(photo, point_map(query, features, position), opacity),
                "plain",
                ("where the", "point is"),
            ),
            Tile(
                overlay(photo, whole_map(query, features), opacity),
                "plain",
                ("where any", "of it is"),
            ),
        ]
        if self.cam.value:
            cam = similarity_cam(
                mine.model, mine.input(self.query.value), theirs.input(at), self.layer.value
            )
            tiles.append(Tile(overlay(photo, cam, opacity), "plain", ("Grad-CAM", "of the pair")))
        return tiles
