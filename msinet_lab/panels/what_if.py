"""What if a slot held another operation? Change it: mAP, its interval, a rank list both ways."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.retrieval import Comparison, RetrievalResult, compare
from msinet_core.runs.folder import RunFolder
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype, slot_label
from msinet_lab.diagnosis import WhatIf, open_scorer
from msinet_lab.figures.elements import chosen, tag, together
from msinet_lab.figures.network import draw_network, network_html
from msinet_lab.figures.retrieval import Listing, list_gallery, rank_list_figure, shelves
from msinet_lab.figures.sheets import rank_list
from msinet_lab.figures.style import operation_label
from msinet_lab.panels.base import Panel, row, slider

DRAWS = 2000  # of the bootstrap


class WhatIfPanel(Panel):
    """The architecture that a search found; a click on a slot offers it other operations.

    Every choice is evaluated at once with the supernet's weights, norms re-estimated, on held-out
    identities: those of the search that trained no weight (never test images). It is compared with
    what the search found.

    run: a search's folder. dataset: its data (opened from the run's configuration if left out).
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
        run = RunFolder.at(run)
        scorer, held_out = open_scorer(run, dataset, max_identities=max_identities)
        found = run.genotype()
        if found is None:
            raise ReidError(f"{str(run.path)!r} has no genotype yet; let it finish an epoch")
        self.found, self.k, config = found, k, run.config()
        self._look: Any = {"height": config.height, "width": config.width}
        self._look |= {"channels": config.channels}
        self.engine = WhatIf(scorer)
        self.before: RetrievalResult = self.engine.evaluate(found)
        self.after = self.before
        self.comparison: Comparison | None = None
        self.photos = shelves(self.before, held_out.root, height, width)
        precision = np.nan_to_num(self.before.ranking.average_precision, nan=2.0)
        self._network = lru_cache(48)(lambda genotype: network_html(genotype, **self._look))
        self.order = np.argsort(precision, kind="stable").tolist()  # hardest query first
        self._controls()
        self.attempt(self.draw)

    def _controls(self) -> None:
        names = [(operation_label(name), name) for name in OPERATIONS]
        self.slots = [
            self.tag(
                widgets.ToggleButtons(options=names, value=name, style={"button_width": "auto"}),
                f"slot-{slot + 1}",
            )
            for slot, name in enumerate(self.found.slots)
        ]
        self.chosen = 0
        last = len(self.order) - 1
        self.query = self.tag(slider("query, hardest first", 1 + last // 2, 1, 1 + last), "query")
        self.back = self.button("back", "As found", "undo", self.reset)
        self.words, self.slot_name = self.text("words"), self.text("slot")
        self.children = (
            row(self.slot_name, *self.slots, self.back, self.save_button()),
            self.words,
            self.status,
            self.picture("network", self.pick_slot),
            row(self.query),
            self.picture("lists"),
        )
        for place, control in enumerate(self.slots):
            self.react([control], partial(self.draw, place))
        self.react([self.query], self.draw_lists)

    def pick_slot(self, at: str, _: Any) -> None:
        """A click on a slot of the network: its operations are offered."""
        self.chosen = int(at.removeprefix("slot-")) - 1
        self._draw_network()

    def _draw_network(self) -> None:
        """The network, the chosen slot framed, and that slot's buttons."""
        genotype = self.genotype
        for slot, control in enumerate(self.slots):
            control.layout.display = None if slot == self.chosen else "none"
        self.tell("slot", f"<b>{slot_label(self.chosen)}</b>")
        network = chosen(self._network(genotype), f"slot-{self.chosen + 1}")
        self.show("network", network, lambda: draw_network(genotype, **self._look))

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
        """Evaluate the genotype on show; `changed` (0..11) is the slot that was changed last."""
        genotype = self.genotype
        first, known = self.engine.first_change(genotype), genotype in self.engine.results
        self.after = self.engine.evaluate(genotype)
        self.comparison = compare(self.before, self.after, draws=DRAWS)
        self.chosen = self.chosen if changed is None else changed
        self._draw_network()
        self.tell("words", self._verdict(genotype, self.comparison))
        self.draw_lists()
        if genotype == self.found:
            return None
        return "evaluated before" if known else f"evaluated from {slot_label(first)} on"

    def _verdict(self, genotype: Genotype, comparison: Comparison) -> str:
        results = self.before, self.after
        one, two = (100 * result.ranking.mean_average_precision for result in results)
        if genotype == self.found:
            count = self.before.ranking.num_counted
            return f"as found: mAP {one:.2f} % on {count} queries of held-out identities"
        low, high = (100 * end for end in comparison.interval)
        sure = "the interval holds zero: no difference shown"
        if comparison.significant:
            sure = "the interval leaves zero out"
        return (
            f"mAP {one:.2f} → {two:.2f} %: <b>{100 * comparison.difference:+.2f} points</b>, 95 % "
            f"interval {low:+.2f} to {high:+.2f}; {sure}. "
            f"{genotype.distance(self.found)} of {NUM_SLOTS} slots changed."
        )

    def draw_lists(self) -> str | None:
        """The rank list of the chosen query as found (above) and as changed (below)."""
        number, results = int(self.order[self.query.value - 1]), (self.before, self.after)
        lists = [list_gallery(result, number, self.k) for result in results]
        named = zip(("as found", "as changed"), results, lists, strict=True)
        sheets = [
            together(tag("div", name, class_="faint"), rank_list(result, listing, self.photos))
            for name, result, listing in named
        ]
        self.show("lists", together(*sheets), lambda: self._figures(lists))
        one, two = (100 * float(r.ranking.average_precision[number]) for r in results)
        return (
            f"query {number + 1}: AP {one:.1f} % as found (above), {two:.1f} % as changed (below)"
        )

    def _figures(self, lists: list[Listing]) -> list[Figure]:
        """Both rank lists for a file."""
        return [
            rank_list_figure(result, *self.photos, listings=[listing])
            for result, listing in zip((self.before, self.after), lists, strict=True)
        ]
