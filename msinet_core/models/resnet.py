"""ResNets of torchvision under MSINet's own heads: what MSINet is measured against."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from msinet_core.errors import ReidError
from msinet_core.models.blocks import Channels, TrunkMaps
from msinet_core.models.msinet import MSINet
from msinet_core.space import PAPER_GENOTYPE

# Channels as MSINet counts them: those of stage 2 feed the part branch, those of stage 3 the global
# one.
WIDTHS: dict[str, Channels] = {"resnet18": (64, 128, 256, 512), "resnet50": (64, 512, 1024, 2048)}


class ResNetTrunk(nn.Module):
    """A ResNet without its classifier, random weights; the maps after its third and fourth stage."""

    def __init__(self, name: str) -> None:
        super().__init__()
        whole = getattr(torchvision.models, name)(weights=None)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.stages = nn.ModuleList([whole.layer1, whole.layer2, whole.layer3, whole.layer4])

    def forward(self, images: Tensor) -> TrunkMaps:
        x = part = self.stem(images)
        for place, stage in enumerate(self.stages):
            x = stage(x)
            if place == len(self.stages) - 2:
                part = x  # N x c2 x H/16 x W/16
        return TrunkMaps(part, x)  # final: N x c3 x H/32 x W/32


class ResNetReid(MSINet):
    """`resnet18` or `resnet50` with MSINet's global and part branch, necks and classifiers.

    Only the trunk differs, so that losses, schedule, features and evaluation are the same.
    """

    def __init__(self, name: str, num_identities: int, alignment: bool = False) -> None:
        if name not in WIDTHS:
            raise ReidError(
                f"there is no network {name!r} to compare with; there are {', '.join(WIDTHS)}"
            )
        super().__init__(PAPER_GENOTYPE, num_identities, WIDTHS[name], alignment)
        self.trunk = ResNetTrunk(name)  # type: ignore[assignment]
