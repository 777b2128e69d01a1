"""The first look: what is installed, which device there is, which data, and a map of the notebooks."""

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
from msinet_lab.panels.base import BAD, GOOD, LABEL, Panel, dropdown, row, table_html
from msinet_lab.synthetic import generate

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "matplotlib",
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
    """(good, what, found) for Python, packages, device, memory for caches, and the data folder."""
    checks = [(sys.version_info >= (3, 11), "Python", platform.python_version())]
    for name in PACKAGES:
        try:
            checks.append((True, name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append((False, name, "not installed: pip install -e '.[lab]'"))
    gpu = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"no GPU; {os.cpu_count()} processor cores (enough for generated data)"
    )
    checks.append((True, "device", gpu))
    folder = Path(data_folder)
    writable = os.access(
        next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()),
        os.W_OK,
    )
    checks.append(
        (writable, "data folder", f"{folder.resolve()}{'' if writable else ' cannot be written'}")
    )
    return checks


def checks_html(checks: list[tuple[bool, str, str]]) -> str:
    """The checks as a table, each with a green tick or a red cross."""
    rows = "".join(
        f"<tr><td style='color:{GOOD if good else BAD}'><b>{'✔ good' if good else '✘ look'}</b></td>"
        f"<td style='text-align:left'>{html.escape(what)}</td><td style='text-align:left'>{html.escape(found)}</td></tr>"
        for good, what, found in checks
    )
    return f"<table class='jp-RenderedHTMLCommon'>{rows}</table>"


def notebook_map(pictures: str | Path = "../figures/thumbnails") -> widgets.HTML:
    """A card for every notebook, with its thumbnail where there is one; a click opens the notebook."""
    cards = []
    for name, words in NOTEBOOKS.items():
        path = Path(pictures) / f"{name}.png"
        source = (
            f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
            if path.is_file()
            else ""
        )
        picture = (
            f"<img src='{source}' alt='' style='width:100%;height:110px;object-fit:cover;object-position:top left'>"
            if source
            else ""
        )
        cards.append(
            f"<a href='{name}.ipynb' style='text-decoration:none;color:inherit'><div style='border:1px solid "
            f"var(--jp-border-color1,#ccc);border-radius:6px;overflow:hidden;background:#fff;color:#22262B;height:178px'>"
            f"{picture}<div style='padding:4px 8px'><b>{name.replace('_', ' ')}</b><br>{words}</div></div></a>"
        )
    grid = widgets.HTML(
        "<div style='display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:10px;"
        f"line-height:1.35'>{''.join(cards)}</div>"
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
        self.folder = self.tag(
            widgets.Text(
                str(folder),
                description="folder",
                style=LABEL,
                continuous_update=False,
                layout=widgets.Layout(width="380px"),
            ),
            "folder",
        )
        self.load = self.tag(widgets.Button(description="Load", icon="folder-open"), "load")
        self.checks, self.summary = (
            self.tag(widgets.HTML(), "checks"),
            self.tag(widgets.HTML(), "summary"),
        )
        self.children = (
            self.checks,
            row(self.source, self.folder, self.load),
            self.summary,
            self.status,
        )
        self.react([self.load])
        self.attempt(self.draw)

    def draw(self) -> str:
        self.checks.value = checks_html(environment_checks(self.folder.value))
        self.summary.value = ""
        self.dataset = open_data(self.source.value, self.folder.value, self.identities, self.seed)
        cameras = (
            "" if self.dataset.has_cameras else " (no cameras: nothing is left out of a gallery)"
        )
        self.summary.value = (
            f"<b>{html.escape(self.dataset.name)}</b>{cameras}{table_html(self.dataset.summary())}"
        )
        return f"loaded {len(self.dataset):,} images from {self.dataset.root.resolve()}"


def open_data(
    source: str, folder: str | Path, identities: int = 20, seed: int = 0, domain: str = "A"
) -> ReidDataset:
    """A data set by the name of its source; `generated people` and `generated vehicles` are drawn
    if need be.

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
