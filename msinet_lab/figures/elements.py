"""HTML in which foreign text cannot become anything but text, and figures that follow a theme.

`look.css` has the colours: JupyterLab's, or those of the page. What is made here stands in an
element of class `msinet`.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from msinet_lab.figures.style import (
    ALARM,
    CARD,
    COVERED,
    DRAWING,
    EDGE,
    FAINT,
    GOOD,
    GRID,
    INK,
    PAGE,
    PLACE,
    SERIES,
    SHADE,
    WHITE,
    WIRE,
    image_bytes,
    without_formulas,
)

LOOK = Path(__file__).with_name("look.css").read_text()
# Colours of figures that are others in a dark theme, by the page's variable.
THEME = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    PAGE: "page",
    CARD: "card",
    EDGE: "edge",
    WIRE: "wire",
    SERIES[7]: "ink",
    GOOD: "good",
    ALARM: "bad",
}
EMPTY = ("img", "meta", "br")  # elements without an end
NUMBERS = count(1)  # of drawings


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


def table(head: Sequence[Any], rows: Iterable[Any], class_: str | None = None) -> Html:
    """A table; cells that are `td` or `th` elements, and rows that are `tr`, stay as they are."""
    lines = [tag("tr", [tag("th", one, scope="col") for one in head])] if head else []
    lines += [
        row if isinstance(row, Html) else tag("tr", [cell(one) for one in row]) for row in rows
    ]
    return tag("div", tag("table", lines, class_=class_), class_="wide")


def cell(content: Any) -> Html:
    made = isinstance(content, Html) and content.startswith(("<td", "<th"))
    return Html(content) if made else tag("td", content)


def coloured(words: Any, background: str, ink: str, **more: Any) -> Html:
    """A cell in colours of its own, the same in every theme."""
    return tag("td", words, style=f"background:{background};color:{ink}", **more)


def shaded(words: Any, share: float, **more: Any) -> Html:
    """A cell of a table of numbers, the bluer the larger its share (0..1) of the largest."""
    style = f"background:color-mix(in srgb,{SHADE} {100 * min(1, max(0, share)):.0f}%,transparent)"
    ink = f";color:{WHITE}" if share > COVERED else ""
    return tag("td", words, style=f"{style}{ink}{more.pop('also', '')}", **more)


def picture(image: np.ndarray, words: str, quality: int = 82, **more: Any) -> Html:
    """An H x W x 3 uint8 image, inside the page."""
    height, width = image.shape[:2]
    source = data_address(image, quality)
    return tag("img", src=source, alt=words, width=width, height=height, **more)


def data_address(image: np.ndarray, quality: int = 82) -> str:
    """An H x W x 3 uint8 image as an address that holds it."""
    data = base64.b64encode(image_bytes(image, "jpeg", quality)).decode()
    return f"data:image/jpeg;base64,{data}"


def drawing(figure: Figure, words: str = "") -> Html:
    """A figure as SVG that takes the page's colours, no wider than it is; parts whose gid begins
    with `PLACE` can be clicked.
    """
    words = words or title_of(figure)
    width = 96 * figure.get_figwidth()
    made = Html(svg(figure))
    style = f"--width:{width:.0f}px"
    return tag("figure", made, role="img", aria_label=words, class_="drawing", style=style)


def svg(figure: Figure) -> str:
    """The `svg` element of a figure: letters as letters, colours as the page's variables."""
    buffer = io.StringIO()
    # Names within are its own, so that another drawing of the page, or a hidden one, has others;
    # and a command that is repeated gives the same.
    own = {"svg.fonttype": "none", "svg.hashsalt": f"drawing {next(NUMBERS)}"}
    about = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with DRAWING, mpl.rc_context(own):  # type: ignore[arg-type]
        without_formulas(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(f'id="{PLACE}', 'data-at="')
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    for colour, variable in THEME.items():
        text = text.replace(colour.lower(), f"var(--{variable})")
    return text


def chosen(shown: Html, at: str | None) -> Html:
    """The same with the part framed that is clicked by this name."""
    return (
        shown
        if at is None
        else Html(shown.replace(f'data-at="{at}"', f'data-at="{at}" class="chosen"'))
    )


def standing(shown: str) -> Html:
    """HTML in which every drawing is an image, for pages that let no SVG through; of two for a wide
    and a narrow page the one for a wide page.
    """
    shown = re.sub(r'<div class="tight">.*?</div>', "", shown, flags=re.DOTALL)
    return Html(re.sub(r"<svg.*?</svg>", _as_image, shown, flags=re.DOTALL))


def _as_image(found: re.Match[str]) -> str:
    colours = re.search(r"\.msinet\{(.*?)\}", LOOK, re.DOTALL)
    assert colours is not None
    style = f"<style>:root{{color-scheme:light dark;{colours[1]}}}</style>"
    head, _, rest = found[0].partition(">")
    if "xmlns=" not in head:
        head += ' xmlns="http://www.w3.org/2000/svg"'
    data = base64.b64encode(f"{head}>{style}{rest}".encode()).decode()
    return tag("img", src=f"data:image/svg+xml;base64,{data}", alt="drawing", class_="drawn")


def title_of(figure: Figure) -> str:
    """What stands above a figure, or above its first axes."""
    titles = [figure.get_suptitle(), *(axes.get_title("left") for axes in figure.axes)]
    return next((title for title in titles if title), "drawing")


def page_of(title: str, *content: Any, style: str = "") -> Html:
    """One HTML file with everything inside, light or dark as the reader's system is."""
    base = ":root{color-scheme:light dark}body{margin:24px;background:var(--page);"
    base += "font:15px/1.5 system-ui,sans-serif}"
    head = (
        tag("meta", charset="utf-8"),
        tag("title", title),
        tag("style", Html(LOOK + base + style)),
    )
    body = tag("body", content, class_="msinet")
    return together(Html("<!doctype html>\n"), tag("html", tag("head", *head), body, lang="en"))
