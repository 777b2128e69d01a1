"""Move the overlap of the twins and see which identities and cameras each of them gets."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from msinet_core.data import ReidDataset
from msinet_core.data.checks import check_twins
from msinet_core.data.twins import PAPER_OVERLAP, TwinSplit, twins_split
from msinet_lab.figures.splits import (
    camera_distribution,
    identity_sheet,
    images_per_identity,
    overlap_diagram,
    twin_matrix,
)
from msinet_lab.figures.style import figure_array
from msinet_lab.panels.base import (
    BAD,
    GOOD,
    LABEL,
    QUIET,
    Panel,
    checkbox,
    row,
    slider,
    table_html,
)

SEVERITIES = {"ok": GOOD, "warning": "var(--jp-warn-color0, #9a6700)", "error": BAD}


class TwinSplitPanel(Panel):
    """The twins split of a data set's training images, for any overlap. height, width: of a tile,
    pixels.
    """

    def __init__(
        self,
        dataset: ReidDataset,
        *,
        overlap: float = PAPER_OVERLAP,
        height: int = 128,
        width: int = 64,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("splits", saves_to)
        self.dataset, self.tile = dataset, (height, width)
        self.split: TwinSplit | None = None
        self._split = lru_cache(maxsize=64)(
            lambda share, cameras: twins_split(dataset, share, cameras)
        )
        self._figures = lru_cache(maxsize=64)(self._draw_split)
        self._controls(overlap)
        self.attempt(self.draw)

    def _controls(self, overlap: float) -> None:
        table = self.dataset.train
        identities = sorted(
            table["identity"].unique(), key=lambda name: (isinstance(name, str), name)
        )
        cameras = sorted(
            table["camera"].dropna().unique(), key=lambda name: (isinstance(name, str), name)
        )
        self.overlap = self.tag(
            widgets.FloatSlider(
                overlap,
                min=0,
                max=1,
                step=0.05,
                description="overlap",
                style=LABEL,
                continuous_update=False,
                layout=widgets.Layout(width="420px"),
            ),
            "overlap",
        )
        self.stratify = self.tag(checkbox("halve within each camera"), "stratify")
        self.stratify.disabled = not len(cameras)
        self.identities = self.tag(
            widgets.SelectMultiple(
                options=[(str(name), name) for name in identities],
                rows=8,
                value=tuple(identities[:2]),
                description="identities",
            ),
            "identities",
        )
        self.cameras = self.tag(
            widgets.SelectMultiple(
                options=[(str(name), name) for name in cameras], rows=8, description="cameras"
            ),
            "cameras",
        )
        self.images = self.tag(slider("images", 8, 1, 16), "images")
        self.checks, self.counts = (
            self.tag(widgets.HTML(), "checks"),
            self.tag(widgets.HTML(), "counts"),
        )
        for part in ("overlap-diagram", "matrix", "camera-shares", "images-per-identity", "sheet"):
            self.picture(part, "jpeg" if part == "sheet" else "png")
        shown = self.pictures
        self.children = (
            row(self.overlap, self.stratify, self.save_button()),
            shown["overlap-diagram"],
            shown["matrix"],
            row(self.counts, self.checks),
            row(shown["camera-shares"], shown["images-per-identity"]),
            row(self.identities, self.cameras, self.images),
            shown["sheet"],
            self.status,
        )
        self.react([self.overlap, self.stratify])
        self.react([self.identities, self.cameras, self.images], self.draw_sheet)

    def draw(self) -> str | None:
        key = (round(self.overlap.value, 4), bool(self.stratify.value))
        self.split = self._split(*key)
        for part, picture in self._figures(*key).items():
            self.show(part, picture)
        self.counts.value = table_html(self.split.summary())
        self.checks.value = findings_html(check_twins(self.split))
        self.draw_sheet()
        return None

    def _draw_split(self, overlap: float, stratify: bool) -> dict[str, Any]:
        split = self._split(overlap, stratify)
        sides = split.train, split.validation
        return {
            "overlap-diagram": figure_array(overlap_diagram(*sides)),
            "matrix": figure_array(twin_matrix(*sides)),
            "camera-shares": figure_array(camera_distribution(*sides)),
            "images-per-identity": figure_array(images_per_identity(*sides)),
        }

    def draw_sheet(self) -> str | None:
        """Photographs of the chosen identities, each captioned with the side that sees it."""
        split = self.split
        if split is None:
            return None
        both = pd.concat([split.train.assign(side="train"), split.validation.assign(side="val")])
        height, width = self.tile
        self.show(
            "sheet",
            identity_sheet(
                both,
                self.dataset.root,
                list(self.identities.value)[:12],
                cameras=list(self.cameras.value) or None,
                images=self.images.value,
                height=height,
                width=width,
            ),
        )
        return None


def findings_html(findings: Any) -> str:
    """Findings of the data checks as a small table, green where all is well."""
    rows = "".join(
        f"<tr><td style='color:{SEVERITIES.get(finding.severity, QUIET)}'><b>{finding.severity}</b></td>"
        f"<td style='text-align:left'>{finding.check.removeprefix('twins: ')}</td>"
        f"<td style='text-align:left'>{finding.found}</td></tr>"
        for finding in findings
    )
    return f"<table class='jp-RenderedHTMLCommon'>{rows}</table>"
