"""Losses of the derived network. Shapes: N images, D feature length, K identities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from msinet_core.models.alignment import alignment_loss
from msinet_core.models.networks import ReidOutput


def batch_hard_triplet(
    features: Tensor, identities: Tensor, margin: float = 0.3, normalise: bool = True
) -> Tensor:
    """Triplet loss with each anchor's hardest partners in the batch; N x D, N -> scalar, mean over
    anchors.

    Hardest positive: the farthest image of the anchor's identity (itself where it is alone);
    hardest negative: the nearest image of another. Euclidean, on L2-normalised features.
    A batch of one identity has no negatives and gives 0.
    """
    features = features.float()
    if normalise:
        features = functional.normalize(features, dim=1)
    squares = features.square().sum(dim=1)
    squared = squares[:, None] + squares[None, :] - 2 * features @ features.T
    distance = squared.clamp(min=1e-12).sqrt()  # the root has no slope at 0
    same = identities[:, None] == identities[None, :]
    positive = distance.masked_fill(~same, 0).amax(dim=1)
    negative = distance.masked_fill(same, float("inf")).amin(dim=1)
    return functional.relu(positive - negative + margin).mean()


def classification_loss(logits: Tensor, identities: Tensor, label_smoothing: float = 0.1) -> Tensor:
    """Cross-entropy; N x K, N -> scalar, mean over images."""
    return functional.cross_entropy(logits.float(), identities, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class LossParts:
    """The terms of one batch; `total` is what is minimised."""

    total: Tensor
    global_classification: Tensor
    global_triplet: Tensor
    part_classification: Tensor
    part_triplet: Tensor
    alignment: Tensor

    def values(self) -> Tensor:
        """All of them in the order of their fields, without gradient."""
        return torch.stack([value.detach() for value in vars(self).values()])


def training_loss(
    output: ReidOutput,
    identities: Tensor,
    *,
    margin: float = 0.3,
    label_smoothing: float = 0.1,
    alignment: str = "none",
    alignment_weight: float = 2.0,
) -> LossParts:
    """[CE + triplet] of the global branch + the same of the part branch + weighted alignment."""
    global_classification = classification_loss(output.global_logits, identities, label_smoothing)
    global_triplet = batch_hard_triplet(output.global_feature, identities, margin)
    part_classification = classification_loss(output.part_logits, identities, label_smoothing)
    part_triplet = batch_hard_triplet(output.part_feature, identities, margin)
    aligned = torch.zeros_like(global_triplet)
    if alignment != "none":
        if output.learned_map is None:
            raise ValueError("alignment needs a network made with alignment=True")
        aligned = alignment_loss(
            output.feature_map.float(), output.learned_map.float(), identities, alignment
        )
    total = global_classification + global_triplet + part_classification + part_triplet
    return LossParts(
        total + alignment_weight * aligned,
        global_classification,
        global_triplet,
        part_classification,
        part_triplet,
        aligned,
    )
