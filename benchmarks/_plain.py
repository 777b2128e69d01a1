"""The plain form of both networks: METHOD computed eagerly, every operation by itself, one at a
time.

What the fast form is measured against and must equal. It shares the modules that hold the weights
and nothing of how they are used inside a cell; pictures stay in PyTorch's own layout (N x C x H x
W).
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from msinet_core.models.blocks import Cell
from msinet_core.models.interactions import Branches, ChannelGate, CrossAttention
from msinet_core.models.light import Light3x3
from msinet_core.models.msinet import NUM_PARTS, MSINet
from msinet_core.models.norms import Norm
from msinet_core.models.pointwise import Pointwise
from msinet_core.models.supernet import MixedSlot

N = TypeVar("N", bound=nn.Module)


class PlainCell(Cell):
    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first_a(self.reduce_a(x)), self.first_b(self.reduce_b(x))
        a, b = self.slots[0](a, b)
        a, b = self.second_a(a), self.second_b(b)
        a, b = self.slots[1](a, b)
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(self.expand_a(a) + self.expand_b(b) + shortcut)


class PlainNorm(Norm):
    def forward(self, x: Tensor) -> Tensor:
        x = nn.BatchNorm2d.forward(self, x)
        return torch.relu_(x) if self.relu else x


class PlainLight(Light3x3):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.depthwise(self.pointwise(x)))


class PlainPointwise(Pointwise):
    def forward(self, x: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, x)


class PlainGate(ChannelGate):
    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return a * self._gate(a), b * self._gate(b)

    def _gate(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))


class PlainAttention(CrossAttention):
    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return self._take(a, b), self._take(b, a)

    def _take(self, own: Tensor, other: Tensor) -> Tensor:
        x, y = own.flatten(2), other.flatten(2)
        energy = x @ y.transpose(1, 2)
        attention = torch.softmax(energy.amax(dim=-1, keepdim=True) - energy, dim=-1)
        return self.gamma * (attention @ x).view_as(own) + own


class PlainSlot(MixedSlot):
    def forward(self, a: Tensor, b: Tensor) -> Branches:
        mix = cast(Tensor, self.mix)
        outputs = [operation(a, b) for operation in self.operations]
        return (
            sum(weight * out[0] for weight, out in zip(mix, outputs, strict=True)),
            sum(weight * out[1] for weight, out in zip(mix, outputs, strict=True)),
        )


class PlainMSINet(MSINet):
    def part_feature(self, part_map: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(self.part_conv(part_map), (NUM_PARTS, 1))
        return pooled.squeeze(3).transpose(1, 2).flatten(1)


PLAIN = {
    MSINet: PlainMSINet,
    Cell: PlainCell,
    Light3x3: PlainLight,
    Pointwise: PlainPointwise,
    Norm: PlainNorm,
    ChannelGate: PlainGate,
    CrossAttention: PlainAttention,
    MixedSlot: PlainSlot,
}


def plain(model: N) -> N:
    """A copy of a network with the same weights that computes in the plain form."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
