"""Look around in the search space: the network with its slots, and what each operation does to
feature maps.
"""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from msinet_core.models import MSINet, make_interaction
from msinet_core.models.describe import describe
from msinet_core.models.interactions import CrossAttention
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, SLOTS_PER_CELL, Genotype, slot_label
from msinet_lab.figures.attention import feature_sheet
from msinet_lab.figures.feature_maps import as_input, slot_inputs
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.style import INK, figure_array, operation_label
from msinet_lab.figures.tiles import caption, stack
from msinet_lab.panels.base import LABEL, Panel, dropdown, row, slider, table_html

SHOWN = 8  # channels of each branch in the picture


class SearchSpacePanel(Panel):
    """Stage, cell, slot and operation by dropdown; `photo` is an H x W x 3 uint8 picture to send
    through.

    The network is `model` if given, otherwise an untrained one of `genotype`.
    """

    def __init__(
        self,
        photo: np.ndarray,
        genotype: Genotype = PAPER_GENOTYPE,
        model: Any = None,
        *,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("space", saves_to)
        self.photo, self.model = photo, model if model is not None else MSINet(genotype, 2).eval()
        self.genotype = self.model.genotype
        self.stage = self.tag(dropdown("stage", (1, 2, 3), width="150px"), "stage")
        self.cell = self.tag(dropdown("cell", (1, 2), width="150px"), "cell")
        self.slot = self.tag(dropdown("slot", (1, 2), width="150px"), "slot")
        self.operation = self.tag(
            dropdown(
                "operation", [(operation_label(name), name) for name in OPERATIONS], "channel_gate"
            ),
            "operation",
        )
        self.gamma = self.tag(
            widgets.FloatSlider(
                0.0,
                min=0,
                max=1,
                step=0.05,
                description="gamma",
                style=LABEL,
                continuous_update=False,
            ),
            "gamma",
        )
        self.first = self.tag(slider("first channel", 0, 0, 0), "first")
        self.words, self.sizes = (
            self.tag(widgets.HTML(), "words"),
            self.tag(widgets.HTML(), "sizes"),
        )
        self.picture("network")
        self.picture("maps")
        self._inputs = lru_cache(maxsize=12)(
            lambda slot: slot_inputs(self.model, as_input(self.photo), slot)
        )
        self._network = lru_cache(maxsize=48)(
            lambda genotype, slot: figure_array(draw_network(genotype, chosen=slot))
        )
        self._sizes = lru_cache(maxsize=48)(self._describe)
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
        self.attempt(self.draw)

    @property
    def number(self) -> int:
        """The chosen slot, 0..11."""
        return (
            ((self.stage.value - 1) * 2 + self.cell.value - 1) * SLOTS_PER_CELL
            + self.slot.value
            - 1
        )

    def draw(self) -> str | None:
        slot, name = self.number, self.operation.value
        slots = list(self.genotype.slots)
        slots[slot] = name
        changed = Genotype(tuple(slots))
        self.gamma.disabled = name != "cross_attention"
        before = self._inputs(slot)
        width = before[0].shape[1]
        self.first.max = max(0, width - SHOWN)
        after, parameters, products = self._apply(name, before)
        self.show("network", self._network(changed, slot))
        part = slice(self.first.value, self.first.value + SHOWN)
        sheets = []
        for tensors, when in ((before, "before"), (after, f"after {operation_label(name)}")):
            for tensor, branch in zip(tensors, "ab", strict=True):
                maps = feature_sheet(tensor[0, part], SHOWN)
                sheets += [caption(f"branch {branch}, {when}", maps.shape[1], INK), maps]
        self.show("maps", stack(sheets, gap=0))
        moved = sum(float((y - x).norm()) for x, y in zip(before, after, strict=True))
        moved /= sum(float(x.norm()) for x in before) or 1.0
        self.words.value = (
            f"<b>{slot_label(slot)}: {operation_label(name)}</b>: {parameters:,} parameters, {products:,} multiply-adds "
            f"on {width} channels of {before[0].shape[2]} × {before[0].shape[3]}; it changes the branches by "
            f"{100 * moved:.1f} % of their length<br>genotype <code>{html.escape(str(changed))}</code>"
        )
        self.sizes.value = self._sizes(changed)
        return None

    def _apply(self, name: str, before: Any) -> tuple[Any, int, int]:
        """The operation on both branches, with its parameters and multiply-adds. Untrained unless
        the network has it.
        """
        cell: Any = self.model.trunk.cells[self.number // SLOTS_PER_CELL]
        operation: Any = cell.slots[self.number % SLOTS_PER_CELL]
        if self.genotype.slots[self.number] != name or name == "cross_attention":
            with torch.random.fork_rng():
                torch.manual_seed(0)
                operation = make_interaction(name, before[0].shape[1])
        if isinstance(operation, CrossAttention):
            operation.gamma.data.fill_(self.gamma.value)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            after = operation(*before)
        return after, sum(p.numel() for p in operation.parameters()), counter.get_total_flops() // 2

    def _describe(self, genotype: Genotype) -> str:
        with torch.device("meta"):  # counting needs shapes, no numbers
            network = MSINet(genotype, 2)
        table = describe(network, self.photo.shape[0], self.photo.shape[1])
        table["parameters"] = [f"{value:,}" for value in table["parameters"]]
        table["multiply_adds"] = [f"{value / 1e6:,.1f} M" for value in table["multiply_adds"]]
        return f"<details><summary>Parameters and multiply-adds of this network</summary>{table_html(table)}</details>"
