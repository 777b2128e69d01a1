"""A picture made of HTML or SVG, whose parts can be clicked: the one front end of the panels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from msinet_lab.figures.elements import LOOK

Clicked = Callable[[str, tuple[float, float]], Any]


class Picture(anywidget.AnyWidget):
    """HTML in `value`; a click on what bears `data-at` calls back with that name and where in it,
    as shares (0..1) of height and width. `dark` is whether the page that shows it is.
    """

    _esm = Path(__file__).with_name("picture.js")
    _css = LOOK
    value = traitlets.Unicode("").tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)

    def on_clicked(self, action: Clicked) -> None:
        """Call `action(name, (row, column))` at every click, and at Enter on what has the focus."""

        def heard(_: Any, content: Any, __: Any) -> None:
            if isinstance(content, dict) and isinstance(content.get("at"), str):
                action(content["at"], (float(content["row"]), float(content["column"])))

        self.on_msg(heard)
