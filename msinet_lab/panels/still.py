"""What stands in a panel's place where no kernel is: its pictures and words as they were shown.

JupyterLab shows a panel's widget if it can, and "Loading widget..." for ever if its kernel has
gone. So the picture is an output of its own, above the widget, which hides the one of both that is
not wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets

from msinet_lab.figures.elements import LOOK, Html, standing, tag
from msinet_lab.panels.picture import Picture

NOTE = tag("p", "A picture of the panel; run the notebook to use it.", class_="faint")
LIVE, STILL = "msinet-live", "msinet-still"
VIEW = ".jp-OutputArea-output:not([data-mime-type])"  # all but widgets bear their type
RULES = f"""
.jp-OutputArea:has(.{LIVE}) .{STILL}{{display:none}}
.jp-OutputArea:has(.{STILL}):not(:has(.{LIVE})) {VIEW}{{display:none}}
"""


def still_html(panel: widgets.Box, without: widgets.Widget) -> str:
    """The pictures and texts of a panel, in their order, as HTML that needs no kernel; "" where it
    shows none yet. `without` one part: the line that reports on the last draw.
    """
    parts = [part for part in _parts(panel) if part is not without and part.value]
    if not any(isinstance(part, Picture) for part in parts):
        return ""
    inside = [tag("div", standing(part.value)) for part in parts]
    return tag("div", tag("style", Html(LOOK + RULES)), inside, NOTE, class_=f"msinet {STILL}")


def _parts(widget: Any) -> Iterator[Any]:
    """Widgets that hold a picture or words, from top to bottom."""
    if isinstance(widget, widgets.Box):
        for child in widget.children:
            yield from _parts(child)
    elif isinstance(widget, Picture | widgets.HTML):
        yield widget
