"""The supernet: every slot holds all four interactions, mixed by alpha."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from msinet_core.models.blocks import CHANNELS, Cell, Channels, Trunk, initialise
from msinet_core.models.interactions import (
    ChannelGate,
    CrossAttention,
    channels_last,
    make_interaction,
    mix_channels,
)
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype


class MixedSlot(nn.Module):
    """All interactions side by side; their outputs are summed with the weights in `mix` (one per
    operation).

    On channels-last branches the sum is not formed operation by operation. `none`, the gate and the
    attention each make a branch's channels from that branch's own, so together they are one matrix
    per
    image: out_a = [diag(w_none + w_attention + w_gate gate_a) + w_attention gamma attention_a] a +
        w_exchange b.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(make_interaction(name, channels) for name in OPERATIONS)
        self.mix: Tensor | None = None  # set by the supernet for every pass

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        assert self.mix is not None
        if channels_last(a, b):
            one, two = self._at_once(a, b, *self.mix[:4])
            for weight, operation in zip(
                self.mix[4:], list(self.operations)[4:], strict=True
            ):  # registered ones
                own = operation(a, b)
                one, two = one + weight * own[0], two + weight * own[1]
            return one, two
        outputs = [operation(a, b) for operation in self.operations]
        return (
            sum(weight * out[0] for weight, out in zip(self.mix, outputs, strict=True)),
            sum(weight * out[1] for weight, out in zip(self.mix, outputs, strict=True)),
        )

    def _at_once(
        self, a: Tensor, b: Tensor, none: Tensor, gate: Tensor, attention: Tensor, exchange: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum for the four weights, in the order of `OPERATIONS`."""
        gating, attending = (
            cast(ChannelGate, self.operations[1]),
            cast(CrossAttention, self.operations[2]),
        )
        matrix_a, matrix_b = (
            torch.diag_embed(none + attention + gate * factor.flatten(1))
            + attention * attending.gamma * matrix
            for factor, matrix in zip(gating.gates(a, b), attending.attention(a, b), strict=True)
        )  # N x C x C
        return mix_channels(matrix_a, a) + exchange * b, mix_channels(matrix_b, b) + exchange * a


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
        self.temperature = 1.0  # of the softmax over alpha
        # What the authors' files hold beyond this network, kept for writing them again.
        self.reference_extras: dict[str, Tensor] = {}

    @property
    def feature_length(self) -> int:
        return self.channels[3]

    def weights(self) -> list[nn.Parameter]:
        """All parameters but alpha: what the training half of the data moves."""
        return [parameter for name, parameter in self.named_parameters() if name != "alphas"]

    def slots(self) -> list[MixedSlot]:
        return [
            cast(MixedSlot, slot) for cell in self.trunk.cells for slot in cast(Cell, cell).slots
        ]

    def gammas(self) -> list[float]:
        """The learnable scale of each slot's cross attention, which starts at 0."""
        column = OPERATIONS.index("cross_attention")
        attentions = [cast(CrossAttention, slot.operations[column]) for slot in self.slots()]
        return [float(attention.gamma.detach()) for attention in attentions]

    def logits(self) -> Tensor:
        """12 x K: what the softmax is taken of, alpha over the temperature."""
        return self.alphas if self.temperature == 1 else self.alphas / self.temperature

    def genotype(self) -> Genotype:
        """Each slot's operation of largest alpha."""
        best = self.alphas.detach().argmax(dim=1).tolist()
        return Genotype(tuple(OPERATIONS[column] for column in best))

    def forward(self, images: Tensor) -> Tensor:
        mix = torch.softmax(self.logits(), dim=1)
        slots = self.slots()
        for slot, row in zip(slots, mix, strict=True):
            slot.mix = row
        features = self.trunk(images).final.mean(dim=(2, 3))
        for slot in slots:
            slot.mix = (
                None  # or it would keep this pass's graph, which can be neither copied nor replayed
            )
        return features
