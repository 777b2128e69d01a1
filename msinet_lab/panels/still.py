"""What stands in a panel's place where no kernel is: its pictures and words as they were shown."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets

NOTE = "<p style='color:#777;font-size:85%'>A picture of the panel; run the notebook to use it.</p>"
PICTURE = "<img alt='{alt}' style='max-width:100%' src='data:image/{kind};base64,{data}'>"


def still_html(panel: widgets.Box, name: str, without: widgets.Widget) -> str:
    """The pictures and texts of a panel, in their order, as HTML that needs no kernel; "" where it
    shows none yet. `without` one part: the line that reports on the last draw.
    """
    values = [part.value for part in _parts(panel) if part is not without and len(part.value)]
    if all(isinstance(value, str) for value in values):
        return ""
    return "".join(f"<div>{_html(value, name)}</div>" for value in values) + NOTE


def _parts(widget: Any) -> Iterator[Any]:
    """Widgets that hold a picture (bytes) or words in HTML, from top to bottom."""
    value = getattr(widget, "value", None)
    if isinstance(widget, widgets.Box):
        for child in widget.children:
            yield from _parts(child)
    elif isinstance(value, bytes | memoryview) or isinstance(widget, widgets.HTML):
        yield widget


def _html(value: str | bytes | memoryview, name: str) -> str:
    if isinstance(value, str):
        return value
    kind = "png" if bytes(value[:4]) == b"\x89PNG" else "jpeg"
    return PICTURE.format(alt=name, kind=kind, data=base64.b64encode(value).decode())
