"""The first look: what is installed, which device and data there are, a map of the notebooks."""

from __future__ import annotations

import base64
import html
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import ipywidgets as widgets
import torch

from msinet_core.data import ReidDataset, load_dataset
from msinet_core.data.sources import SOURCES
from msinet_core.errors import ReidError
from msinet_lab.panels.base import BAD, GOOD, Panel, dropdown, field, marked_html, row, table_html
from msinet_lab.synthetic import generate

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
GENERATED = {"generated people": "people", "generated vehicles": "vehicles"}
LAYOUT = {"people": "market1501", "vehicles": "veri776"}
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
    device = f"no GPU; {os.cpu_count()} processor cores (enough for generated data)"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    checks.append((True, "device", device))
    folder = Path(data_folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    writable = os.access(there, os.W_OK)
    words = f"{folder.resolve()}{'' if writable else ' cannot be written'}"
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
    "solid var(--jp-border-color1,#ccc);border-radius:6px;overflow:hidden;background:#fff;"
    "color:#22262B;height:178px'>{picture}<div style='padding:4px 8px'>"
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
    """Pick generated data or a data set of yours; `dataset` is what was loaded last."""

    def __init__(
        self,
        folder: str | Path = "data",
        *,
        source: str = "generated people",
        identities: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__("start")
        self.identities, self.seed = identities, seed
        self.dataset: ReidDataset | None = None
        self.source = self.tag(dropdown("data", [*GENERATED, *SOURCES], source), "source")
        self.folder = self.tag(field("folder", str(folder)), "folder")
        self.checks, self.summary = self.text("checks"), self.text("summary")
        self.load = self.button("load", "Load", "folder-open", self.draw)
        self.children = (
            self.checks,
            row(self.source, self.folder, self.load),
            self.summary,
            self.status,
        )
        self.attempt(self.draw)

    def draw(self) -> str:
        source, folder = self.source.value, self.folder.value
        self.tell("checks", checks_html(environment_checks(folder)))
        self.hide("summary")
        dataset = self.dataset = open_data(source, folder, self.identities, self.seed)
        none = " (no cameras: nothing is left out of a gallery)"
        head = f"<b>{html.escape(dataset.name)}</b>{'' if dataset.has_cameras else none}"
        self.tell("summary", head + table_html(dataset.summary()))
        return f"loaded {len(dataset):,} images from {dataset.root.resolve()}"


def open_data(
    source: str, folder: str | Path, identities: int = 20, seed: int = 0, domain: str = "A"
) -> ReidDataset:
    """A data set by the name of its source; `generated people` and `vehicles` are drawn if need be.

    Generated data goes below `folder` into a place of its own for each size, domain and seed.
    `identities` are those to train on; half as many are there for tests. Domain B has other
    cameras, clothes and places.
    """
    if source in SOURCES:
        return load_dataset(source, folder)
    if source not in GENERATED:
        raise ReidError(
            f"there is no data source {source!r}; there are {', '.join([*GENERATED, *SOURCES])}"
        )
    kind = GENERATED[source]
    root = generate(
        kind,
        Path(folder) / f"generated-{kind}-{domain}-{identities}-seed-{seed}",
        domain=domain,
        train_identities=identities,
        test_identities=max(4, identities // 2),
        seed=seed,
    )
    return load_dataset(LAYOUT[kind], root)
