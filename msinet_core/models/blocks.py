"""What both networks are built of: convolution with norm, light 3x3, cell, down-sampler, trunk.

Multi-scale interaction (MSI), docs/method.md 1. Shapes: N images, C channels, H x W height and
width, K operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return torch.relu_(x) if self.relu else x


class Light3x3(nn.Module):
    """A 3x3 convolution in two light steps: 1x1 across channels, 3x3 within each; norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.norm(self.depthwise(self.pointwise(x))))  # N x C x H x W


def three_light(channels: int) -> nn.Sequential:
    """Three light 3x3 in a row: a receptive field of 7 x 7."""
    return nn.Sequential(*(Light3x3(channels) for _ in range(3)))


class Cell(nn.Module):
    """Two branches of different receptive field that may interact in two slots.

    `slots` are called with both branches, N x mid x H x W each, and give both back; those of a
    supernet are given the weights of their operations too.
    """

    def __init__(
        self, inputs: int, outputs: int, mid: int, slots: tuple[nn.Module, nn.Module]
    ) -> None:
        super().__init__()
        self.reduce_a, self.reduce_b = ConvNorm(inputs, mid), ConvNorm(inputs, mid)
        self.first_a, self.first_b = Light3x3(mid), three_light(mid)
        self.second_a, self.second_b = Light3x3(mid), three_light(mid)
        self.slots = nn.ModuleList(slots)
        self.expand_a = ConvNorm(mid, outputs, relu=False)
        self.expand_b = ConvNorm(mid, outputs, relu=False)
        self.shortcut = ConvNorm(inputs, outputs, relu=False) if inputs != outputs else None
        self.drop_path: nn.Module = nn.Identity()  # see drop_paths

    def forward(self, x: Tensor, mix: Sequence[Tensor] | None = None) -> Tensor:
        """N x in x H x W -> N x out x H x W; `mix`: of a supernet, K weights for each slot."""
        weights_1, weights_2 = ((), ()) if mix is None else ((mix[0],), (mix[1],))
        a, b = self.enter(x)  # N x mid x H x W each, from here on
        a, b = self.slots[0](a, b, *weights_1)
        a, b = self.between(a, b)
        a, b = self.slots[1](a, b, *weights_2)
        return self.leave(x, a, b)  # N x out x H x W

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the cell's input to the first slot."""
        return self.first_a(self.reduce_a(x)), self.first_b(self.reduce_b(x))

    def between(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """From the first slot to the second."""
        return self.second_a(a), self.second_b(b)

    def leave(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """From the second slot, and past both from the cell's input, to its output."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(self.drop_path(self.expand_a(a) + self.expand_b(b)) + shortcut)


class DownSampler(nn.Sequential):
    """Convolution with norm and ReLU, and a pool: N x C x H x W -> N x C x H/2 x W/2."""

    def __init__(self, channels: int) -> None:
        super().__init__(ConvNorm(channels, channels), nn.AvgPool2d(2, stride=2))


class TrunkMaps(NamedTuple):
    """What a trunk hands to the heads."""

    part: Tensor  # N x c2 x H/16 x W/16, of MSINet after the second down-sampler
    final: Tensor  # N x c3 x H/16 x W/16, of MSINet after stage 3


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
        self.cells = nn.ModuleList()
        for index in range(NUM_CELLS):
            stage, place = divmod(index, CELLS_PER_STAGE)
            inputs, outputs = channels[stage + (place > 0)], channels[stage + 1]
            mid = (outputs if cell_width == "derived" else inputs) // 4
            slot = SLOTS_PER_CELL * index
            slots = make_slot(slot, mid), make_slot(slot + 1, mid)
            self.cells.append(Cell(inputs, outputs, mid, slots))
        self.downs = nn.ModuleList(DownSampler(width) for width in channels[1:NUM_STAGES])

    def forward(self, images: Tensor, mix: Tensor | None = None) -> TrunkMaps:
        """N x 3 x H x W -> two maps; `mix`, 12 x K: of a supernet, the weights of all slots."""
        x = part = self.pool(self.stem(images))  # N x c0 x H/4 x W/4
        rows = None if mix is None else mix.unbind()
        for index, cell in enumerate(self.cells):
            slot = SLOTS_PER_CELL * index
            x = cell(x, None if rows is None else rows[slot : slot + SLOTS_PER_CELL])
            stage, place = divmod(index, CELLS_PER_STAGE)
            if place == CELLS_PER_STAGE - 1 and stage < len(self.downs):
                x = part = self.downs[stage](x)  # N x c1 x H/8 x W/8, then N x c2 x H/16 x W/16
        return TrunkMaps(part, x)


def drop_paths(trunk: Trunk, probability: float) -> None:
    """Stochastic depth: in training an image passes the last cell by its shortcut alone with this
    probability, an earlier one less in proportion; what is kept is scaled to keep its mean.
    """
    from torchvision.ops import StochasticDepth  # slow to import

    for place, cell in enumerate(trunk.cells, 1):
        cell.drop_path = StochasticDepth(probability * place / len(trunk.cells), "row")


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
