"""Any trunk under the heads of a ReID network: global and part branch, necks, classifiers.

docs/method.md 3. Shapes: N images, H x W height and width, K identities, M positions of the final
map; c2 and c3 are the channels of the trunk's two maps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from msinet_core.errors import ReidError
from msinet_core.models.alignment import LearnedMap
from msinet_core.models.backbones import SHORT, build_backbone
from msinet_core.models.blocks import initialise

PART_CHANNELS = 128
NUM_PARTS = 2  # upper and lower half


class ReidOutput(NamedTuple):
    """What training needs."""

    global_feature: Tensor  # N x c3, before the neck
    global_logits: Tensor  # N x K
    part_feature: Tensor  # N x 256, before the neck
    part_logits: Tensor  # N x K
    feature_map: Tensor  # N x c3 x h x w, the trunk's final map
    learned_map: Tensor | None  # N x M, with alignment only


class Neck(nn.Module):
    """Linear layer without bias, then batch norm whose bias stays 0; N x D -> N x D."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.linear = nn.Linear(length, length, bias=False)
        self.norm = nn.BatchNorm1d(length)
        self.norm.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class GeneralisedMean(nn.Module):
    """GeM pooling: (mean of x^p over all positions)^(1/p), of maps without negative values.

    N x C x h x w -> N x C. p is learnt; 1 is the mean, and the larger it is the nearer the maximum.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, x: Tensor) -> Tensor:
        p = self.p.float()
        return x.float().clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p).to(x.dtype)


class ReidNetwork(nn.Module):
    """A trunk, which gives `TrunkMaps` of `widths` channels (part, final), under ReID heads.

    In evaluation `model(images)` gives N x (c3 + 256) retrieval features (global and part, before
    the necks); in training a `ReidOutput`. `num_identities` sizes the classifiers. With `alignment`
    the network carries SAM's learned map, used in training only. `pooling` is "average" or "gem".
    The trunk comes initialised.
    """

    def __init__(
        self,
        trunk: nn.Module,
        widths: tuple[int, int],
        num_identities: int,
        alignment: bool = False,
        pooling: str = "average",
    ) -> None:
        super().__init__()
        self.num_identities = num_identities
        part_width, width = widths
        self.feature_length = width + PART_CHANNELS * NUM_PARTS
        self.trunk = trunk
        self.neck = Neck(width)
        self.classifier = nn.Linear(width, num_identities)
        self.part_conv = nn.Conv2d(part_width, PART_CHANNELS, 1)
        self.part_neck = Neck(PART_CHANNELS * NUM_PARTS)
        self.part_classifier = nn.Linear(PART_CHANNELS * NUM_PARTS, num_identities)
        self.learned_map = LearnedMap(width) if alignment else None
        self.pool = GeneralisedMean() if pooling == "gem" else None
        for name, head in self.named_children():
            if name != "trunk":
                initialise(head, linear_std=0.01)

    def global_feature(self, final: Tensor) -> Tensor:
        """N x c3 x h x w -> N x c3."""
        return final.mean(dim=(2, 3)) if self.pool is None else self.pool(final)

    def part_feature(self, part_map: Tensor) -> Tensor:
        """N x c2 x h x w -> N x 256: upper half of the height, then lower half, 128 each."""
        x = self.part_conv(part_map)  # N x 128 x h x w
        pooled = functional.adaptive_avg_pool2d(x, (NUM_PARTS, 1))  # N x 128 x 2 x 1
        return pooled.squeeze(3).transpose(1, 2).flatten(1)

    def embed(self, images: Tensor, after_necks: bool = False) -> Tensor:
        """Retrieval features N x (c3 + 256), before the necks, or after them (for transfer)."""
        maps = self.trunk(images)
        whole, part = self.global_feature(maps.final), self.part_feature(maps.part)
        if after_necks:
            whole, part = self.neck(whole), self.part_neck(part)
        return torch.cat((whole, part), dim=1)

    def forward(self, images: Tensor) -> Tensor | ReidOutput:
        if not self.training:
            return self.embed(images)
        maps = self.trunk(images)
        whole, part = self.global_feature(maps.final), self.part_feature(maps.part)
        return ReidOutput(
            whole,
            self.classifier(self.neck(whole)),
            part,
            self.part_classifier(self.part_neck(part)),
            maps.final,
            None if self.learned_map is None else self.learned_map(maps.final),
        )


def resnet(
    name: str, num_identities: int, alignment: bool = False, last_stride: int = 2
) -> ReidNetwork:
    """`resnet18` or `resnet50` of torchvision, random weights, under MSINet's heads: what MSINet is
    measured against. `last_stride` 2 is torchvision's own, 1 is usual for ReID.

    Only the trunk differs, so that losses, schedule, features and evaluation are the same.
    """
    if name not in SHORT:
        raise ReidError(
            f"there is no network {name!r} to compare with; there are {', '.join(SHORT)}"
        )
    trunk, widths = build_backbone(name, (64, 64), last_stride=last_stride)
    return ReidNetwork(trunk, widths, num_identities, alignment)
