"""Sheets of photographs, maps, weights and genotypes as HTML that follows theme and width.

What bears `at` can be clicked in a panel, which is told that name: `gallery-12`, `slot-3`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from msinet_core.retrieval import RetrievalResult
from msinet_core.search.history import SearchHistory
from msinet_core.space import NUM_SLOTS, NUM_STAGES, OPERATIONS, Genotype, slot_label
from msinet_lab.figures.attention import (
    Limits,
    Looked,
    in_colours,
    limits_of,
    number,
    overlay,
    scaled,
)
from msinet_lab.figures.elements import Html, coloured, picture, shaded, table, tag
from msinet_lab.figures.retrieval import Listing, words_of
from msinet_lab.figures.style import (
    SLOTS_PER_STAGE,
    ink_on,
    operation_colour,
    operation_label,
    slot_in_stage,
)
from msinet_lab.figures.tiles import Tile, as_photo

MARKS = {"query": "Q", "match": "✓", "non-match": "✗", "junk": "–", "plain": ""}
RAMP = 7  # colours that tell a scale
CHANNEL_HEIGHT = 84  # pixels of a channel's map
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 250, 128, 34, 8, 20, 20  # of a slot's curves, pixels
WORDS = "font:11px system-ui,sans-serif;fill:var(--{});text-anchor:{}"
LINE = "stroke:var(--grid);stroke-width:.8"
NOW = "stroke:var(--ink);stroke-width:1.4;stroke-dasharray:3 2"


def tile(one: Tile, at: str | None = None, title: str | None = None) -> Html:
    """A photograph with its frame and mark, and lines of words below it."""
    first, *others = one.caption or ("",)
    shown = tag("div", class_="gap") if one.image is None else picture(one.image, one.kind)
    words = f"{MARKS[one.kind]} {first}".strip()
    lines = [tag("b", words) if words else None, *(tag("div", line) for line in others)]
    inside = shown, tag("figcaption", lines)
    return tag("figure", *inside, class_=f"tile {one.kind}", data_at=at, title=title)


def rank_list(result: RetrievalResult, listing: Listing, photos: Any = None) -> Html:
    """The query and its gallery, nearest first. photos: of the queries and of the gallery, H x W x
    3 uint8 by row (`shelves`); None: words alone.
    """
    queries, gallery = photos or (None, None)
    words = f"query {listing.query + 1}", *words_of(result.query_table, listing.query)
    own = None if queries is None else queries[listing.query]
    where = str(result.query_table["path"].iloc[listing.query])
    query = tile(Tile(own, "query", words), f"query-{listing.query}", where)
    tiles = []
    for entry in listing.entries:
        first = f"{'junk' if entry.rank is None else entry.rank} · {entry.distance:.3f}"
        words = first, *words_of(result.gallery_table, entry.row)
        own = None if gallery is None else gallery[entry.row]
        where = str(result.gallery_table["path"].iloc[entry.row])
        tiles.append(tile(Tile(own, entry.kind, words), f"gallery-{entry.row}", where))
    return tag("div", query, tag("div", tiles, class_="list"), class_="ranks")


# -- maps -----------------------------------------------------------------------------------------


def scale(limits: Limits, width: int | None = None) -> Html:
    """The colours of maps between two values, which are written below."""
    ends = np.linspace(0, 1, RAMP) if limits[1] > limits[0] else np.zeros(2)
    colours = ",".join(to_hex(colour / 255) for colour in in_colours(ends))
    ramp = tag("div", class_="ramp", style=f"background:linear-gradient(90deg,{colours})")
    words = tag("div", [tag("span", number(end)) for end in limits], class_="bar")
    return tag("div", ramp, words, style=f"width:{width}px" if width else None)


def map_sheet(rows: Sequence[Looked], opacity: float = 0.6, columns: Sequence[str] = ()) -> Html:
    """A row a photograph, a column a kind of map, each column on one scale that stands below it.

    columns: which come first, as far as there are such.
    """
    there = dict.fromkeys(name for row in rows for name in row.maps)
    names = [*(name for name in columns if name in there), *(n for n in there if n not in columns)]
    limits = {
        name: limits_of([row.maps[name] for row in rows if name in row.maps]) for name in names
    }
    body = []
    for row in rows:
        photo = as_photo(row.tile.image)
        over = [
            picture(overlay(photo, row.maps[name], opacity, limits[name], row.part), name)
            if name in row.maps
            else ""
            for name in names
        ]
        body.append([tile(row.tile), *over])
    width = rows[0].tile.image.shape[1] if rows else None
    body.append(["", *(scale(limits[name], width) for name in names)])
    return table(("", *names), body, class_="maps")


def channels(rows: Mapping[str, Any], limits: Limits) -> Html:
    """Channels of feature maps (C x h x w each, by name) as cells, all on one scale below them."""
    lines = []
    for name, maps in rows.items():
        array = np.asarray(maps, dtype=np.float64)
        times = max(1, round(CHANNEL_HEIGHT / array.shape[1]))
        images = [
            picture(np.repeat(np.repeat(one, times, 0), times, 1), name, 95)
            for one in in_colours(scaled(array, limits)).astype(np.uint8)
        ]
        lines += [tag("div", name, class_="faint"), tag("div", images, class_="list cells")]
    return tag("div", lines, scale(limits, 220))


# -- searches -------------------------------------------------------------------------------------


def weights_sheet(
    history: SearchHistory, place: int, stages: Iterable[int], chosen: int | None = None
) -> Html:
    """Softmax weights at a row of a history, a table a stage; what the genotype takes is framed."""
    weights, taken = history.weights[place], history.genotypes[place]
    top = max(0.5, float(weights.max()))
    head = [operation_label(name) for name in OPERATIONS]
    tables = []
    for stage in stages:
        rows = []
        for slot in range((stage - 1) * SLOTS_PER_STAGE, stage * SLOTS_PER_STAGE):
            cells = [
                shaded(
                    f"{value:.2f}",
                    value / top,
                    class_="taken" if taken.slots[slot] == name else None,
                    also=f";--taken:{operation_colour(name)}",
                )
                for value, name in zip(weights[slot], OPERATIONS, strict=True)
            ]
            at = f"slot-{slot + 1}"
            look = "chosen" if slot == chosen else None
            name = tag("th", slot_in_stage(slot), scope="row")
            rows.append(tag("tr", name, cells, data_at=at, class_=look, title=slot_label(slot)))
        made = table((f"stage {stage}", *head), rows, class_="heat")
        tables.append(made)
    return tag("div", tables, class_="side")


def strips(genotypes: Mapping[str, Genotype]) -> Html:
    """One row of twelve coloured slots a genotype, to compare runs, seeds and epochs."""
    rows = []
    for name, genotype in genotypes.items():
        chips = [
            coloured(
                operation_label(one),
                operation_colour(one),
                ink_on(operation_colour(one)),
                class_="strip",
                title=slot_label(slot),
            )
            for slot, one in enumerate(genotype.slots)
        ]
        rows.append([tag("th", name, scope="row"), *chips])
    head = ["", *(slot_label(slot).replace(", ", "\n") for slot in range(NUM_SLOTS))]
    return table(head, rows, class_="heat strips")


def chip(name: str) -> Html:
    """An operation in its colour."""
    background = operation_colour(name)
    style = f"background:{background};color:{ink_on(background)}"
    return tag("span", operation_label(name), class_="slot", style=style)


def slopes(
    history: SearchHistory,
    epoch: float,
    stages: Iterable[int] = range(1, NUM_STAGES + 1),
    chosen: int | None = None,
) -> Html:
    """Weights of every slot over the epochs, a small drawing a slot, with a line at `epoch`."""
    top = max(0.5, 1.05 * float(history.weights.max()))
    slots = [
        slot
        for stage in stages
        for slot in range((stage - 1) * SLOTS_PER_STAGE, stage * SLOTS_PER_STAGE)
    ]
    legend = tag("div", [chip(name) for name in OPERATIONS])
    drawn = [_slope(history, slot, epoch, top, slot == chosen) for slot in slots]
    return tag("div", legend, tag("div", drawn, class_="slopes"))


def _slope(history: SearchHistory, slot: int, epoch: float, top: float, chosen: bool) -> Html:
    epochs = history.epochs.astype(float)
    first, last = float(epochs[0]), max(float(epochs[-1]), float(epochs[0]) + 1)

    def x(value: Any) -> Any:
        return LEFT + (WIDE - LEFT - RIGHT) * (value - first) / (last - first)

    def y(value: Any) -> Any:
        return TOP + (HIGH - TOP - BOTTOM) * (1 - value / top)

    steps = 0.25 if top > 0.6 else 0.1
    ticks = np.arange(0, top + 1e-9, steps)
    parts = [tag("text", slot_label(slot), x=LEFT, y=12, style=WORDS.format("ink", "start"))]
    for value in ticks:
        parts.append(tag("path", d=f"M{LEFT} {y(value):.1f}H{WIDE - RIGHT}", style=LINE))
        at = {"x": LEFT - 4, "y": f"{y(value) + 3.5:.1f}"}
        parts.append(tag("text", f"{value:.3g}", **at, style=WORDS.format("faint", "end")))
    shown = sorted({first, float(epochs[len(epochs) // 2]), float(epochs[-1])})
    for value in shown:
        at = {"x": f"{x(value):.1f}", "y": HIGH - 5}
        parts.append(tag("text", f"{value:.0f}", **at, style=WORDS.format("faint", "middle")))
    winner = int(history.weights[-1, slot].argmax())
    for column, name in enumerate(OPERATIONS):
        values = history.weights[:, slot, column]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x(epochs), y(values), strict=True))
        stroke = {"stroke": operation_colour(name), "fill": "none"}
        thick = 2.6 if column == winner else 1.4
        parts.append(tag("polyline", points=points, stroke_width=thick, **stroke))
        if len(epochs) < 3:
            dots = [
                tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=3, fill=operation_colour(name))
                for a, b in zip(x(epochs), y(values), strict=True)
            ]
            parts += dots
    parts.append(tag("path", d=f"M{x(epoch):.1f} {TOP}V{HIGH - BOTTOM}", style=NOW))
    made = tag("svg", parts, viewBox=f"0 0 {WIDE} {HIGH}")
    look = "slope chosen" if chosen else "slope"
    return tag("figure", made, class_=look, data_at=f"slot-{slot + 1}", title=slot_label(slot))
