"""The supernet: every slot holds all four interactions, mixed by alpha (paper: section 3.1)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from msinet_core.models.blocks import CHANNELS, Cell, Channels, Trunk, initialise
from msinet_core.models.interactions import CrossAttention, make_interaction
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype


class MixedSlot(nn.Module):
    """All interactions side by side; their outputs are summed with the weights in `mix` (one per operation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make_interaction(name, channels) for name in OPERATIONS)
        self.mix: Tensor | None = None  # set by the supernet before every pass

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        assert self.mix is not None
        outputs = [operation(a, b) for operation in self.operations]
        return (
            sum(weight * out[0] for weight, out in zip(self.mix, outputs, strict=True)),
            sum(weight * out[1] for weight, out in zip(self.mix, outputs, strict=True)),
        )


class Supernet(nn.Module):
    """Images N x 3 x H x W -> features N x c3, with every slot mixed by softmax(alpha).

    `alphas` is 12 x 4: slots by `OPERATIONS`. `cell_width` is "derived" (cells as wide as the
    derived network's) or "reference" (as the authors' supernet, narrower in cells 1, 3 and 5).
    """

    def __init__(self, channels: Channels = CHANNELS, cell_width: str = "derived") -> None:
        super().__init__()
        self.channels, self.cell_width = tuple(channels), cell_width
        self.trunk = Trunk(channels, lambda slot, width: MixedSlot(width), cell_width)
        initialise(self, linear_std=0.001)
        self.alphas = nn.Parameter(1e-3 * torch.randn(NUM_SLOTS, len(OPERATIONS)))
        # What the authors' files hold beyond this network, kept for writing them again.
        self.reference_extras: dict[str, Tensor] = {}

    @property
    def feature_length(self) -> int:
        return self.channels[3]

    def weights(self) -> list[nn.Parameter]:
        """All parameters but alpha: what the training half of the data moves."""
        return [parameter for name, parameter in self.named_parameters() if name != "alphas"]

    def slots(self) -> list[MixedSlot]:
        return [cast(MixedSlot, slot) for cell in self.trunk.cells for slot in cast(Cell, cell).slots]

    def gammas(self) -> list[float]:
        """The learnable scale of each slot's cross attention, which starts at 0."""
        column = OPERATIONS.index("cross_attention")
        attentions = [cast(CrossAttention, slot.operations[column]) for slot in self.slots()]
        return [float(attention.gamma.detach()) for attention in attentions]

    def genotype(self) -> Genotype:
        """Each slot's operation of largest alpha."""
        best = self.alphas.detach().argmax(dim=1).tolist()
        return Genotype(tuple(OPERATIONS[column] for column in best))

    def forward(self, images: Tensor) -> Tensor:
        mix = torch.softmax(self.alphas, dim=1)
        for slot, row in zip(self.slots(), mix, strict=True):
            slot.mix = row
        return self.trunk(images).final.mean(dim=(2, 3))
