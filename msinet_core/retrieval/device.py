"""The counting of `counting.count_closer` by torch operations, for a GPU (or any other device).

All products are in float64, in which those of unit rows are exact (see `counting`): every device
gives the same ranks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from msinet_core.data.matches import Matches


def count_on_device(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    blocks: tuple[int, int],
    device: torch.device | str,
) -> np.ndarray:
    """closer[k] = gallery rows before match k, entries that the camera rule removes not counted.

    query Q x D and gallery G x D are rows of `unit_rows`.
    """
    everyone, starts = torch.from_numpy(gallery).to(device), matches.starts
    closer = np.zeros(len(matches.rows), np.int64)
    for first in range(0, len(query), blocks[0]):
        last = min(first + blocks[0], len(query))
        part = slice(int(starts[first]), int(starts[last]))
        if part.start == part.stop:
            continue
        probes = torch.from_numpy(query[first:last]).to(device).double()
        own, owner, kept = (
            torch.from_numpy(values).to(device)
            for values in (matches.rows[part], matches.owner[part] - first, matches.kept[part])
        )
        score = torch.cat(
            [
                (probes[who] * everyone[row].double()).sum(1)
                for who, row in zip(owner.split(4096), own.split(4096), strict=True)
            ]
        )
        counts = _count(probes, everyone, own, owner, score, blocks[1])
        closer[part] = _without_removed(counts, own, owner, kept, score).cpu().numpy()
    return closer


def _count(
    probes: Tensor, gallery: Tensor, own: Tensor, owner: Tensor, score: Tensor, width: int
) -> Tensor:
    """Counts for the matches `own` (gallery rows) of the probes `owner`; as long as `own`."""
    # Matches of each probe side by side, sorted by score, +inf where a probe has fewer.
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    sizes = torch.bincount(owner, minlength=len(probes))
    column = torch.arange(len(own), device=own.device)
    column -= (torch.cumsum(sizes, 0) - sizes)[owner[order]]
    table = torch.full((len(probes), int(sizes.max())), torch.inf, device=own.device).double()
    table[owner[order], column] = score[order]
    place = torch.zeros_like(table, dtype=torch.int64)  # which match stands there
    place[owner[order], column] = order
    # beaten[q, m] = gallery rows that come before exactly m of the probe's matches
    beaten = torch.zeros(len(probes), table.shape[1] + 1, dtype=torch.int64, device=own.device)
    closer = torch.zeros(len(own), dtype=torch.int64, device=own.device)
    for start in range(0, len(gallery), width):
        block = probes @ gallery[start : start + width].double().T
        farther = torch.searchsorted(table, block)  # matches that score less than an entry
        beaten.scatter_add_(1, farther, torch.ones_like(farther))
        tied = torch.searchsorted(table, block, right=True) - farther
        for nth in range(int(tied.max())):  # those go by gallery order
            probe, entry = torch.nonzero(tied > nth, as_tuple=True)
            match = place[probe, farther[probe, entry] + nth]
            closer.index_add_(0, match, (entry + start < own[match]).long())
    before = beaten.flip(1).cumsum(1).flip(1)[:, 1:]  # more than m of them: before match m
    closer[order] += before[owner[order], column]
    return closer


def _without_removed(
    closer: Tensor, own: Tensor, owner: Tensor, kept: Tensor, score: Tensor
) -> Tensor:
    """Takes out of each count the entries of the same probe that the camera rule removes."""
    for removed in torch.nonzero(~kept).flatten().split(4096):
        one, two = torch.nonzero(owner[removed][:, None] == owner[None, :], as_tuple=True)
        out = removed[one]
        before = (score[out] > score[two]) | ((score[out] == score[two]) & (own[out] < own[two]))
        closer.index_add_(0, two, -before.long())
    return closer
