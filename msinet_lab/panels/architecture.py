"""Read what a search found: weights by epoch and stage, their way there, the derived network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.space import NUM_STAGES, Genotype
from msinet_lab.figures.architecture import (
    NOTHING_YET,
    TrajectoryPicture,
    alpha_heatmap,
    alpha_trajectories,
    as_history,
    genotype_strips,
    row_of_epoch,
    undecided,
)
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.style import empty_figure, figure_array
from msinet_lab.panels.base import Panel, checkbox, dropdown, row, several, slider


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
        self.epoch = self.tag(slider("epoch", 1, 1, 1), "epoch")
        stages = [("all stages", 0), *((f"stage {n}", n) for n in range(1, NUM_STAGES + 1))]
        self.stage = self.tag(dropdown("stage", stages), "stage")
        self.compare = self.tag(several("compare", names, rows=4, width="420px"), "compare")
        self.band = self.tag(checkbox("mean and range of these runs over the epochs"), "band")
        self.words = self.text("words")
        self._keep_pictures()
        for part in ("heatmap", "trajectories", "network", "strips", "bands"):
            self.picture(part)
        self.children = (
            row(self.run, self.epoch, self.stage, self.save_button()),
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
        self.react([self.epoch, self.stage])
        self.react([self.compare, self.band], self.draw_comparison)
        self.attempt(self.pick_run)

    def _keep_pictures(self) -> None:
        """Drawing these takes longer than a slider may wait."""
        self._network = lru_cache(64)(
            lambda genotype, run: figure_array(draw_network(genotype, **self.looks[run]))
        )
        title = "Runs compared: the one above at its epoch, the others at their last"
        self._strips = lru_cache(64)(
            lambda chosen: figure_array(genotype_strips(dict(chosen), title))
        )
        self._trajectories = lru_cache(16)(
            lambda run, stage: TrajectoryPicture(self.histories[run], stage)
        )
        self._bands = lru_cache(8)(self._draw_bands)

    def _draw_bands(self, names: tuple[str, ...], stage: int | None) -> np.ndarray:
        chosen = {name: self.histories[name] for name in names}
        title = f"Mean and range of {len(names)} searches"
        return figure_array(alpha_trajectories(chosen, stage, title=title))

    def pick_run(self) -> str | None:
        """Set the epoch slider to the run's length and show its last epoch."""
        epochs = self.histories[self.run.value].epochs
        last = int(epochs[-1]) if len(epochs) else 1
        with self.epoch.hold_trait_notifications():
            self.epoch.min, self.epoch.max = min(1, last), max(1, last)
            self.epoch.value = last
        return self.draw()

    def draw(self) -> str | None:
        history, name, epoch = self.histories[self.run.value], self.run.value, self.epoch.value
        stage = self.stage.value or None
        if not len(history):
            for part in ("heatmap", "trajectories", "network"):
                self.show(part, empty_figure(NOTHING_YET))
            self.tell("words", "")
            self.draw_comparison()
            return "this run has no epoch yet"
        place = row_of_epoch(history, epoch)
        genotype = history.genotypes[place]
        self.show("heatmap", alpha_heatmap(history, epoch, stage))
        self.show("trajectories", self._trajectories(name, stage).at(epoch))
        self.show("network", self._network(genotype, name))
        canonical = genotype.canonical()
        note = "it is canonical"
        if canonical != genotype:
            note = f"canonical form <code>{html.escape(str(canonical))}</code>"
        mean = undecided(history)[place].mean()
        words = f"mean entropy {mean:.3f} (1 = undecided)"
        self.tell("words", f"genotype <code>{html.escape(str(genotype))}</code><br>{note}; {words}")
        self.draw_comparison()
        return None

    def draw_comparison(self) -> None:
        """The chosen runs' genotypes: the run on show at the slider's epoch, others at their last.

        If asked for, also mean and range of their weights over the epochs.
        """
        begun = [name for name in self.compare.value if len(self.histories[name])]
        chosen: dict[str, Genotype] = {}
        for name in begun:
            history = self.histories[name]
            place = row_of_epoch(history, self.epoch.value if name == self.run.value else None)
            chosen[f"{name}, epoch {history.epochs[place]}"] = history.genotypes[place]
        self.show("strips", self._strips(tuple(chosen.items())))
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
