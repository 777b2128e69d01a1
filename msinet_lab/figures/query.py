"""What was found for photographs of one's own: sheets of tiles, and a page of one file."""

from __future__ import annotations

import base64
import html
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data import boxes_of
from msinet_core.retrieval import Answer
from msinet_lab.figures.style import image_bytes
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet, tile_shape

THREADS = 2

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 75rem }}
img {{ max-width: 100%; background: #fff; border-radius: 4px }}
table {{ border-collapse: collapse; margin: 0.5rem 0 2rem }}
td, th {{ padding: 0.15rem 0.7rem; text-align: left; border-bottom: 1px solid #8884 }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def answer_images(answer: Answer, columns: int = 10) -> list[Any]:
    """A picture for each query (uint8 H x W x 3): its photographs, then what was found, with rank
    and distance, in tiles of the shape that most of these have.
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
    for number, photographs in enumerate(own):
        tiles = [Tile(queries[n], "query", ("looked for",)) for n in photographs]
        lead = len(tiles) == 1
        found = rows[number][rows[number] >= 0]
        lines = table[table["query"] == number].iterrows()
        for row, (_, line) in zip(found, lines, strict=True):
            words = f"{line['rank']} · {line['distance']:.3f}", words_of(line)
            tiles.append(Tile(tiles_of[row], "plain", words))
        made.append(sheet(tiles, columns, lead=lead))
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
    table, parts = answer.table, []
    images = answer_images(answer)
    for number, image in enumerate(images):
        names = answer.pictures["path"] if answer.together else [answer.pictures["path"][number]]
        data = base64.b64encode(image_bytes(image, "jpeg", 88)).decode()
        rows = table[table["query"] == number].drop(columns="query")
        parts.append(
            f"<h2>{html.escape(', '.join(map(str, names)))}</h2>"
            f'<img alt="what was found" src="data:image/jpeg;base64,{data}">'
            + rows.to_html(index=False, border=0, float_format="{:.4f}".format)
        )
    count = len(answer.gallery)
    title = f"Nearest of {count:,} pictures"
    return PAGE.format(title=title, body="\n".join(parts))
