"""One run on the page: architecture and alpha, curves, size, configuration."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from msinet_core.config import RunConfig, SearchConfig
from msinet_core.errors import ReidError
from msinet_core.models.describe import describe
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import load_network
from msinet_core.search.history import SearchHistory
from msinet_core.space import CELLS_PER_STAGE, NUM_STAGES
from msinet_lab.figures.architecture import after_epoch
from msinet_lab.figures.curves import apart, search_parts, training_parts
from msinet_lab.figures.elements import Html, drawing, table, tag
from msinet_lab.figures.sheets import chip, weights_sheet


def run_part(run: RunFolder) -> Html:
    """Everything about one run."""
    config = run.config()
    search = isinstance(config, SearchConfig)
    lines = run.lines()
    parts = search_parts(lines) if search else training_parts(lines)
    curves = apart(parts, "nothing has been written yet")
    return tag(
        "div",
        tag("h3", "Run"),
        tag("p", _state(run, config)),
        _architecture(run),
        _alpha(SearchHistory.from_lines(lines)) if search else _size(run, config),
        tag("h3", "Curves"),
        tag("div", [drawing(one) for one in curves], class_="side"),
        tag("h3", "Configuration"),
        _configuration(config),
    )


def _state(run: RunFolder, config: RunConfig) -> str:
    state = "running" if run.writer_pid() else "finished" if run.finished else "stopped"
    return f"A {config.KIND}, {state}, {len(run.epochs())} of {config.epochs} epochs."


def _architecture(run: RunFolder) -> Html | None:
    """The genotype as a table of stages and cells, a chip an operation."""
    genotype = run.genotype()
    if genotype is None or getattr(run.config(), "backbone", "msinet") != "msinet":
        return None
    rows = [
        [f"stage {number}", *(tag("td", [chip(name) for name in one]) for one in stage)]
        for number, stage in enumerate(genotype.stages, 1)
    ]
    cells = [f"cell {number}" for number in range(1, CELLS_PER_STAGE + 1)]
    note = tag("p", tag("code", str(genotype)), class_="faint")
    return tag("div", tag("h3", "Architecture"), table(("", *cells), rows), note)


def _alpha(history: SearchHistory) -> Html | None:
    """What each operation is weighted with at the end."""
    if not len(history):
        return None
    words = f"Softmax weights {after_epoch(history, -1)}; framed is what the genotype takes."
    made = weights_sheet(history, -1, range(1, NUM_STAGES + 1))
    return tag("div", tag("h3", "Alpha"), tag("p", words), made)


def _size(run: RunFolder, config: Any) -> Html | None:
    """Parameters and multiply-adds of the network."""
    try:
        found = describe(load_network(run), config.height, config.width)
    except ReidError:
        return None  # no checkpoint yet
    rows = [[name, *(f"{value / 1e6:,.2f}" for value in row)] for name, *row in found.itertuples()]
    head = ("", "parameters, millions", "multiply-adds, millions")
    inside = tag("details", tag("summary", "part by part"), table(head, rows))
    total = dict(zip(found.index, found.itertuples(index=False), strict=True))["total"]
    words = (
        f"{total.parameters / 1e6:.2f} million parameters, {total.multiply_adds / 1e9:.2f} billion "
        f"multiply-adds for a picture of {config.height} × {config.width}."
    )
    return tag("div", tag("h3", "Size"), tag("p", words), inside)


def _configuration(config: RunConfig) -> Html:
    """What differs from the defaults, and, folded, everything."""
    values = {name: value for name, value in config.to_dict().items() if name != "kind"}
    defaults = {f.name: None if f.default is MISSING else f.default for f in fields(config)}
    own = [[name, _shown(v)] for name, v in values.items() if _differs(v, defaults.get(name))]
    every = [[name, _shown(value)] for name, value in values.items()]
    inside = tag("details", tag("summary", "all fields"), table((), every))
    note = tag("p", "What differs from the defaults:", class_="faint")
    return tag("div", note, table((), own), inside)


def _differs(value: Any, default: Any) -> bool:
    return _shown(value) != _shown(default)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)
