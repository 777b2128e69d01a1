"""Losses beside the method's own, all off by default: `--circle-weight`, `--centre-weight`.

They look at the retrieval feature, global and part branch joined. Shapes: N images, D feature
length, K identities.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD

from msinet_core.config import TrainConfig
from msinet_core.models.networks import ReidOutput

CENTRE_RATE = 0.5  # of the centres, which see neither the loss's weight nor the schedule


class FurtherLosses(nn.Module):
    """The weighted sum of what a configuration asks for beside the training loss."""

    def __init__(self, config: TrainConfig, num_identities: int, length: int) -> None:
        super().__init__()
        self.circle_weight, self.centre_weight = config.circle_weight, config.centre_weight
        self.circle = circle_loss() if config.circle_weight else None
        self.centre = CentreLoss(num_identities, length) if config.centre_weight else None
        self.optimizer = SGD(self.parameters(), CENTRE_RATE) if self.centre else None

    @property
    def are_any(self) -> bool:
        return self.circle is not None or self.centre is not None

    def forward(self, output: ReidOutput, identities: Tensor) -> Tensor:
        """Of a batch's output and identities (N); a scalar."""
        features = torch.cat((output.global_feature, output.part_feature), dim=1).float()
        total = features.new_zeros(())
        if self.circle is not None:
            total = total + self.circle_weight * self.circle(features, identities)
        if self.centre is not None:
            total = total + self.centre_weight * self.centre(features, identities)
        return total

    def step(self) -> None:
        """Move what is learnt here, after a step of the network."""
        if self.optimizer is None:
            return
        for parameter in self.parameters():
            assert parameter.grad is not None
            parameter.grad /= self.centre_weight
        self.optimizer.step()


class CentreLoss(nn.Module):
    """Mean squared distance of features to their identity's centre, which is learnt: K x D."""

    def __init__(self, num_identities: int, length: int) -> None:
        super().__init__()
        # Drawn apart, so that the network's own random numbers stay what they are without it.
        generator = torch.Generator().manual_seed(0)
        self.centres = nn.Parameter(torch.randn(num_identities, length, generator=generator))

    def forward(self, features: Tensor, identities: Tensor) -> Tensor:
        """N x D, N -> scalar."""
        return (features - self.centres[identities]).square().sum(dim=1).mean()


def circle_loss() -> nn.Module:
    """pytorch-metric-learning's circle loss at its own margin and scale (0.4 and 80)."""
    from pytorch_metric_learning.losses import CircleLoss  # in the extra `losses` only

    return CircleLoss()
