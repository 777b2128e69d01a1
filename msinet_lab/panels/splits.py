"""Move the overlap of the twins and see which identities and cameras each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data import Finding, ReidDataset
from msinet_core.data.checks import check_twins
from msinet_core.data.twins import PAPER_OVERLAP, TwinSplit, twins_split
from msinet_lab.figures.elements import drawing
from msinet_lab.figures.splits import (
    camera_distribution,
    identity_sheet,
    images_per_identity,
    in_order,
    overlap_bar,
    twin_matrix,
)
from msinet_lab.panels.base import (
    BAD,
    GOOD,
    QUIET,
    WARNING,
    Panel,
    checkbox,
    marked_html,
    row,
    several,
    share,
    shortest,
    slider,
    table_html,
)
from msinet_lab.panels.settings import HOME, read_settings, remember

COLOURS = {"ok": GOOD, "warning": WARNING, "error": BAD}
MOST = 12  # identities whose photographs are shown at once
FIGURES = {
    "matrix": twin_matrix,
    "camera-shares": camera_distribution,
    "images-per-identity": images_per_identity,
}


class TwinSplitPanel(Panel):
    """The twins split of a data set's training images, for any overlap.

    height, width: of a tile, pixels. home: where the overlap on show is remembered for the searches
    of other notebooks, on a button's press.
    """

    def __init__(
        self,
        dataset: ReidDataset,
        *,
        overlap: float = PAPER_OVERLAP,
        stratify_by_camera: bool = False,
        home: str | Path = HOME,
        height: int = 128,
        width: int = 64,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("splits", saves_to)
        self.dataset, self.tile, self.home = dataset, (height, width), Path(home)
        self.split: TwinSplit | None = None
        self._split = lru_cache(64)(lambda share, cameras: twins_split(dataset, share, cameras))
        self._figures = lru_cache(64)(self._draw_split)
        self._controls(overlap, stratify_by_camera)
        self.attempt(self.draw)

    def _controls(self, overlap: float, stratify: bool) -> None:
        table = self.dataset.train
        identities, cameras = in_order(table["identity"]), in_order(table["camera"].dropna())
        self.overlap = self.tag(share("overlap", overlap, width="340px"), "overlap")
        self.stratify = self.tag(checkbox("halve within each camera", stratify), "stratify")
        self.stratify.disabled = not cameras
        chosen = several("identities", identities, identities[:2], rows=8)
        self.identities = self.tag(chosen, "identities")
        self.cameras = self.tag(several("cameras", cameras, (), rows=8), "cameras")
        self.cameras.layout.display = None if cameras else "none"
        self.images = self.tag(slider("images", 8, 1, 16), "images")
        tip = "searches of the other notebooks then split like this"
        self.keep = self.button("keep", "Use in searches", "check", self.remember, tip)
        self.checks, self.counts = self.text("checks"), self.text("counts")
        shown = {part: self.picture(part) for part in ("overlap-diagram", *FIGURES)}
        self.children = (
            row(self.overlap, self.stratify, self.keep, self.save_button()),
            shown["overlap-diagram"],
            shown["matrix"],
            row(self.counts, self.checks),
            row(shown["camera-shares"], shown["images-per-identity"]),
            row(self.identities, self.cameras, self.images),
            self.picture("sheet"),
            self.status,
        )
        self.react([self.overlap, self.stratify])
        self.react([self.identities, self.cameras, self.images], self.draw_sheet)

    def draw(self) -> str | None:
        key = (round(self.overlap.value, 4), bool(self.stratify.value))
        split = self.split = self._split(*key)
        self.show("overlap-diagram", overlap_bar(split.train, split.validation))
        for part, (shown, figure) in self._figures(*key).items():
            self.show(part, shown, figure)
        self.tell("counts", table_html(split.summary()))
        self.tell("checks", findings_html(check_twins(split)))
        self.draw_sheet()
        return None

    def remember(self) -> str:
        """Let the searches of the other notebooks split as on show."""
        split = {"overlap": self.overlap.value, "stratify_by_camera": self.stratify.value}
        path = remember(replace(read_settings(self.home), **split), self.home)
        return (
            f"searches split with overlap {self.overlap.value:.2f} from now on ({shortest(path)})"
        )

    def _draw_split(self, overlap: float, stratify: bool) -> dict[str, Any]:
        split = self._split(overlap, stratify)
        sides = split.train, split.validation
        figures = {part: draw(*sides) for part, draw in FIGURES.items()}
        return {part: (drawing(figure), figure) for part, figure in figures.items()}

    def draw_sheet(self) -> str | None:
        """Photographs of the chosen identities, each captioned with the side that sees it."""
        split, chosen = self.split, list(self.identities.value)[:MOST]
        if split is None:
            return None
        both = pd.concat([split.train.assign(side="train"), split.validation.assign(side="val")])
        look: Any = {"cameras": list(self.cameras.value), "images": self.images.value}
        photos = identity_sheet(both, self.dataset.root, chosen, size=self.tile, **look)
        self.show("sheet", photos)
        return None


def findings_html(findings: Sequence[Finding]) -> str:
    """Findings of the data checks as a small table, green where all is well."""
    return marked_html(
        [
            (
                COLOURS.get(finding.severity, QUIET),
                finding.severity,
                finding.check.removeprefix("twins: "),
                finding.found,
            )
            for finding in findings
        ]
    )
