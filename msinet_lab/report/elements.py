"""HTML in which foreign text cannot become anything but text, and figures that follow a theme."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from msinet_lab.figures.style import DRAWING, FAINT, GRID, INK, PAGE, SERIES, image_bytes

# Colours of figures that are others in a dark theme, by the page's variable.
THEME = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    PAGE: "page",
    SERIES[7]: "ink",
    SERIES[0]: "query",
}
EMPTY = ("img", "meta")  # elements without an end
SVG = {"svg.fonttype": "none", "svg.hashsalt": "msinet"}  # letters as letters; the same each time


class Html(str):
    """Text that is HTML already; all other text is escaped when it becomes part of a page."""

    __slots__ = ()


def tag(element: str, /, *content: Any, **attributes: Any) -> Html:
    """An element. What is no `Html` is escaped, attributes too; `class_` stands for `class`, and an
    attribute that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "" if element in EMPTY else f"{together(*content)}</{element}>"
    return Html(f"<{element}{given}>{inside}")


def together(*content: Any) -> Html:
    """Pieces after each other; lists are taken apart."""
    pieces: list[str] = []
    for one in content:
        if isinstance(one, Html):
            pieces.append(one)
        elif isinstance(one, list | tuple):
            pieces.append(together(*one))
        elif one is not None:
            pieces.append(html.escape(str(one)))
    return Html("".join(pieces))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], class_: str | None = None) -> Html:
    """A table; cells that are `td` or `th` elements stay as they are."""
    lines = [tag("tr", [tag("th", one, scope="col") for one in head])] if head else []
    lines += [tag("tr", [cell(one) for one in row]) for row in rows]
    return tag("div", tag("table", lines, class_=class_), class_="wide")


def cell(content: Any) -> Html:
    made = isinstance(content, Html) and content.startswith(("<td", "<th"))
    return Html(content) if made else tag("td", content)


def coloured(words: Any, background: str, ink: str, **more: Any) -> Html:
    """A cell in colours of its own, the same in every theme."""
    return tag("td", words, style=f"background:{background};color:{ink}", **more)


def picture(image: np.ndarray, words: str, quality: int = 82) -> Html:
    """An H x W x 3 uint8 image, inside the page."""
    data = base64.b64encode(image_bytes(image, "jpeg", quality)).decode()
    height, width = image.shape[:2]
    source = f"data:image/jpeg;base64,{data}"
    return tag("img", src=source, alt=words, width=width, height=height)


def drawing(figure: Figure, words: str) -> Html:
    """A figure as SVG that takes the page's colours."""
    buffer = io.StringIO()
    with DRAWING, mpl.rc_context(SVG):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in THEME.items():
        text = text.replace(colour.lower(), f"var(--{variable})")
    return tag("figure", Html(text), role="img", aria_label=words)


def plain_text(words: str) -> str:
    """Words for a figure, in which a dollar sign begins no formula."""
    return words.replace("$", r"\$")
