"""The supernet: every slot holds all interactions, mixed by alpha.

Shapes: N images, C channels, H x W height and width, K operations.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from msinet_core.errors import ReidError
from msinet_core.models.blocks import CHANNELS, Cell, Channels, Trunk, initialise
from msinet_core.models.interactions import Branches, CrossAttention, make_interaction
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype


class MixedSlot(nn.Module):
    """All interactions side by side; their outputs are summed with one weight each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make_interaction(name, channels) for name in OPERATIONS)

    def forward(self, a: Tensor, b: Tensor, weights: Tensor) -> Branches:
        """Twice N x C x H x W, and K -> twice N x C x H x W."""
        outputs = [operation(a, b) for operation in self.operations]
        return (
            sum(weight * out[0] for weight, out in zip(weights, outputs, strict=True)),
            sum(weight * out[1] for weight, out in zip(weights, outputs, strict=True)),
        )


class Supernet(nn.Module):
    """Images N x 3 x H x W -> features N x c3, with every slot mixed by softmax(alpha).

    `alphas` is 12 x K: slots by `OPERATIONS`. `cell_width` is "derived" (cells as wide as the
    derived network's) or "reference" (as the authors' supernet, narrower in cells 1, 3 and 5).
    """

    def __init__(self, channels: Channels = CHANNELS, cell_width: str = "derived") -> None:
        super().__init__()
        self.channels, self.cell_width = tuple(channels), cell_width
        self.trunk = Trunk(channels, lambda slot, width: MixedSlot(width), cell_width)
        initialise(self, linear_std=0.001)
        self.alphas = nn.Parameter(1e-3 * torch.randn(NUM_SLOTS, len(OPERATIONS)))
        self.temperature = 1.0  # of the softmax over alpha
        # What the authors' files hold beyond this network, kept for writing them again.
        self.reference_extras: dict[str, Tensor] = {}

    @property
    def feature_length(self) -> int:
        return self.channels[3]

    def logits(self) -> Tensor:
        """12 x K: what the softmax is taken of, alpha over the temperature."""
        return self.alphas / self.temperature

    def forward(self, images: Tensor) -> Tensor:
        mix = torch.softmax(self.logits(), dim=1)  # 12 x K
        return self.trunk(images, mix).final.mean(dim=(2, 3))  # N x c3

    def embed(self, images: Tensor, after_necks: bool = False) -> Tensor:
        """The features, N x c3; it has no necks, which `after_necks` would ask for."""
        if after_necks:
            raise ReidError("a supernet has no necks; leave after_necks off")
        return self(images)

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters but alpha: what the training half of the data moves."""
        return [parameter for name, parameter in self.named_parameters() if name != "alphas"]

    def slots(self) -> list[MixedSlot]:
        """The twelve slots, in the order of alpha's rows."""
        cells = cast("list[Cell]", list(self.trunk.cells))
        return [cast(MixedSlot, slot) for cell in cells for slot in cell.slots]

    def gammas(self) -> list[float]:
        """The learnable scale of each slot's cross attention, which starts at 0."""
        column = OPERATIONS.index("cross_attention")
        attentions = [cast(CrossAttention, slot.operations[column]) for slot in self.slots()]
        return [float(attention.gamma.detach()) for attention in attentions]

    def genotype(self) -> Genotype:
        """Each slot's operation of largest alpha."""
        best = self.alphas.detach().argmax(dim=1).tolist()
        return Genotype(tuple(OPERATIONS[column] for column in best))
