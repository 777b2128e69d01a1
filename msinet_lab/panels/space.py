"""Look around in the search space: the network, and what each operation does to feature maps."""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from msinet_core.models import MSINet, make_interaction
from msinet_core.models.blocks import CHANNELS, Channels
from msinet_core.models.describe import describe
from msinet_core.models.interactions import CrossAttention
from msinet_core.space import (
    CELLS_PER_STAGE,
    NUM_STAGES,
    OPERATIONS,
    PAPER_GENOTYPE,
    SLOTS_PER_CELL,
    Genotype,
    slot_label,
)
from msinet_lab.figures.elements import Html, chosen, together
from msinet_lab.figures.feature_maps import as_input, slot_inputs
from msinet_lab.figures.network import draw_network, network_html
from msinet_lab.figures.sheets import channels as channel_sheet
from msinet_lab.figures.style import operation_label
from msinet_lab.panels.base import Panel, dropdown, row, share, slider, table_html

SHOWN = 8  # channels of each branch in the picture
Branches = tuple[Tensor, Tensor]  # 1 x mid x h x w each


class SearchSpacePanel(Panel):
    """Stage, cell, slot and operation by dropdown; `photo` (H x W x 3, uint8) is sent through.

    The network is `model` if given, otherwise an untrained one of `genotype` with `channels`, its
    norms fitted to the photograph; it works on the photograph's own size.
    """

    def __init__(
        self,
        photo: np.ndarray,
        genotype: Genotype = PAPER_GENOTYPE,
        model: Any = None,
        *,
        channels: Channels = CHANNELS,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("space", saves_to)
        made = model if model is not None else untrained(genotype, channels, photo)
        self.photo, self.model, self.genotype = photo, made, made.genotype
        self.look: Any = {"channels": made.channels}
        self.look |= {"height": photo.shape[0], "width": photo.shape[1]}
        self._inputs = lru_cache(12)(lambda slot: slot_inputs(self.model, as_input(photo), slot))
        self._network = lru_cache(48)(lambda genotype: network_html(genotype, **self.look))
        self._sizes = lru_cache(48)(self._describe)
        self._controls()
        self.attempt(self.draw)

    def _controls(self) -> None:
        def numbers(name: str, count: int) -> Any:
            return self.tag(dropdown(name, range(1, count + 1), width="150px"), name)

        self.stage = numbers("stage", NUM_STAGES)
        self.cell, self.slot = numbers("cell", CELLS_PER_STAGE), numbers("slot", SLOTS_PER_CELL)
        names = [(operation_label(name), name) for name in OPERATIONS]
        self.operation = self.tag(dropdown("operation", names, "channel_gate"), "operation")
        self.gamma = self.tag(share("gamma", 0.0), "gamma")
        self.first = self.tag(slider("first channel", 1, 1, 1), "first")
        self.words, self.sizes = self.text("words"), self.text("sizes")
        self.picture("network", self.pick_slot)
        self.picture("maps")
        self.children = (
            row(self.stage, self.cell, self.slot, self.operation, self.save_button()),
            self.pictures["network"],
            self.words,
            row(self.gamma, self.first),
            self.pictures["maps"],
            self.sizes,
            self.status,
        )
        self.react([self.stage, self.cell, self.slot, self.operation, self.gamma, self.first])

    def pick_slot(self, at: str, _: Any) -> str | None:
        """A click on a slot of the network."""
        cell, slot = divmod(int(at.removeprefix("slot-")) - 1, SLOTS_PER_CELL)
        stage, cell = divmod(cell, CELLS_PER_STAGE)
        self.stage.value, self.cell.value, self.slot.value = stage + 1, cell + 1, slot + 1
        return self.draw()

    @property
    def number(self) -> int:
        """The chosen slot, 0..11."""
        cell = (self.stage.value - 1) * CELLS_PER_STAGE + self.cell.value - 1
        return cell * SLOTS_PER_CELL + self.slot.value - 1

    def draw(self) -> str | None:
        slot, name, gamma = self.number, self.operation.value, self.gamma.value
        slots = list(self.genotype.slots)
        slots[slot] = name
        changed = Genotype(tuple(slots))
        self.gamma.disabled = name != "cross_attention"
        before = self._inputs(slot)
        width, height, breadth = before[0].shape[1:]
        self.first.max = max(1, width - SHOWN + 1)
        after, costs = self._apply(slot, name, gamma, before)
        network = chosen(self._network(changed), f"slot-{slot + 1}")
        self.show("network", network, lambda: draw_network(changed, chosen=slot, **self.look))
        self.show("maps", self._maps(before, after, operation_label(name)))
        moved = sum(float((y - x).norm()) for x, y in zip(before, after, strict=True))
        moved /= sum(float(x.norm()) for x in before) or 1.0
        self.tell(
            "words",
            f"<b>{slot_label(slot)}: {operation_label(name)}</b>: {costs} "
            f"on {width} channels of {height} × {breadth}; it changes the branches by "
            f"{100 * moved:.1f} % of their length<br>"
            f"genotype <code>{html.escape(str(changed))}</code>",
        )
        self.tell("sizes", self._sizes(changed))
        return None

    def _maps(self, before: Branches, after: Branches, name: str) -> Html:
        """A few channels of both branches, before and after; those of a branch on one scale."""
        first, sheets = self.first.value - 1, []
        for branch, pair in zip("ab", zip(before, after, strict=True), strict=True):
            both = [tensor[0, first : first + SHOWN] for tensor in pair]
            limits = min(float(x.min()) for x in both), max(float(x.max()) for x in both)
            rows = (f"branch {branch}, {when}" for when in ("before", f"after {name}"))
            sheets.append(channel_sheet(dict(zip(rows, both, strict=True)), limits))
        return together(*sheets)

    def _apply(self, slot: int, name: str, gamma: float, before: Branches) -> tuple[Branches, str]:
        """The operation on both branches, and its costs. Untrained unless the network has it."""
        cell: Any = self.model.trunk.cells[slot // SLOTS_PER_CELL]
        operation: Any = cell.slots[slot % SLOTS_PER_CELL]
        if self.genotype.slots[slot] != name or name == "cross_attention":
            with torch.random.fork_rng():
                torch.manual_seed(0)
                operation = make_interaction(name, before[0].shape[1])
        if isinstance(operation, CrossAttention):
            operation.gamma.data.fill_(gamma)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            after = operation(*before)
        parameters = sum(p.numel() for p in operation.parameters())
        products = counter.get_total_flops() // 2
        return after, f"{parameters:,} parameters, {products:,} multiply-adds"

    def _describe(self, genotype: Genotype) -> str:
        with torch.device("meta"):  # counting needs shapes, no numbers
            network = MSINet(genotype, 2, self.look["channels"])
        table = describe(network, *self.photo.shape[:2])
        table["parameters"] = [f"{value:,}" for value in table["parameters"]]
        table["multiply_adds"] = [f"{value / 1e6:,.1f} M" for value in table["multiply_adds"]]
        height, width = self.photo.shape[:2]
        head = f"Parameters and multiply-adds of this network at {height} × {width} pixels"
        return f"<details><summary>{head}</summary>{table_html(table)}</details>"


def untrained(genotype: Genotype, channels: Channels, photo: np.ndarray) -> MSINet:
    """A network with random weights whose batch norms have the photograph's own mean and deviation,
    without which the branch of more layers would be black beside the other.
    """
    network = MSINet(genotype, 2, channels)
    for module in network.trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of what is seen: one photograph
    with torch.no_grad():
        network.trunk(as_input(photo))
    return network.eval()
