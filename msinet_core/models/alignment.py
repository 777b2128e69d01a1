"""SAM, the spatial alignment module: attention kept consistent between images.

docs/method.md 4. Shapes: N images, C channels, M = H * W positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

MODES = ("none", "pos", "neg", "pos_neg")
FEW = 1024  # positions worked on at once on a CPU
MANY = 1 << 14  # and elsewhere: starting a GPU's kernels takes longer than running small ones


class _BestMatch(torch.autograd.Function):
    """max over n of <F_g(n), F_p(m)>, one image g at a time, so that N x N x M x M never exists.

    The backward pass needs only which position won: N x N x M indices.
    """

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor) -> Tensor:
        features = _positions(feature_map)  # N x M x C
        count, positions, channels = features.shape
        everywhere = features.reshape(-1, channels)  # NM x C
        best = features.new_empty(count, count * positions)
        where = torch.empty(count, count * positions, dtype=torch.int32, device=features.device)
        for image in range(count):
            for part in _blocks(everywhere):
                value, index = (everywhere[part] @ features[image].T).max(dim=1)  # of few x M
                best[image, part], where[image, part] = value, index
        ctx.save_for_backward(feature_map, where)
        return best.view(count, count, positions)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        feature_map, where = ctx.saved_tensors
        features = _positions(feature_map)
        result = torch.zeros_like(feature_map, memory_format=torch.channels_last)
        total = result.permute(0, 2, 3, 1).view_as(features)
        channels = features.shape[2]
        everywhere, flat = features.reshape(-1, channels), total.view(-1, channels)
        for image, weight in enumerate(grad.reshape(len(features), -1, 1)):
            for part in _blocks(everywhere):  # the gathered rows stay few
                index = where[image, part].long()
                flat[part].addcmul_(features[image][index], weight[part])
                total[image].index_add_(0, index, everywhere[part] * weight[part])
        return result


def _blocks(rows: Tensor) -> list[slice]:
    size = FEW if rows.device.type == "cpu" else MANY
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _positions(feature_map: Tensor) -> Tensor:
    """N x C x H x W -> N x M x C, a view where the map is channels-last."""
    return feature_map.flatten(2).transpose(1, 2).contiguous()


def pairwise_map(feature_map: Tensor) -> Tensor:
    """How strongly each position of each image is found anywhere in each other image.

    N x C x H x W -> N x N x M with U[g, p, m] = max over positions n of g of <F_g(n), F_p(m)>.
    Memory grows with N * N * M and N * M * C, not with N * N * M * M.
    """
    return _BestMatch.apply(feature_map)


class LearnedMap(nn.Module):
    """Attention of an image on itself: P[m] = max over n of <query(F)(m), key(F)(n)>.

    N x C x H x W -> N x M, for maps of any size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 8)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)

    def forward(self, feature_map: Tensor) -> Tensor:
        query = self.query(feature_map).flatten(2)  # N x C/8 x M
        key = self.key(feature_map).flatten(2)  # N x C/8 x M
        energy = query.transpose(1, 2) @ key  # N x M x M: queries by keys
        return energy.max(dim=2).values


def alignment_loss(
    feature_map: Tensor, learned_map: Tensor, identities: Tensor, mode: str = "pos"
) -> Tensor:
    """The parts of the alignment loss that `mode` names: `pos`, `neg` or `pos_neg`; a scalar.

    feature_map N x C x H x W, learned_map N x M, identities N. `pos` compares each image's
    learned map with its pairwise maps to its own identity, `neg` its pairwise maps to the other
    identities among themselves; both as 1 - cosine. Every image counts the same, however many
    images its identity has; a batch of one identity has no `neg`.
    """
    if mode not in MODES:
        raise ValueError(f"alignment mode is one of {', '.join(MODES)}, not {mode!r}")
    loss = feature_map.new_zeros(())
    if mode == "none":
        return loss
    maps = functional.normalize(pairwise_map(feature_map), dim=2)
    same = identities[:, None] == identities[None, :]  # N x N
    if "pos" in mode:
        cosine = (maps @ functional.normalize(learned_map, dim=1)[:, :, None]).squeeze(2)  # N x N
        loss = loss + (1 - (cosine * same).sum(1) / same.sum(1)).mean()
    if "neg" in mode:
        other = (~same).to(maps.dtype)
        number = other.sum(1)
        # The mean cosine over all ordered pairs of unit vectors is the squared length of their
        # mean.
        mean = torch.einsum("ip,ipm->im", other, maps) / number.clamp(min=1)[:, None]
        loss = loss + ((1 - mean.square().sum(1)) * (number > 0)).mean()
    return loss
