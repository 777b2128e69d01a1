"""Read what a search found: weights by epoch and stage, their way there, and the derived network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from msinet_core.errors import ReidError
from msinet_core.space import NUM_STAGES, OPERATIONS, Genotype
from msinet_lab.figures.architecture import (
    TrajectoryPicture,
    alpha_heatmap,
    alpha_history,
    entropy,
    genotype_strips,
    softmax,
)
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.style import empty_figure, figure_array
from msinet_lab.panels.base import Panel, dropdown, row, slider


def genotype_of(alpha: Any) -> Genotype:
    """Each slot's operation of largest weight."""
    return Genotype(tuple(OPERATIONS[column] for column in np.asarray(alpha).argmax(axis=1)))


class ArchitecturePanel(Panel):
    """Histories of one or more searches: `histories[name]` is E x 12 x 4, or a history's lines or
    table.
    """

    def __init__(self, histories: Mapping[str, Any], *, saves_to: str | Path = "figures") -> None:
        super().__init__("architecture", saves_to)
        if not histories:
            raise ReidError("there is no run to show; give at least one search's history")
        self.histories = {str(name): alpha_history(history) for name, history in histories.items()}
        names = list(self.histories)
        self.run = self.tag(dropdown("run", names), "run")
        self.epoch = self.tag(slider("epoch", 1, 1, 1), "epoch")
        stages = [("all stages", 0), *((f"stage {n}", n) for n in range(1, NUM_STAGES + 1))]
        self.stage = self.tag(dropdown("stage", stages), "stage")
        self.compare = self.tag(
            widgets.SelectMultiple(
                options=names, value=names, description="compare", rows=min(4, len(names) + 1)
            ),
            "compare",
        )
        self.words = self.tag(widgets.HTML(), "words")
        # Drawing these takes longer than a slider may wait, so they are kept.
        self._network = lru_cache(maxsize=64)(lambda genotype: figure_array(draw_network(genotype)))
        self._strips = lru_cache(maxsize=64)(
            lambda chosen: figure_array(genotype_strips(dict(chosen), "Runs compared"))
        )
        self._trajectories = lru_cache(maxsize=16)(
            lambda run, stage: TrajectoryPicture(self._drawable(run), stage)
        )
        for part in ("heatmap", "trajectories", "network", "strips"):
            self.picture(part)
        self.children = (
            row(self.run, self.epoch, self.stage, self.save_button()),
            self.pictures["heatmap"],
            self.words,
            self.pictures["network"],
            self.pictures["trajectories"],
            row(self.compare),
            self.pictures["strips"],
            self.status,
        )
        self.react([self.run], self.pick_run)
        self.react([self.epoch, self.stage])
        self.react([self.compare], self.draw_comparison)
        self.attempt(self.pick_run)

    def pick_run(self) -> str | None:
        """Set the epoch slider to the run's length and show its last epoch."""
        epochs, _ = self.histories[self.run.value]
        last = int(epochs[-1]) if len(epochs) else 1
        with self.epoch.hold_trait_notifications():
            self.epoch.min, self.epoch.max = min(1, last), max(1, last)
            self.epoch.value = last
        return self.draw()

    @property
    def alpha(self) -> np.ndarray | None:
        """12 x 4 of the epoch on show, or None before the first epoch."""
        epochs, alphas = self.histories[self.run.value]
        if not len(epochs):
            return None
        return alphas[
            int(np.searchsorted(epochs, self.epoch.value, side="right").clip(1, len(epochs))) - 1
        ]

    def draw(self) -> str | None:
        alpha = self.alpha
        if alpha is None:
            for part in self.pictures:
                self.show(part, empty_figure("No epoch has been recorded yet."))
            return "this run has no epoch yet"
        weights, genotype = softmax(alpha), genotype_of(alpha)
        self.show(
            "heatmap",
            alpha_heatmap(
                alpha, f"Softmax weights after epoch {self.epoch.value}", self.stage.value or None
            ),
        )
        self.show(
            "trajectories",
            self._trajectories(self.run.value, self.stage.value or None).at(self.epoch.value),
        )
        self.show("network", self._network(genotype))
        canonical = genotype.canonical()
        note = (
            "it is canonical"
            if canonical == genotype
            else f"canonical form <code>{html.escape(str(canonical))}</code>"
        )
        self.words.value = (
            f"genotype <code>{html.escape(str(genotype))}</code><br>{note}; "
            f"mean entropy {entropy(weights).mean():.3f} (1 = undecided)"
        )
        self.draw_comparison()
        return None

    def draw_comparison(self) -> None:
        """The chosen runs' genotypes, each at the epoch of the slider or its own last one before
        it.
        """
        chosen = {}
        for name in self.compare.value:
            epochs, alphas = self.histories[name]
            if len(epochs):
                at = (
                    int(
                        np.searchsorted(epochs, self.epoch.value, side="right").clip(1, len(epochs))
                    )
                    - 1
                )
                chosen[f"{name}, epoch {epochs[at]}"] = genotype_of(alphas[at])
        self.show("strips", self._strips(tuple(chosen.items())))

    def _drawable(self, run: str) -> list[dict[str, Any]]:
        epochs, alphas = self.histories[run]
        return [
            {"epoch": epoch, "alphas": alpha} for epoch, alpha in zip(epochs, alphas, strict=True)
        ]
