"""What every panel has: a status line that shows errors, pictures as encoded bytes, latest value
wins.

Exceptions in widget callbacks are invisible in JupyterLab, and callbacks may run on other threads
while a cell is busy. So every callback goes through `Panel.react`, which draws under a lock, skips
values that have been overtaken, and writes what goes wrong into the status line.
"""

from __future__ import annotations

import html
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython.display import Image as DisplayImage
from matplotlib.figure import Figure

from msinet_core.errors import ReidError
from msinet_lab.figures.style import encode, image_bytes

ANY = object()  # the value of "all" in a dropdown: with None it would show as blank
Work = Callable[[], Any]  # a returned sentence goes to the status line
GOOD, BAD, QUIET = (
    "var(--jp-success-color0, #00795a)",
    "var(--jp-error-color0, #b3261e)",
    "var(--jp-ui-font-color2, #666)",
)


class Panel(widgets.VBox):
    """A column of controls and pictures. Subclasses fill `children` and write `draw`.

    `name` gives the panel the CSS class `msinet-NAME`; `tag` does the same for its parts.
    """

    def __init__(self, name: str, saves_to: str | Path = "figures") -> None:
        super().__init__()
        self.name, self.saves_to = name, Path(saves_to)
        self.pictures: dict[str, widgets.Image] = {}
        self.status = self.tag(widgets.HTML(), "status")
        self.draws = 0  # pictures drawn so far; the tests watch it
        self._ticket = 0
        self._worker: int | None = None  # the thread that is at work
        self._lock = threading.RLock()
        self.add_class(f"msinet-{name}")

    def tag(self, widget: Any, part: str) -> Any:
        """The widget, findable in the page as `.msinet-NAME-part`."""
        widget.add_class(f"msinet-{self.name}-{part}")
        return widget

    def picture(self, part: str, format: str = "png") -> widgets.Image:
        """An empty picture, hidden until it has something to show, and never stretched."""
        layout = widgets.Layout(align_self="flex-start", max_width="100%", display="none")
        self.pictures[part] = self.tag(widgets.Image(format=format, layout=layout), part)
        return self.pictures[part]

    def show(self, part: str, picture: Figure | np.ndarray) -> None:
        """Put a figure or an image into a picture of this panel."""
        image = self.pictures[part]
        image.layout.display = None
        if image.format == "jpeg" and isinstance(picture, np.ndarray):
            image.value = image_bytes(picture, "jpeg", quality=90)
        else:
            image.value = encode(picture)

    def hide(self, part: str) -> None:
        """Take a picture off the page until it is shown again."""
        self.pictures[part].value, self.pictures[part].layout.display = b"", "none"

    def react(self, controls: Sequence[Any], action: Work | None = None) -> None:
        """Call `action` (default `draw`) when a control's value changes or a button is pressed."""
        work = action or self.draw
        for control in controls:
            if isinstance(control, widgets.Button):
                control.on_click(lambda _, work=work: self.attempt(work))
            else:
                control.observe(lambda _, work=work: self.attempt(work, latest=True), names="value")

    def attempt(self, work: Work, latest: bool = False) -> None:
        """Run `work` under the panel's lock; an exception goes to the status line, not to the void.

        With `latest`, a call that a newer one has overtaken while it waited is dropped. A control
        that `work` itself moves does not start another round.
        """
        if self._worker == threading.get_ident():
            return
        self._ticket += 1
        ticket = self._ticket
        with self._lock:
            if latest and ticket != self._ticket:
                return
            start, self._worker = time.perf_counter(), threading.get_ident()
            try:
                message = work()
            except Exception as error:  # the status line is the only place where it would be seen
                self.report(error)
            else:
                self.draws += 1
                self.say(
                    message
                    if isinstance(message, str)
                    else f"drawn in {1000 * (time.perf_counter() - start):.0f} ms"
                )
            finally:
                self._worker = None

    def say(self, text: str, colour: str = QUIET) -> None:
        """One line of text below the panel."""
        self.status.value = f'<span style="color:{colour}">{html.escape(text)}</span>'

    def report(self, error: Exception) -> None:
        """An exception in the status line: a user's mistake as its sentence, anything else with its
        place.
        """
        text = str(error)
        if not isinstance(error, ReidError):
            last = traceback.extract_tb(error.__traceback__)[-1:]
            where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
            text = f"{type(error).__name__}: {error}{where}"
        self.say(text, BAD)

    def draw(self) -> str | None:
        """Redraw from the controls' values; a returned sentence goes to the status line."""
        raise NotImplementedError

    def save(self) -> str:
        """Write every picture of the panel into the folder `saves_to`."""
        self.saves_to.mkdir(parents=True, exist_ok=True)
        names = []
        for part, image in self.pictures.items():
            if image.value:
                path = (
                    self.saves_to
                    / f"{self.name}-{part}.{'jpg' if image.format == 'jpeg' else 'png'}"
                )
                path.write_bytes(image.value)
                names.append(path.name)
        return (
            f"saved {', '.join(names)} to {self.saves_to.resolve()}"
            if names
            else "nothing has been drawn yet"
        )

    def save_button(self) -> widgets.Button:
        """A button that calls `save`."""
        button = self.tag(
            widgets.Button(
                description="Save pictures", icon="save", tooltip=f"to {self.saves_to}/"
            ),
            "save",
        )
        self.react([button], self.save)
        return button


def show(picture: Figure | np.ndarray, dpi: int = 100) -> DisplayImage:
    """A figure or image as the value of a notebook cell."""
    return DisplayImage(data=encode(picture, dpi))


def slider(
    description: str, value: int, low: int, high: int, step: int = 1, **more: Any
) -> widgets.IntSlider:
    """A slider that speaks when it is let go."""
    return widgets.IntSlider(
        value=value,
        min=low,
        max=max(low, high),
        step=step,
        description=description,
        continuous_update=False,
        style=LABEL,
        layout=widgets.Layout(width="420px"),
        **more,
    )


def dropdown(
    description: str, options: Any, value: Any = None, width: str = "300px"
) -> widgets.Dropdown:
    """A dropdown whose label is not cut off."""
    made = widgets.Dropdown(
        options=options, description=description, style=LABEL, layout=widgets.Layout(width=width)
    )
    if value is not None:
        made.value = value
    return made


def checkbox(description: str, value: bool = False) -> widgets.Checkbox:
    """A checkbox as wide as its words."""
    return widgets.Checkbox(
        value=value, description=description, indent=False, layout=widgets.Layout(width="auto")
    )


def row(*children: Any) -> widgets.HBox:
    """Controls side by side, wrapping where the page is narrow."""
    return widgets.HBox(
        children,
        layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 16px"),
    )


def table_html(table: Any) -> str:
    """A pandas table as HTML in the notebook's own look."""
    return str(table.rename_axis(None).to_html(classes="jp-RenderedHTMLCommon", border=0))


LABEL = {"description_width": "initial"}
