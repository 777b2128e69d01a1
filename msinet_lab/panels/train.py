"""Choose a genotype (found, the paper's, your own) and train its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msinet_core.config import TrainConfig
from msinet_core.runs.folder import RunFolder
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype
from msinet_lab.figures.network import draw_network, network_html
from msinet_lab.panels.base import dropdown, field, row
from msinet_lab.panels.run import RunPanel
from msinet_lab.panels.small_runs import command_of, run_folder

OWN = "my own (text below)"


class TrainPanel(RunPanel):
    """A `RunPanel` for trainings below `folder`, one run folder a genotype.

    config: what to train, its genotype aside. found: genotypes by name, such as those of searches.
    """

    def __init__(
        self,
        folder: str | Path,
        config: TrainConfig,
        found: Mapping[str, Genotype] | None = None,
        *,
        choice: str = "paper",
        poll: float = 1.0,
        saves_to: str | Path = "figures",
    ) -> None:
        self.home, self.config = Path(folder), config
        self.genotypes = {"paper": PAPER_GENOTYPE, **(found or {})}
        self.choice = dropdown("genotype", [*self.genotypes, OWN], choice, width="360px")
        self.own = field("own", str(PAPER_GENOTYPE), width="96%", disabled=True)
        first = self.config_for(self.genotypes[choice])
        super().__init__(run_folder(folder, first), command_of(first), poll=poll, saves_to=saves_to)
        self.tag(self.choice, "genotype")
        self.tag(self.own, "own")
        self.picture("network", self.pick_slot)
        controls, progress, *others = self.children
        chosen = row(self.choice), self.own
        self.children = (*chosen, controls, progress, self.pictures["network"], *others)
        self.react([self.choice, self.own], self.choose)
        self.attempt(self.choose)

    def config_for(self, genotype: Genotype) -> TrainConfig:
        """The panel's configuration with this genotype."""
        return replace(self.config, genotype=str(genotype))

    @property
    def genotype(self) -> Genotype:
        """The chosen one; `ReidError` for text that is none."""
        own = self.choice.value == OWN
        return Genotype.parse(self.own.value) if own else self.genotypes[self.choice.value]

    def pick_slot(self, at: str, _: Any) -> Any:
        """A click on a slot gives it the next operation: a genotype of one's own."""
        slots, slot = list(self.genotype.slots), int(at.removeprefix("slot-")) - 1
        slots[slot] = OPERATIONS[(OPERATIONS.index(slots[slot]) + 1) % len(OPERATIONS)]
        self.own.value, self.choice.value = str(Genotype(tuple(slots))), OWN
        return self.choose()

    def choose(self) -> Any:
        """Turn to the chosen genotype: its picture, its command, its run folder."""
        self.own.disabled = self.choice.value != OWN
        genotype, config = self.genotype, self.config
        size: Any = {"height": config.height, "width": config.width, "channels": config.channels}
        drawn = network_html(genotype, **size)
        self.show("network", drawn, lambda: draw_network(genotype, **size))
        config = self.config_for(genotype)
        self.command, self._stop_wanted = command_of(config), False
        self.run = RunFolder(run_folder(self.home, config).absolute())
        return self.draw()
