"""Click a point of the query and see where the network finds it in other photographs."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from msinet_core.data import boxes_of
from msinet_core.errors import ReidError
from msinet_lab.figures.attention import Looked, cell_of, with_point
from msinet_lab.figures.elements import Html, picture, tag
from msinet_lab.figures.feature_maps import CAMS, Looker, point_map, whole_map
from msinet_lab.figures.retrieval import list_gallery, words_of
from msinet_lab.figures.sheets import map_sheet
from msinet_lab.figures.tiles import PhotoShelf, Tile, tile_shape
from msinet_lab.panels.base import Panel, dropdown, row, several, share, slider
from msinet_lab.panels.networks import Networks, Results, root_of

DEPTH = 50  # entries of the rank list to choose a partner from, and the first match
AREA = 160 * 80  # of a tile, pixels
LARGE = 3  # times a tile's area: the picture to click on
POINT, ANYWHERE, PAIR = "where the point is", "where any of it is", "what makes them similar"
STRENGTH, ROLLED, LEARNED = "strength", "attention roll-out", "learned attention"
MAPS = POINT, ANYWHERE, PAIR, STRENGTH, ROLLED, LEARNED


@dataclass(frozen=True)
class Asked:
    """Every control of the panel, read once, so that one picture answers one question."""

    network: str
    query: int
    partner: int
    layer: str
    point: tuple[float, float]
    maps: tuple[str, ...]
    method: str
    opacity: float


class AttentionPanel(Panel):
    """Maps of a query, and between it and its gallery, by any network.

    networks: by name, such as `{"MSINet": "runs/train", "ViT": "timm:vit_small_patch16_224"}`:
        SOURCEs of `load_model`, modules or `Embedder`s. data: a data set or result, over which
        each network's own rank lists name the partners; or a result for each name. root: of the
        photographs, known from a data set. height, width: of the input of bare modules, pixels.
    """

    def __init__(
        self,
        networks: Mapping[str, Any],
        data: Results,
        root: str | Path | None = None,
        height: int = 256,
        width: int = 128,
        *,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("attention", saves_to)
        if not networks:
            raise ReidError("there is no network to look into; give at least one")
        place = root_of(data, root)
        self.networks = Networks(networks, data, place, height, width)
        tables = self.networks.tables()
        shape = tile_shape(place, list(tables[1]["path"]), AREA, boxes_of(tables[1]))
        self.photos = [_shelf(place, table, shape) for table in tables]
        high, wide = (round(length * LARGE**0.5) for length in shape)
        self.large = _shelf(place, tables[0], (high, wide))
        self.entries: dict[int, str] = {}  # match or non-match, by row of the gallery
        self.listed: tuple[str, int] | None = None  # whose partners are on show
        self._controls(list(networks), len(tables[0]))
        self.attempt(self.draw)

    def _controls(self, networks: list[str], queries: int) -> None:
        self.network = self.tag(dropdown("network", networks), "network")
        self.query = self.tag(slider("query", 1, 1, queries, live=True), "query")
        self.partner = self.tag(dropdown("partner", [("", 0)], width="300px"), "partner")
        self.layer = self.tag(dropdown("layer", [], width="160px"), "layer")
        self.maps = self.tag(several("", MAPS), "which")
        self.maps.layout.width = "190px"
        self.method = self.tag(dropdown("similar by", list(CAMS), width="220px"), "method")
        self.opacity = self.tag(share("opacity", 0.6, "240px"), "opacity")
        self.point = 0.5, 0.5
        self.click = self.picture("click", self.pick_point)
        self.click.layout.flex = "0 0 auto"
        self.picture("maps").layout.flex = "1 1 480px"
        self.words = self.text("words")
        hint = widgets.HTML("<b>Click the query</b>, or use<br>the arrow keys on it:")
        which = widgets.HTML("Maps (Ctrl-click for several):")
        beside = widgets.VBox([hint, self.click, which, self.maps])
        beside.layout.flex = "0 0 auto"
        pictures = widgets.HBox([beside, self.pictures["maps"]])
        pictures.layout.grid_gap, pictures.layout.flex_flow = "16px", "row wrap"
        self.children = (
            row(self.network, self.query, self.partner),
            row(self.layer, self.method, self.opacity, self.save_button()),
            self.words,
            self.status,
            pictures,
        )
        chosen = self.network, self.query, self.partner, self.layer
        self.react([*chosen, self.maps, self.method, self.opacity])

    def pick_point(self, at: str, point: tuple[float, float]) -> str | None:
        """A place of the query, as shares of height and width."""
        self.point = point
        return self.draw()

    def open_pair(self, network: str, query: int, partner: int) -> None:
        """Show a query (row) and an image of the gallery by one of the networks."""
        self.attempt(lambda: self._open(network, query, partner))

    def _open(self, network: str, query: int, partner: int) -> str | None:
        self.network.value, self.query.value = network, query + 1
        self._list_partners(network, query)
        if partner not in self.entries:
            kind = "match" if self._is_match(network, query, partner) else "non-match"
            self.entries[partner] = kind
            words = f"chosen: {kind}, id {self.networks.tables()[1]['identity'].iloc[partner]}"
            self.partner.options = [*self.partner.options, (words, partner)]
        self.partner.value = partner
        return self.draw()

    def _is_match(self, network: str, query: int, partner: int) -> bool:
        mine, theirs = self.networks.tables()
        return bool(mine["identity"].iloc[query] == theirs["identity"].iloc[partner])

    def draw(self) -> str | None:
        network, query = self.network.value, int(self.query.value) - 1
        mine, theirs = self.networks.lookers(network)
        if self.listed != (network, query):
            self._list_partners(network, query)
        if tuple(mine.layers) != self.layer.options:  # another network may have other layers
            kept = self.layer.value
            self.layer.options = tuple(mine.layers)
            self.layer.value = kept if kept in mine.layers else mine.telling
        chosen = int(self.partner.value), self.layer.value, self.point, self.maps.value
        asked = Asked(network, query, *chosen, self.method.value, self.opacity.value)
        self.show("click", self._with_point(asked))
        rows = [self._query_row(asked, mine, theirs)]
        rows += [self._gallery_row(asked, at, mine, theirs) for at in self._shown(asked.partner)]
        self.show("maps", map_sheet(rows, asked.opacity, MAPS))
        self.tell("words", self._sentence(asked, mine, rows))
        return None

    def _with_point(self, asked: Asked) -> Html:
        """The query with its point, to be clicked."""
        image = with_point(self._large(asked.query), *asked.point)
        place = "{:.3f} {:.3f}".format(*asked.point)
        words = "click to choose a point; arrow keys move it"
        return tag("div", picture(image, words, 92, data_at="point", data_point=place))

    def _list_partners(self, network: str, query: int) -> None:
        """The query's nearest gallery images by this network, the nearest first; a pair that is on
        show stays so where it can.
        """
        result = self.networks.result(network)
        first = int(result.ranking.first_match_rank[query])
        head = list_gallery(result, query, max(DEPTH, first)).entries
        shown = [*head[:DEPTH], *head[DEPTH:][-1:]]  # the first match, however far off it is
        entries = {entry.row: entry.kind for entry in shown}
        if not entries:
            raise ReidError(f"query {query + 1} has nothing to be compared with in the gallery")
        names = result.gallery_table["identity"]
        words = [
            f"{one.rank}: {one.kind}, id {names.iloc[one.row]}, at {one.distance:.3f}"
            for one in shown
        ]
        same_query = self.listed is not None and self.listed[1] == query
        kept = self.partner.value if same_query else None
        self.partner.options = list(zip(words, entries, strict=True))
        self.partner.value = kept if kept in entries else next(iter(entries))
        self.entries, self.listed = entries, (network, query)

    def _shown(self, partner: int) -> list[int]:
        """The partner, the nearest match and the nearest non-match, none twice."""
        nearest = [
            next((at for at, own in self.entries.items() if own == kind), partner)
            for kind in ("match", "non-match")
        ]
        return list(dict.fromkeys([partner, *nearest]))

    def _large(self, query: int) -> np.ndarray:
        """The query to click on: all of it, and nothing but it."""
        tile, part = self.large[query], self.large.part(query)
        if part is None:
            return tile
        top, left, high, wide = part
        return tile[top : top + high, left : left + wide]

    def _query_row(self, asked: Asked, mine: Looker, theirs: Looker) -> Looked:
        """The query, where its own point is in it, and what makes it similar to the partner."""
        at, layer = asked.query, asked.layer
        features = mine.features(at, layer)
        found: dict[str, Any] = {}
        if POINT in asked.maps:
            found[POINT] = point_map(features, features, self._position(asked, features))
        if PAIR in asked.maps and self.photos[1].part(asked.partner):
            partner = theirs.unit(asked.partner, layer)
            found[PAIR] = mine.cam(at, partner, asked.partner, layer, asked.method)
        found |= self._alone(asked, mine, at)
        tile = Tile(self.photos[0][at], "query", self._caption(0, at, "query"))
        return Looked(tile, self.photos[0].part(at), found)

    def _gallery_row(self, asked: Asked, at: int, mine: Looker, theirs: Looker) -> Looked:
        """An image of the gallery and what of the query is found in it; no map of what cannot be
        read.
        """
        kind, part = self.entries[at], self.photos[1].part(at)
        tile = Tile(self.photos[1][at], kind, self._caption(1, at, kind))
        if part is None:
            return Looked(tile, None)
        query, layer = asked.query, asked.layer
        one, two = mine.features(query, layer), theirs.features(at, layer)
        found: dict[str, Any] = {}
        if POINT in asked.maps:
            found[POINT] = point_map(one, two, self._position(asked, one))
        if ANYWHERE in asked.maps:
            found[ANYWHERE] = whole_map(one, two)
        if PAIR in asked.maps:
            found[PAIR] = theirs.cam(at, mine.unit(query, layer), query, layer, asked.method)
        return Looked(tile, part, found | self._alone(asked, theirs, at))

    def _alone(self, asked: Asked, looker: Looker, at: int) -> dict[str, Any]:
        """Maps of one photograph by itself, as far as the network has them."""
        made = {
            STRENGTH: lambda: looker.strength(at, asked.layer),
            ROLLED: lambda: looker.rolled(at),
            LEARNED: lambda: looker.learned(at),
        }
        found = {name: make() for name, make in made.items() if name in asked.maps}
        return {name: one for name, one in found.items() if one is not None}

    def _position(self, asked: Asked, features: Any) -> int:
        return cell_of(*asked.point, *features.shape[1:])

    def _caption(self, side: int, at: int, kind: str) -> tuple[str, ...]:
        return kind, *words_of(self.networks.tables()[side], at)

    def _sentence(self, asked: Asked, mine: Looker, rows: list[Looked]) -> str:
        """What the maps are of, and what has to be known to read them."""
        embedder, layer = mine.embedder, mine.layers[asked.layer]
        words = [
            f"{asked.layer} of {html.escape(asked.network)}: {layer.grid[0]} × {layer.grid[1]} "
            f"places of a picture of {embedder.height} × {embedder.width} pixels. Each column has "
            "one scale."
        ]
        pairs = [row.maps[PAIR] for row in rows if PAIR in row.maps]
        if pairs and not any(one.any() for one in pairs):
            words.append(
                f"<b>{html.escape(asked.method)} is zero everywhere</b>: nothing at the places of "
                "this layer makes the pair more similar; choose an earlier one."
            )
        return " ".join(words)


def _shelf(root: Path, table: pd.DataFrame, shape: tuple[int, int]) -> PhotoShelf:
    return PhotoShelf(root, list(table["path"]), *shape, boxes=boxes_of(table))
