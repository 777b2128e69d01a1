"""What if a slot held another operation? Change it, and see mAP, its interval, and a rank list
before and after.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.retrieval import Comparison, RetrievalResult, compare
from msinet_core.runs.folder import RunFolder
from msinet_core.space import NUM_SLOTS, NUM_STAGES, OPERATIONS, Genotype
from msinet_lab.diagnosis import WhatIf, open_scorer
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.retrieval import gallery_image, list_gallery, shelves
from msinet_lab.figures.style import operation_label
from msinet_lab.figures.tiles import stack
from msinet_lab.panels.base import Panel, dropdown, row, slider

SLOTS_PER_STAGE = NUM_SLOTS // NUM_STAGES
DRAWS = 2000  # of the bootstrap


class WhatIfPanel(Panel):
    """The architecture that a search found, with a dropdown for every slot.

    run: a search's folder. dataset: its data (opened from the run's configuration if left out).
        Every
    choice is evaluated at once with the supernet's weights, norms re-estimated, on identities of
    the search that trained no weight (never test images), and compared with what the search found.
    k: gallery images shown. height, width: of a tile, pixels.
    """

    def __init__(
        self,
        run: RunFolder | str | Path,
        dataset: ReidDataset | None = None,
        *,
        k: int = 10,
        height: int = 128,
        width: int = 64,
        max_identities: int = 40,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("what-if", saves_to)
        run = run if isinstance(run, RunFolder) else RunFolder(run)
        scorer, unseen = open_scorer(run, dataset, max_identities=max_identities)
        found = run.genotype()
        if found is None:
            raise ReidError(
                f"{str(run.path)!r} has no genotype yet; let its search finish an epoch"
            )
        self.found, self.size, self.k = found, (height, width), k
        self.channels, self.input = run.config().channels, (run.config().height, run.config().width)
        self.engine = WhatIf(scorer)
        self.before: RetrievalResult = self.engine.evaluate(found)
        self.after = self.before
        self.comparison: Comparison | None = None
        self.photos = shelves(self.before, unseen.root, height, width)
        self._controls()
        self.attempt(self.draw)

    def _controls(self) -> None:
        names = [(operation_label(name), name) for name in OPERATIONS]
        self.slots = [
            self.tag(dropdown(f"slot {slot + 1}", names, name, width="220px"), f"slot-{slot + 1}")
            for slot, name in enumerate(self.found.slots)
        ]
        order = np.argsort(
            np.nan_to_num(self.before.ranking.average_precision, nan=2.0), kind="stable"
        )
        self.order = order.tolist()  # hardest query first
        self.query = self.tag(
            slider("query, hardest first", len(self.order) // 2, 0, len(self.order) - 1), "query"
        )
        self.back = self.tag(widgets.Button(description="As found", icon="undo"), "back")
        self.words = self.tag(widgets.HTML(), "words")
        self.picture("network")
        self.picture("lists", "jpeg")
        stages = [
            row(
                widgets.HTML(f"<b>stage {stage + 1}</b>"),
                *self.slots[stage * SLOTS_PER_STAGE : (stage + 1) * SLOTS_PER_STAGE],
            )
            for stage in range(NUM_STAGES)
        ]
        self.children = (
            self.pictures["network"],
            *stages,
            row(self.back, self.save_button()),
            self.words,
            row(self.query),
            self.pictures["lists"],
            self.status,
        )
        for place, control in enumerate(self.slots):
            self.react([control], partial(self.draw, place))
        self.react([self.query], self.draw_lists)
        self.react([self.back], self.reset)

    @property
    def genotype(self) -> Genotype:
        """What the dropdowns say."""
        return Genotype(tuple(control.value for control in self.slots))

    def reset(self) -> str | None:
        """Every slot as the search found it."""
        for control, name in zip(self.slots, self.found.slots, strict=True):
            control.value = name
        return self.draw()

    def draw(self, changed: int | None = None) -> str | None:
        """Evaluate the genotype on show; `changed` (0..11) is framed in the picture of the network."""
        start, genotype = time.perf_counter(), self.genotype
        first = self.engine.first_change(genotype)
        known = genotype in self.engine.results
        self.after = self.engine.evaluate(genotype)
        seconds = time.perf_counter() - start
        self.comparison = compare(self.before, self.after, draws=DRAWS)
        height, width = self.input
        self.show(
            "network",
            draw_network(
                genotype, chosen=changed, channels=self.channels, height=height, width=width
            ),
        )
        self.words.value = self._verdict(genotype)
        self.draw_lists()
        return "remembered" if known else f"evaluated in {seconds:.1f} s, from slot {first + 1} on"

    def _verdict(self, genotype: Genotype) -> str:
        assert self.comparison is not None
        scores = [
            100 * result.ranking.mean_average_precision for result in (self.before, self.after)
        ]
        low, high = (100 * end for end in self.comparison.interval)
        if genotype == self.found:
            return f"as found: mAP {scores[0]:.2f} % on {self.before.ranking.num_counted} queries of identities that trained no weight"
        sure = (
            "the interval leaves zero out"
            if self.comparison.significant
            else "the interval holds zero: no difference shown"
        )
        return (
            f"mAP {scores[0]:.2f} → {scores[1]:.2f} %: <b>{100 * self.comparison.difference:+.2f} points</b>, 95 % interval "
            f"{low:+.2f} to {high:+.2f}; {sure}. {genotype.distance(self.found)} of {NUM_SLOTS} slots changed."
        )

    def draw_lists(self) -> str | None:
        """The rank list of the chosen query as found (above) and as changed (below)."""
        number = int(self.order[self.query.value])
        sheets = [self._list(result, number) for result in (self.before, self.after)]
        self.show("lists", stack(sheets))
        precision = [
            100 * float(result.ranking.average_precision[number])
            for result in (self.before, self.after)
        ]
        return f"query {number}: AP {precision[0]:.1f} % as found (above), {precision[1]:.1f} % as changed (below)"

    def _list(self, result: Any, number: int) -> np.ndarray:
        return gallery_image(
            result, list_gallery(result, number, self.k), *self.photos, columns=self.k
        )
