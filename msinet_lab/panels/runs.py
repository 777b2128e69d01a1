"""All runs below a folder as a table: a click on one shows its curves, over those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msinet_core.runs.folder import RunFolder
from msinet_lab.figures.curves import apart, overlaid
from msinet_lab.figures.elements import Html, table, tag
from msinet_lab.figures.style import series
from msinet_lab.panels.base import Panel, row, share
from msinet_lab.panels.small_runs import differences, labelled_runs, run_table

NOTHING = "Click on a run of the table to see its curves."


class RunsPanel(Panel):
    """Runs below `folder`, of searches and trainings, by what tells them apart.

    A click takes a run's curves in, another one out; what differs in the settings of those on show
    stands below. smoothing: of the curves, 0 (none) to 1, as a moving average's memory.
    """

    def __init__(self, folder: str | Path, *, saves_to: str | Path = "figures") -> None:
        super().__init__("runs", saves_to)
        self.folder = Path(folder)
        self.runs: dict[str, RunFolder] = {}
        self.chosen: list[str] = []
        self.smoothing = self.tag(share("smoothing", 0.0), "smoothing")
        again = self.button("again", "Look again", "refresh", self.read)
        self.picture("table", self.click)
        self.picture("curves")
        self.different = self.picture("different")
        self.children = (
            row(self.smoothing, again, self.save_button()),
            self.pictures["table"],
            self.status,
            self.pictures["curves"],
            self.different,
        )
        self.react([self.smoothing])
        self.attempt(self.read)

    def read(self) -> None:
        """Read the folder anew; those on show stay so, at first the latest that has begun."""
        self.runs = labelled_runs(self.folder)
        self.rows = run_table(self.folder)
        self.chosen = [name for name in self.chosen if name in self.runs]
        begun = [name for name, run in self.runs.items() if len(run.epochs())]
        if not self.chosen and begun:
            self.chosen = [max(begun, key=lambda name: self.runs[name].path.stat().st_mtime)]
        self.draw()

    def click(self, at: str, _: Any) -> None:
        """A run of the table, by its number."""
        name = list(self.runs)[int(at.removeprefix("run-"))]
        if name in self.chosen:
            self.chosen.remove(name)
        else:
            self.chosen.append(name)
        self.draw()

    def draw(self) -> None:
        self.show("table", self._table())
        lines = {name: self.runs[name].lines() for name in self.chosen}
        parts = overlaid(lines, float(self.smoothing.value))
        self.show("curves", apart(parts, NOTHING))
        self.hide("different")
        if len(self.chosen) > 1:
            found = differences({name: self.runs[name] for name in self.chosen})
            rows = [(name, *line) for name, line in zip(found.index, found.to_numpy(), strict=True)]
            self.show("different", table(("setting", *found.columns), rows))

    def _table(self) -> Html:
        """A row a run, those on show with the colour of their curves."""
        colours = dict(zip(self.chosen, series(len(self.chosen)), strict=True))
        rows = []
        for number, (name, line) in enumerate(self.rows.iterrows()):
            colour = colours.get(str(name), "transparent")
            mark = tag("span", class_="swatch", style=f"background:{colour}")
            values = ["–" if value != value else value for value in line]  # NaN: no score yet
            cells = [tag("td", one) for one in (mark, str(name), *values)]
            rows.append(tag("tr", cells, data_at=f"run-{number}"))
        return table(("", "run", *map(str, self.rows.columns)), rows)
