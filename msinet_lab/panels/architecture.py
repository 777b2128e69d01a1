"""Read what a search found: weights by epoch and stage, their way there, the derived network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.search.history import SearchHistory
from msinet_core.space import NUM_SLOTS, NUM_STAGES, OPERATIONS, Genotype, slot_label
from msinet_lab.figures.architecture import (
    NOTHING_YET,
    alpha_heatmap,
    alpha_trajectories,
    as_history,
    row_of_epoch,
    undecided,
)
from msinet_lab.figures.elements import chosen
from msinet_lab.figures.network import draw_network, network_html
from msinet_lab.figures.sheets import slopes, strips, weights_sheet
from msinet_lab.figures.style import empty_figure, operation_label
from msinet_lab.panels.base import Panel, checkbox, dropdown, played, row, several, slider


class ArchitecturePanel(Panel):
    """One or more searches by name, each as `as_history` takes it: a `SearchHistory`, a run folder,
    its lines, or E x 12 x K of alpha.

    Networks are drawn at the size and with the channels of a run folder's configuration.
    """

    def __init__(self, histories: Mapping[str, Any], *, saves_to: str | Path = "figures") -> None:
        super().__init__("architecture", saves_to)
        if not histories:
            raise ReidError("there is no run to show; give at least one search's history")
        self.histories = {str(name): as_history(source) for name, source in histories.items()}
        self.looks = {str(name): look_of(source) for name, source in histories.items()}
        names = list(self.histories)
        self.run = self.tag(dropdown("run", names, width="420px"), "run")
        self.epoch = self.tag(slider("epoch", 1, 1, 1, live=True), "epoch")
        stages = [("all stages", 0), *((f"stage {n}", n) for n in range(1, NUM_STAGES + 1))]
        self.stage = self.tag(dropdown("stage", stages, width="180px"), "stage")
        slots = [("none", None), *((slot_label(slot), slot) for slot in range(NUM_SLOTS))]
        self.slot = self.tag(dropdown("slot", slots, width="240px"), "slot")
        self.compare = self.tag(several("compare", names, rows=4, width="420px"), "compare")
        self.band = self.tag(checkbox("mean and range of these runs over the epochs"), "band")
        self.words = self.text("words")
        self._network = lru_cache(64)(lambda g, run: network_html(g, **self.looks[run]))
        self._bands = lru_cache(8)(self._draw_bands)
        for part in ("heatmap", "network", "trajectories"):
            self.picture(part, self.pick_slot)
        for part in ("strips", "bands"):
            self.picture(part)
        self.children = (
            row(self.run, played(self.epoch), self.stage, self.slot, self.save_button()),
            self.pictures["heatmap"],
            self.words,
            self.pictures["network"],
            self.pictures["trajectories"],
            row(self.compare, self.band),
            self.pictures["strips"],
            self.pictures["bands"],
            self.status,
        )
        self.react([self.run], self.pick_run)
        self.react([self.epoch, self.stage, self.slot])
        self.react([self.compare, self.band], self.draw_comparison)
        self.attempt(self.pick_run)

    def _draw_bands(self, names: tuple[str, ...], stage: int | None) -> list[Figure]:
        histories = {name: self.histories[name] for name in names}
        stages = range(1, NUM_STAGES + 1) if stage is None else [stage]
        return [alpha_trajectories(histories, number) for number in stages]

    def pick_slot(self, at: str, _: Any) -> str | None:
        """A click on a slot, wherever it is drawn: choose it, or no longer."""
        slot = int(at.removeprefix("slot-")) - 1
        self.slot.value = None if self.slot.value == slot else slot
        return self.draw()

    def pick_run(self) -> str | None:
        """Set the epoch slider to the run's length and show its last epoch."""
        epochs = self.histories[self.run.value].epochs
        last = int(epochs[-1]) if len(epochs) else 1
        with self.epoch.hold_trait_notifications():
            self.epoch.min, self.epoch.max = min(1, last), max(1, last)
            self.epoch.value = last
        return self.draw()

    def draw(self) -> str | None:
        name, epoch, slot = self.run.value, self.epoch.value, self.slot.value
        history, stage = self.histories[name], self.stage.value or None
        if not len(history):
            for part in ("heatmap", "trajectories", "network"):
                self.show(part, empty_figure(NOTHING_YET))
            self.tell("words", "")
            self.draw_comparison()
            return "this run has no epoch yet"
        place, stages = row_of_epoch(history, epoch), range(1, NUM_STAGES + 1)
        stages = stages if stage is None else range(stage, stage + 1)
        genotype = history.genotypes[place]
        weights = weights_sheet(history, place, stages, slot)
        self.show("heatmap", weights, lambda: alpha_heatmap(history, epoch, stage))
        drawn = slopes(history, epoch, stages, slot)
        self.show("trajectories", drawn, lambda: alpha_trajectories(history, stage, epoch))
        at = None if slot is None else f"slot-{slot + 1}"
        network = chosen(self._network(genotype, name), at)
        self.show("network", network, lambda: draw_network(genotype, **self.looks[name]))
        self.tell("words", self._sentence(history, place, slot))
        self.draw_comparison()
        return None

    def _sentence(self, history: SearchHistory, place: int, slot: int | None) -> str:
        """The genotype, and the chosen slot's weights."""
        genotype = history.genotypes[place]
        canonical = genotype.canonical()
        note = "it is canonical"
        if canonical != genotype:
            note = f"canonical form <code>{html.escape(str(canonical))}</code>"
        entropies = undecided(history)[place]
        lines = [
            f"genotype <code>{html.escape(str(genotype))}</code>",
            f"{note}; mean entropy {entropies.mean():.3f} (1 = undecided)",
        ]
        if slot is not None:
            weights = zip(
                map(operation_label, OPERATIONS), history.weights[place, slot], strict=True
            )
            shares = ", ".join(f"{html.escape(name)} {value:.3f}" for name, value in weights)
            entropy = f"entropy {entropies[slot]:.3f}"
            lines.append(
                f"<b>{slot_label(slot)}</b> at epoch {history.epochs[place]}: {shares}; {entropy}"
            )
        return "<br>".join(lines)

    def draw_comparison(self) -> None:
        """The chosen runs' genotypes: the run on show at the slider's epoch, others at their last.

        If asked for, also mean and range of their weights over the epochs.
        """
        begun = [name for name in self.compare.value if len(self.histories[name])]
        shown: dict[str, Genotype] = {}
        for name in begun:
            history = self.histories[name]
            place = row_of_epoch(history, self.epoch.value if name == self.run.value else None)
            shown[f"{name}, epoch {history.epochs[place]}"] = history.genotypes[place]
        self.show("strips", strips(shown))
        if self.band.value and begun:
            self.show("bands", self._bands(tuple(begun), self.stage.value or None))
        else:
            self.hide("bands")


def look_of(source: Any) -> dict[str, Any]:
    """Height, width and channels of a run's network, as `draw_network` takes them; empty for what
    is no run folder.
    """
    if not isinstance(source, RunFolder | str | Path):
        return {}
    config = RunFolder.at(source).config()
    return {"height": config.height, "width": config.width, "channels": config.channels}
