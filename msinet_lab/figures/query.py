"""What was found for photographs of one's own: sheets of tiles, and a page of one file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from msinet_core.data import boxes_of
from msinet_core.retrieval import Answer
from msinet_lab.figures.elements import Html, page_of, tag
from msinet_lab.figures.sheets import tile
from msinet_lab.figures.tiles import PhotoShelf, Tile, tile_shape

THREADS = 2


def answer_sheets(answer: Answer) -> list[Html]:
    """A rank list for each query: its photographs, then what was found, with rank and distance, in
    tiles of the shape that most of these have.
    """
    table, rows = answer.table, answer.found.gallery_index
    wanted = np.unique(rows[rows >= 0])  # of a gallery that may have very many
    part = answer.gallery.table.iloc[wanted]
    size = tile_shape(answer.gallery.root, list(part["path"]), boxes=boxes_of(part))
    queries = PhotoShelf("", list(answer.pictures["path"]), *size, boxes=boxes_of(answer.pictures))
    shelf = PhotoShelf(answer.gallery.root, list(part["path"]), *size, boxes=boxes_of(part))
    with ThreadPoolExecutor(THREADS) as pool:  # decoding leaves the interpreter's lock
        tiles_of = dict(zip(wanted, pool.map(shelf.__getitem__, range(len(part))), strict=True))
    own = [list(range(len(queries)))] if answer.together else [[n] for n in range(len(queries))]
    made = []
    for number, photographs in enumerate(own, 1):
        tiles = [Tile(queries[n], "query", ("looked for",)) for n in photographs]
        found = rows[number - 1][rows[number - 1] >= 0]
        lines = table[table["query"] == number].iterrows()
        for row, (_, line) in zip(found, lines, strict=True):
            words = f"{line['rank']} · {line['distance']:.3f}", words_of(line)
            tiles.append(Tile(tiles_of[row], "plain", words))
        made.append(tag("div", [tile(one) for one in tiles], class_="list"))
    return made


def words_of(line: pd.Series) -> str:
    """`id 12 · cam 3` where they are known, else the name of the file."""
    parts = [
        f"{short} {line[name]}"
        for name, short in (("identity", "id"), ("camera", "cam"))
        if name in line and not pd.isna(line[name]) and line[name] != ""
    ]
    return " · ".join(parts) or str(line["path"]).rpartition("/")[2]


def answer_page(answer: Answer) -> str:
    """One HTML file with pictures and tables; foreign text is escaped."""
    found, parts = answer.table, []
    for number, sheet in enumerate(answer_sheets(answer), 1):
        names = answer.pictures["path"]
        names = names if answer.together else names.iloc[[number - 1]]
        rows = found[found["query"] == number].drop(columns="query")
        parts += [
            tag("h2", ", ".join(map(str, names))),
            sheet,
            Html(rows.to_html(index=False, border=0, float_format="{:.4f}".format)),
        ]
    title = f"Nearest of {len(answer.gallery):,} pictures"
    return page_of(title, tag("h1", title), *parts)
