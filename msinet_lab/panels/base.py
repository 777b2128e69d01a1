"""What every panel has: a status line that shows errors, encoded pictures, latest value wins.

Exceptions in widget callbacks are invisible in JupyterLab, and callbacks may run on other threads
while a cell is busy. So every callback goes through `Panel.react`, which draws under a lock, skips
values that have been overtaken, and writes what goes wrong into the status line. What a failed
drawing would have renewed is taken off the page, so that nothing old is taken for new.
"""

from __future__ import annotations

import html
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from msinet_core.errors import ReidError
from msinet_core.files import replace_file
from msinet_lab.figures.elements import LOOK, Html, drawing, page_of, picture, standing, tag
from msinet_lab.figures.style import encode, file_bytes, resized
from msinet_lab.panels.picture import Clicked, Picture
from msinet_lab.panels.still import LIVE, still_html

ANY = object()  # the value of "all" in a dropdown: with None it would show as blank
Work = Callable[[], Any]  # a returned sentence goes to the status line
Shown = Figure | np.ndarray | Html | Sequence[Figure]
FORMATS = ("SVG", "PDF", "PNG")
GOOD, BAD, WARNING, QUIET = (
    "var(--jp-success-color0, #00795a)",
    "var(--jp-error-color0, #b3261e)",
    "var(--jp-warn-color0, #9a6700)",
    "var(--jp-ui-font-color2, #666)",
)


class Panel(widgets.VBox):
    """A column of controls, pictures and texts. Subclasses fill `children` and write `draw`.

    `name` gives the panel the CSS class `msinet-NAME`; `tag` does the same for its parts.
    """

    def __init__(self, name: str, saves_to: str | Path = "figures") -> None:
        super().__init__()
        self.name, self.saves_to = name, Path(saves_to)
        self.pictures: dict[str, Picture] = {}
        self.originals: dict[str, Shown | Callable[[], Shown]] = {}  # what is saved of each
        self.texts: dict[str, widgets.HTML] = {}
        self.status = self.tag(widgets.HTML(), "status")
        self.draws = 0  # pictures drawn so far; the tests watch it
        self._tickets: Counter[Work] = Counter()  # calls of each action so far
        self._worker: int | None = None  # the thread that is at work
        self._renewed: set[str] = set()  # pictures and texts that the work under way has shown
        self._renews: dict[Work, set[str]] = {}  # what each kind of work shows when it succeeds
        self._lock = threading.RLock()
        self.add_class(f"msinet-{name}").add_class(LIVE)

    def tag(self, widget: Any, part: str) -> Any:
        """The widget, findable in the page as `.msinet-NAME-part`."""
        widget.add_class(f"msinet-{self.name}-{part}")
        return widget

    def picture(self, part: str, clicked: Clicked | None = None) -> Picture:
        """An empty picture, hidden until it has something to show; `clicked` is called with the
        name of the part of it that is clicked.
        """
        layout = widgets.Layout(max_width="100%", display="none")
        made = self.pictures[part] = self.tag(Picture(layout=layout), part)
        if clicked:
            made.on_clicked(lambda at, point: self.attempt(lambda: clicked(at, point)))
        return made

    def text(self, part: str) -> widgets.HTML:
        """An empty place for words or tables."""
        self.texts[part] = self.tag(widgets.HTML(), part)
        return self.texts[part]

    def show(
        self, part: str, shown: Shown, original: Shown | Callable[[], Shown] | None = None
    ) -> None:
        """Put a figure, several side by side, an image or HTML into a picture of this panel.

        original: what is saved in its place, or what makes that.
        """
        image = self.pictures[part]
        image.value = as_html(shown)
        image.layout.display = None
        self.originals[part] = shown if original is None else original
        self._renewed.add(part)

    def tell(self, part: str, words: str) -> None:
        """Put HTML into a text of this panel; what comes from data must be escaped."""
        self.texts[part].value = words
        self._renewed.add(part)

    def hide(self, part: str) -> None:
        """Take a picture or text off the page until it is shown again."""
        if part in self.texts:
            self.texts[part].value = ""
        else:
            self.pictures[part].value, self.pictures[part].layout.display = "", "none"

    def react(self, controls: Sequence[Any], action: Work | None = None) -> None:
        """Call `action` (default `draw`) when a control's value changes or a button is pressed."""
        work = action or self.draw
        for control in controls:
            if isinstance(control, widgets.Button):
                control.on_click(lambda _, work=work: self.attempt(work, drawing=False))
            else:
                control.observe(lambda _, work=work: self.attempt(work, latest=True), names="value")

    def attempt(self, work: Work, latest: bool = False, drawing: bool = True) -> None:
        """Run `work` under the panel's lock; an exception goes to the status line, not to the void.

        With `latest`, a call that a newer one of the same work has overtaken is dropped. A control
        that `work` itself moves does not start another round. Where a `drawing` fails, what it
        shows when it succeeds is hidden.
        """
        if self._worker == threading.get_ident():
            return
        self._tickets[work] += 1
        ticket = self._tickets[work]
        with self._lock:
            if latest and ticket != self._tickets[work]:
                return
            self._worker = threading.get_ident()
            self._renewed = set()
            try:
                message = work()
            except Exception as error:  # the status line is the only place where it would be seen
                if drawing:
                    every = {*self.pictures, *self.texts}
                    for part in self._renews.get(work, every) - self._renewed:
                        self.hide(part)
                self.report(error)
            else:
                self.draws += 1
                self._renews[work] = self._renewed
                self.say(message if isinstance(message, str) else "")
            finally:
                self._worker = None

    def _ipython_display_(self) -> None:
        """The widget, and above it what pages without a kernel show in its place."""
        still, live = still_html(self, self.status), dict(super()._repr_mimebundle_() or {})
        if still:
            display({"text/html": still, "text/plain": f"<{self.name}>"}, raw=True)
            del live["text/plain"]  # said already
        display(live, raw=True)

    def say(self, text: str, colour: str = QUIET) -> None:
        """One line of text below the panel."""
        self.status.value = f'<span style="color:{colour}">{html.escape(text)}</span>'

    def report(self, error: Exception) -> None:
        """An exception in the status line.

        A user's mistake as its sentence, anything else with its place.
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
        """Write every picture of the panel into the folder `saves_to`: figures in the format and of
        the width that are chosen, what is a page of HTML as one.
        """
        names: list[str] = []
        for part, image in self.pictures.items():
            if image.value:
                names += self._save(part)
        if not names:
            return "nothing has been drawn yet"
        return f"saved {', '.join(names)} to {shortest(self.saves_to)}"

    def _save(self, part: str) -> list[str]:
        original = self.originals[part]
        shown = original() if callable(original) else original
        if isinstance(shown, Html):
            page = page_of(f"{self.name}, {part}", shown)
            return [self.write(f"{self.name}-{part}.html", page.encode()).name]
        if isinstance(shown, np.ndarray):
            return [self.write(f"{self.name}-{part}.png", encode(shown)).name]
        figures = [shown] if isinstance(shown, Figure) else list(shown)
        names, ending = [], self.format.value.lower()
        for number, figure in enumerate(figures, 1):
            name = f"{self.name}-{part}{f'-{number}' if len(figures) > 1 else ''}.{ending}"
            content = file_bytes(resized(figure, self.width.value / 2.54), ending)
            names.append(self.write(name, content).name)
        return names

    def write(self, name: str, content: bytes) -> Path:
        """A file in `saves_to`, which is made."""
        path = self.saves_to / name
        replace_file(path, content)
        return path

    def button(
        self,
        part: str,
        words: str,
        icon: str,
        action: Work,
        tip: str = "",
        at_once: Callable[[], None] | None = None,
    ) -> Any:
        """A button that calls `action`, and before it `at_once`, which waits for no drawing."""
        layout = widgets.Layout(width="auto")  # as wide as its words
        made = widgets.Button(description=words, icon=icon, tooltip=tip, layout=layout)
        if at_once:
            made.on_click(lambda _: at_once())  # in the order in which they are told
        self.react([made], action)
        return self.tag(made, part)

    def save_button(self) -> widgets.HBox:
        """A button that calls `save`; the format of figures and their width."""
        button = self.button("save", "Save pictures", "save", self.save, f"to {self.saves_to}/")
        layout = widgets.Layout(width="66px")
        self.format = self.tag(widgets.Dropdown(options=FORMATS, layout=layout), "format")
        size: Any = {"min": 4, "max": 60, "step": 0.5, "layout": widgets.Layout(width="64px")}
        self.width = self.tag(widgets.BoundedFloatText(18, tooltip="width in cm", **size), "width")
        return widgets.HBox([button, self.format, self.width, widgets.Label("cm wide")])


def as_html(shown: Shown) -> Html:
    """What is on show, as HTML that follows theme and width."""
    if isinstance(shown, Html):
        return shown
    if isinstance(shown, Figure):
        return drawing(shown)
    if isinstance(shown, np.ndarray):
        return picture(shown, "", 90)
    return tag("div", [drawing(figure) for figure in shown], class_="side")


class Still:
    """A figure or image as the value of a notebook cell: where HTML is shown, it follows theme and
    width.
    """

    def __init__(self, shown: Figure | np.ndarray, dpi: int = 100) -> None:
        self.shown, self.dpi = shown, dpi

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        made = tag("div", tag("style", Html(LOOK)), standing(as_html(self.shown)), class_="msinet")
        return {"text/html": made, "image/png": encode(self.shown, self.dpi)}


def show(picture: Figure | np.ndarray, dpi: int = 100) -> Still:
    """A figure or image as the value of a notebook cell."""
    return Still(picture, dpi)


LABEL = {"description_width": "initial"}
WIDE = {"style": LABEL, "continuous_update": False}  # a control that speaks when it is let go


def slider(
    description: str, value: int, low: int, high: int, live: bool = False, width: str = "340px"
) -> widgets.IntSlider:
    """A slider over whole numbers; a live one speaks while it is moved."""
    layout, high = widgets.Layout(width=width), max(low, high)
    look: Any = {**WIDE, "continuous_update": live}
    return widgets.IntSlider(
        value, min=low, max=high, description=description, layout=layout, **look
    )


def played(control: widgets.IntSlider, pause: int = 250) -> widgets.HBox:
    """A slider that a button moves on by itself, a step in `pause` milliseconds."""
    layout = widgets.Layout(width="auto")
    play = widgets.Play(min=control.min, max=control.max, interval=pause, layout=layout)
    for name in ("min", "max", "value"):
        widgets.jslink((play, name), (control, name))
    return widgets.HBox([play, control])


def share(description: str, value: float, width: str = "300px") -> widgets.FloatSlider:
    """A slider from 0 to 1."""
    layout = widgets.Layout(width=width)
    between = {"min": 0, "max": 1, "step": 0.05}
    return widgets.FloatSlider(value, description=description, layout=layout, **between, **WIDE)


def field(description: str, value: str, width: str = "380px", **more: Any) -> widgets.Text:
    """A line of text to fill in."""
    layout = widgets.Layout(width=width)
    return widgets.Text(value, description=description, layout=layout, **WIDE, **more)


def dropdown(
    description: str, options: Any, value: Any = None, width: str = "300px"
) -> widgets.Dropdown:
    """A dropdown whose label is not cut off."""
    layout = widgets.Layout(width=width)
    made = widgets.Dropdown(options=options, description=description, style=LABEL, layout=layout)
    if value is not None:
        made.value = value
    return made


def several(
    description: str,
    names: Sequence[Any],
    value: Sequence[Any] | None = None,
    rows: int = 6,
    width: str = "300px",
) -> widgets.SelectMultiple:
    """A list of which several may be chosen, all of them at first."""
    options = [(str(name), name) for name in names]
    chosen = tuple(names if value is None else value)
    rows, layout = min(rows, len(options) + 1), widgets.Layout(width=width)
    look: Any = {"rows": rows, "layout": layout, "description": description}
    return widgets.SelectMultiple(options=options, value=chosen, **look)


def checkbox(description: str, value: bool = False) -> widgets.Checkbox:
    """A checkbox as wide as its words."""
    layout = widgets.Layout(width="auto")
    return widgets.Checkbox(value=value, description=description, indent=False, layout=layout)


def shortest(path: str | Path) -> str:
    """A path as people read it: from the folder that the notebook is in where it is near, from
    home (`~`) where it is below that.
    """
    path = Path(path).resolve()
    with suppress(ValueError):  # on another drive
        here = Path(os.path.relpath(path)).as_posix()
        if not here.startswith("../.."):
            return here
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    return str(path)


def row(*children: Any) -> widgets.HBox:
    """Controls side by side, wrapping where the page is narrow."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 16px")
    return widgets.HBox(children, layout=layout)


def table_html(table: pd.DataFrame, index: bool = True) -> str:
    """A pandas table as HTML in the notebook's own look; what stands in it is escaped."""
    shown = table.rename_axis(None)
    return str(shown.to_html(classes="jp-RenderedHTMLCommon", border=0, index=index))


def marked_html(lines: Sequence[tuple[str, str, str, str]]) -> str:
    """Rows of (colour, mark, what, found) as a small table; all words are escaped."""
    cell = "<td style='text-align:left'>{}</td>"
    rows = [
        f"<tr><td style='color:{colour};white-space:nowrap'><b>{html.escape(mark)}</b></td>"
        + "".join(cell.format(html.escape(word)) for word in words)
        for colour, mark, *words in lines
    ]
    return f"<table class='jp-RenderedHTMLCommon'>{'</tr>'.join(rows)}</tr></table>"
