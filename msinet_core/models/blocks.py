"""Building blocks of both networks: the stem, the two-branch cell, the down-sampler, the trunk.

Multi-scale interaction (MSI), docs/method.md 1. Shapes: N images, C channels, H x W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from torch import Tensor, nn

from msinet_core.models.entrance import enter
from msinet_core.models.light import Light3x3
from msinet_core.models.norms import Norm, add_normed
from msinet_core.models.pointwise import Pointwise
from msinet_core.models.pools import pooled
from msinet_core.space import CELLS_PER_STAGE, NUM_CELLS, NUM_STAGES, SLOTS_PER_CELL

Channels = tuple[int, int, int, int]
CHANNELS: Channels = (64, 256, 384, 512)

# Makes what sits in a slot, from the slot's number and the number of channels there.
SlotMaker = Callable[[int, int], nn.Module]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and, unless switched off, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        *,
        relu: bool = True,
    ) -> None:
        super().__init__()
        plain = kernel == stride == 1 and padding == 0
        self.conv = (
            Pointwise(inputs, outputs)
            if plain
            else nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        )
        self.norm = Norm(outputs, relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def wide_branch(channels: int) -> nn.Sequential:
    """Three light 3x3 in a row: a receptive field of 7 x 7."""
    return nn.Sequential(*(Light3x3(channels) for _ in range(3)))


class Cell(nn.Module):
    """Two branches of different receptive field that may interact in two slots.

    `slots` are called with both branches, N x mid x H x W each, and give both back.
    """

    def __init__(
        self, inputs: int, outputs: int, mid: int, slots: tuple[nn.Module, nn.Module]
    ) -> None:
        super().__init__()
        self.reduce_a, self.reduce_b = ConvNorm(inputs, mid), ConvNorm(inputs, mid)
        self.first_a, self.first_b = Light3x3(mid), wide_branch(mid)
        self.second_a, self.second_b = Light3x3(mid), wide_branch(mid)
        self.slots = nn.ModuleList(slots)
        self.expand_a, self.expand_b = (
            ConvNorm(mid, outputs, relu=False),
            ConvNorm(mid, outputs, relu=False),
        )
        self.shortcut = ConvNorm(inputs, outputs, relu=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.slots[0](*self.enter(x))
        a, b = self.slots[1](*self.between(a, b))
        return self.leave(x, a, b)

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the cell's input to the first slot."""
        a, b = enter(x, self.reduce_a, self.reduce_b)
        return self.first_a(a), self.first_b(b)

    def between(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """From the first slot to the second."""
        return self.second_a(a), self.second_b(b)

    def leave(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """From the second slot, and past both from the cell's input, to its output."""
        ends = [(self.expand_a, a), (self.expand_b, b)]
        if self.shortcut is not None:
            ends.append((self.shortcut, x))
        maps, norms = (
            [layer.conv(value) for layer, value in ends],
            [layer.norm for layer, _ in ends],
        )
        return add_normed(maps, norms, x if self.shortcut is None else None)


class DownSampler(nn.Sequential):
    """A convolution with norm and ReLU, and a pool."""

    def forward(self, x: Tensor) -> Tensor:
        layer, pool = self
        return pooled(x, cast(ConvNorm, layer), pool)


class TrunkMaps(NamedTuple):
    """What the trunk hands to the heads."""

    part: Tensor  # N x c2 x H/16 x W/16, after the second down-sampler
    final: Tensor  # N x c3 x H/16 x W/16, after stage 3


class Trunk(nn.Module):
    """Stem, three stages of two cells, a down-sampler after stages 1 and 2.

    `cell_width` sets the channels inside a cell: "derived" is a quarter of its output,
    "reference" a quarter of its input, as the authors' supernet has it.
    """

    def __init__(
        self, channels: Channels, make_slot: SlotMaker, cell_width: str = "derived"
    ) -> None:
        super().__init__()
        if cell_width not in ("derived", "reference"):
            raise ValueError(f"cell_width is 'derived' or 'reference', not {cell_width!r}")
        self.stem = ConvNorm(3, channels[0], kernel=7, stride=2, padding=3)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        cells = []
        for index in range(NUM_CELLS):
            stage, place = divmod(index, CELLS_PER_STAGE)
            inputs, outputs = channels[stage + (place > 0)], channels[stage + 1]
            mid = (outputs if cell_width == "derived" else inputs) // 4
            first = index * SLOTS_PER_CELL
            cells.append(
                Cell(inputs, outputs, mid, (make_slot(first, mid), make_slot(first + 1, mid)))
            )
        self.cells = nn.ModuleList(cells)
        self.downs = nn.ModuleList(
            DownSampler(ConvNorm(width, width), nn.AvgPool2d(2, stride=2))
            for width in channels[1:NUM_STAGES]
        )

    def forward(self, images: Tensor) -> TrunkMaps:
        x = pooled(images, self.stem, self.pool)  # N x c0 x H/4 x W/4
        part = x
        for index, cell in enumerate(self.cells):
            x = cell(x)
            stage, place = divmod(index, CELLS_PER_STAGE)
            if place == CELLS_PER_STAGE - 1 and stage < len(self.downs):
                x = part = self.downs[stage](x)
        return TrunkMaps(part, x)


def initialise(model: nn.Module, linear_std: float) -> None:
    """Kaiming normal (fan-out, ReLU) for convolutions, 1 and 0 for norms, N(0, `linear_std`) for
    linear layers.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=linear_std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
