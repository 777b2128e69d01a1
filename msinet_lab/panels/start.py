"""The first look: what is installed, which device and data there are, a map of the notebooks."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from msinet_core.data import ReidDataset
from msinet_core.data.sources import SOURCES
from msinet_core.errors import ReidError
from msinet_core.speed import choose_device, device_name
from msinet_lab.panels.base import (
    BAD,
    GOOD,
    Panel,
    dropdown,
    field,
    marked_html,
    row,
    shortest,
    table_html,
)
from msinet_lab.panels.settings import (
    GENERATED,
    HOME,
    Settings,
    open_data,
    read_settings,
    remember,
)

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "matplotlib",
    "seaborn",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
    "grad-cam",
)
NOTEBOOKS = {
    "00_start_here": "Checks, data, and this map",
    "01_explore_twin_splits": "Which identities each twin sees",
    "02_inspect_search_space": "Cells, slots, four interactions",
    "03_search_supernet": "Start, stop and watch a search",
    "04_read_architecture_weights": "What was chosen, when, how surely",
    "05_train_derived_network": "Train a genotype, live curves",
    "06_see_spatial_alignment": "Click a point, find it elsewhere",
    "07_retrieve_rank_lists": "Page through galleries",
    "08_evaluate_and_compare": "Curves, distances, cameras",
    "09_bring_your_own_data": "A CSV or folder of yours",
    "10_trust_the_search": "Better than random? Stable?",
    "11_reproduce_claims": "The paper's claims, tested",
}


def environment_checks(data_folder: str | Path = "data") -> list[tuple[bool, str, str]]:
    """(good, what, found) for Python, packages, device, and the data folder."""
    checks = [(sys.version_info >= (3, 11), "Python", platform.python_version())]
    for name in PACKAGES:
        try:
            checks.append((True, name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append((False, name, "not installed: pip install 'msinet-core[lab]'"))
    device = choose_device("auto")
    cores = f"no GPU; {os.cpu_count()} processor cores (enough for generated data)"
    checks.append((True, "device", cores if device.type == "cpu" else device_name(device)))
    folder = Path(data_folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    writable = os.access(there, os.W_OK)
    words = f"{shortest(folder)}{'' if writable else ' cannot be written'}"
    return [*checks, (writable, "data folder", words)]


def checks_html(checks: list[tuple[bool, str, str]]) -> str:
    """The checks as a table, each with a green tick or a red cross."""
    return marked_html(
        [
            (GOOD if good else BAD, "✔ good" if good else "✘ look", what, found)
            for good, what, found in checks
        ]
    )


CARD = (
    "<a href='{name}.ipynb' style='text-decoration:none;color:inherit'><div style='border:1px "
    "solid var(--jp-border-color1,#ccc);border-radius:6px;overflow:hidden;"
    "background:var(--jp-layout-color1,#fff);height:178px'>{picture}<div style='padding:4px 8px'>"
    "<b>{title}</b><br>{words}</div></div></a>"
)
THUMBNAIL = (
    "<img src='data:image/png;base64,{data}' alt='' style='width:100%;height:110px;"
    "object-fit:cover;object-position:top left'>"
)


def notebook_map(pictures: str | Path = "../figures/thumbnails") -> widgets.HTML:
    """A card for every notebook, with its thumbnail where there is one; a click opens it."""
    cards = []
    for name, words in NOTEBOOKS.items():
        path, picture = Path(pictures) / f"{name}.png", ""
        if path.is_file():
            picture = THUMBNAIL.format(data=base64.b64encode(path.read_bytes()).decode())
        title = name.replace("_", " ")
        cards.append(CARD.format(name=name, picture=picture, title=title, words=words))
    grid = widgets.HTML(
        "<div style='display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));"
        f"gap:10px;line-height:1.35'>{''.join(cards)}</div>"
    )
    grid.add_class("msinet-map")
    return grid


class StartPanel(Panel):
    """Pick generated data or a data set of yours, the size of its images, a folder for runs.

    What could be loaded is remembered in `home` for all notebooks; `dataset` is what was loaded
    last. settings: what to begin with (by default, what was remembered).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        identities: int = 20,
        seed: int = 0,
        home: str | Path = HOME,
    ) -> None:
        super().__init__("start")
        self.identities, self.seed, self.home = identities, seed, Path(home)
        self.dataset: ReidDataset | None = None
        start = self.settings = settings or read_settings(home)
        self.source = self.tag(dropdown("data", [*GENERATED, *SOURCES], start.source), "source")
        self.folder = self.tag(field("folder", shortest(start.data)), "folder")
        self.runs = self.tag(field("runs go to", shortest(start.runs)), "runs")
        sides = ("height", start.height), ("width", start.width)
        self.height, self.width = (
            self.tag(field(name, str(value or ""), "170px", placeholder="the data's"), name)
            for name, value in sides
        )
        self.checks, self.summary = self.text("checks"), self.text("summary")
        self.load = self.button("load", "Load and remember", "folder-open", self.draw)
        self.children = (
            self.checks,
            row(self.source, self.folder),
            row(self.runs, self.height, self.width, self.load),
            self.summary,
            self.status,
        )
        self.attempt(self.draw)

    def draw(self) -> str:
        chosen = replace(
            self.settings,
            source=self.source.value,
            data=self.folder.value,
            runs=self.runs.value,
            height=_pixels("height", self.height.value),
            width=_pixels("width", self.width.value),
        )
        self.tell("checks", checks_html(environment_checks(chosen.data)))
        self.hide("summary")
        dataset = self.dataset = open_data(
            chosen.source, chosen.data, self.identities, self.seed, told=self.say
        )
        remember(chosen, self.home)
        self.settings = chosen
        none = " (no cameras: nothing is left out of a gallery)"
        height, width = chosen.size(dataset)
        words = f"the notebooks' networks see them at {height} × {width} pixels"
        head = f"<b>{html.escape(dataset.name)}</b>{'' if dataset.has_cameras else none}; {words}"
        self.tell("summary", head + table_html(dataset.summary()))
        return f"loaded {len(dataset):,} images from {shortest(dataset.root)}"


def _pixels(name: str, text: str) -> int | None:
    """A size as it is typed in; nothing is the data's shape."""
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise ReidError(f"{name} is a number of pixels, or nothing; got {text!r}") from None
