"""Photographs of one's own, uploaded, against a gallery without labels."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from msinet_core.errors import ReidError
from msinet_core.files import safe_name
from msinet_core.retrieval import Answer, Embedder, Gallery, open_gallery, pictures_table, query
from msinet_lab.figures.elements import tag
from msinet_lab.figures.query import answer_page, answer_sheets
from msinet_lab.panels.base import Panel, checkbox, field, row, shortest, slider, table_html

LARGEST = 100 << 20  # bytes of a photograph
NOTHING = "upload a photograph of your own, or several"


class QueryPanel(Panel):
    """Upload photographs and see what looks like them.

    embedder: of the network (`load_model`). gallery: a `Gallery`, or whatever `open_gallery` opens:
    a folder of photographs, a store, an index or a CSV.
    """

    def __init__(
        self,
        embedder: Embedder,
        gallery: Gallery | str | Path,
        *,
        k: int = 10,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("query", saves_to)
        self.gallery = gallery
        if not isinstance(gallery, Gallery):
            self.gallery = open_gallery(gallery, embedder)
        self.embedder = embedder.folded()
        self.answer: Answer | None = None
        self._uploads = tempfile.TemporaryDirectory(prefix="msinet-query-")
        upload = widgets.FileUpload(accept="image/*", multiple=True, description="Photographs")
        self.upload = self.tag(upload, "upload")
        self.boxes = self.tag(
            field("boxes", "", placeholder="x1,y1,x2,y2; ... (pixels; empty: all of it)"), "boxes"
        )
        self.k = self.tag(slider("k", min(k, 50), 1, 50), "k")
        self.together = self.tag(checkbox("all show one individual"), "together")
        self.picture("picture")
        self.children = (
            row(self.upload, self.boxes, self.k, self.together),
            row(self.button("save-html", "Save page", "save", self.write_page)),
            self.text("words"),
            self.pictures["picture"],
            self.text("table"),
            self.status,
        )
        self.react([self.upload, self.boxes, self.k, self.together])
        self.attempt(self.draw)

    def draw(self) -> str | None:
        uploaded, boxes = self.upload.value, self.boxes.value
        k, together = self.k.value, self.together.value
        assert isinstance(self.gallery, Gallery)
        if not uploaded:
            self.answer = None
            return NOTHING
        pictures = pictures_table(self._files(uploaded), _boxes(boxes))
        self.answer = query(self.embedder, self.gallery, pictures, k=k, together=together)
        self.show("picture", tag("div", answer_sheets(self.answer)))
        names = ", ".join(str(file["name"]) for file in uploaded)
        count = len(self.gallery)
        self.tell("words", f"<b>{html.escape(names)}</b>: nearest of {count:,} pictures")
        self.tell("table", table_html(self.answer.table.round(4), index=False))
        return None

    def _files(self, uploaded: Any) -> list[Path]:
        """What was uploaded, as files for the one decoder."""
        files = []
        for number, one in enumerate(uploaded):
            content = bytes(one["content"])
            if len(content) > LARGEST:
                raise ReidError(f"{one['name']} has more than {LARGEST:,} bytes")
            files.append(Path(self._uploads.name, f"{number}-{safe_name(str(one['name']))}"))
            files[-1].write_bytes(content)
        return files

    def write_page(self) -> str:
        """What is on show as one HTML file, pictures inside."""
        if self.answer is None:
            raise ReidError(NOTHING)
        path = self.write("query.html", answer_page(self.answer).encode())
        return f"saved {shortest(path)}"


def _boxes(text: str) -> list[tuple[float, float, float, float]]:
    try:
        parts = [tuple(map(float, one.split(","))) for one in text.split(";") if one.strip()]
    except ValueError:
        parts = [()]
    if any(len(part) != 4 for part in parts):
        raise ReidError(f"boxes are x1,y1,x2,y2 in pixels, separated by semicolons; got {text!r}")
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in parts]
