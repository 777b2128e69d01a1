"""MSINet: the derived network with its global and part branches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from msinet_core.models.alignment import LearnedMap
from msinet_core.models.blocks import CHANNELS, Channels, Trunk, initialise
from msinet_core.models.interactions import make_interaction
from msinet_core.space import Genotype

PART_CHANNELS = 128
NUM_PARTS = 2  # upper and lower half


class MSINetOutput(NamedTuple):
    """What training needs; K identities."""

    global_feature: Tensor  # N x c3, before the neck
    global_logits: Tensor  # N x K
    part_feature: Tensor  # N x 256, before the neck
    part_logits: Tensor  # N x K
    feature_map: Tensor  # N x c3 x H/16 x W/16, of stage 3
    learned_map: Tensor | None  # N x M, with alignment only


class Neck(nn.Module):
    """Linear layer without bias, then batch norm whose bias stays 0; D -> D."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.linear = nn.Linear(length, length, bias=False)
        self.norm = nn.BatchNorm1d(length)
        self.norm.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class MSINet(nn.Module):
    """A network for one genotype.

    In evaluation `model(images)` gives N x (c3 + 256) retrieval features (global and part,
    before the necks); in training an `MSINetOutput`. `num_identities` sizes the classifiers.
    With `alignment` the network carries SAM's learned map, used in training only.
    """

    def __init__(
        self,
        genotype: Genotype,
        num_identities: int,
        channels: Channels = CHANNELS,
        alignment: bool = False,
    ) -> None:
        super().__init__()
        self.genotype, self.num_identities, self.channels = (
            genotype,
            num_identities,
            tuple(channels),
        )
        self.trunk = Trunk(
            channels, lambda slot, width: make_interaction(genotype.slots[slot], width)
        )
        width, part_width = channels[3], PART_CHANNELS * NUM_PARTS
        self.neck = Neck(width)
        self.classifier = nn.Linear(width, num_identities)
        self.part_conv = nn.Conv2d(channels[2], PART_CHANNELS, 1)
        self.part_neck = Neck(part_width)
        self.part_classifier = nn.Linear(part_width, num_identities)
        self.learned_map = LearnedMap(width) if alignment else None
        initialise(self, linear_std=0.01)

    @property
    def feature_length(self) -> int:
        return self.channels[3] + PART_CHANNELS * NUM_PARTS

    def part_feature(self, part_map: Tensor) -> Tensor:
        """N x c2 x H x W -> N x 256: upper half of the height, then lower half, each pooled to 128."""
        # The convolution of the mean is the mean of the convolution, and costs next to nothing.
        pooled = self.part_conv(
            functional.adaptive_avg_pool2d(part_map, (NUM_PARTS, 1))
        )  # N x 128 x 2 x 1
        return pooled.squeeze(3).transpose(1, 2).flatten(1)

    def embed(self, images: Tensor, after_necks: bool = False) -> Tensor:
        """Retrieval features N x (c3 + 256), before the necks or after them (better for transfer)."""
        maps = self.trunk(images)
        global_feature, part_feature = maps.final.mean(dim=(2, 3)), self.part_feature(maps.part)
        if after_necks:
            global_feature, part_feature = self.neck(global_feature), self.part_neck(part_feature)
        return torch.cat((global_feature, part_feature), dim=1)

    def forward(self, images: Tensor) -> Tensor | MSINetOutput:
        if not self.training:
            return self.embed(images)
        maps = self.trunk(images)
        global_feature, part_feature = maps.final.mean(dim=(2, 3)), self.part_feature(maps.part)
        return MSINetOutput(
            global_feature,
            self.classifier(self.neck(global_feature)),
            part_feature,
            self.part_classifier(self.part_neck(part_feature)),
            maps.final,
            None if self.learned_map is None else self.learned_map(maps.final),
        )
