"""The counting of `counting.count_closer` by torch operations, for a GPU (or any other device).

Exact in the same way: what the float32 product cannot decide is decided by dot products in float64,
which round nowhere (see `counting`), so every device gives the same ranks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from msinet_core.data.matches import Matches
from msinet_core.retrieval.features import product_error


def count_on_device(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    blocks: tuple[int, int],
    device: torch.device | str,
) -> np.ndarray:
    """closer[k] = gallery rows before match k, entries that the camera rule removes not counted.

    query Q x D and gallery G x D are rows of `unit_rows`. Products must be in full precision.
    """
    rows, starts, margin = matches.rows, matches.starts, product_error(query.shape[1])
    everyone = torch.from_numpy(gallery).to(device)
    closer = np.zeros(len(rows), np.int64)
    for first in range(0, len(query), blocks[0]):
        last = min(first + blocks[0], len(query))
        part = slice(int(starts[first]), int(starts[last]))
        if part.start == part.stop:
            continue
        probes = torch.from_numpy(query[first:last]).to(device)
        own, owner, kept = (
            torch.from_numpy(values).to(device)
            for values in (rows[part], matches.owner[part] - first, matches.kept[part])
        )
        counts = _count_block(probes, everyone, own, owner, kept, margin, blocks[1])
        closer[part] = counts.cpu().numpy()
    return closer


def _exact(one: Tensor, two: Tensor) -> Tensor:
    """Dot products of pairs of rows, in float64, at most a million numbers at once."""
    size = max(1, 2**20 // one.shape[1])
    parts = zip(one.split(size), two.split(size), strict=True)
    return torch.cat(
        [(a.double() * b.double()).sum(1) for a, b in parts] or [one.new_zeros(0).double()]
    )


def _count_block(
    probes: Tensor,
    gallery: Tensor,
    own: Tensor,
    owner: Tensor,
    kept: Tensor,
    margin: float,
    width: int,
) -> Tensor:
    """Counts for the matches `own` (gallery rows) of the probes `owner`; as long as `own`."""
    score = _exact(probes[owner], gallery[own])
    # Matches of each probe side by side, sorted by score, +inf where a probe has fewer.
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    sizes = torch.bincount(owner, minlength=len(probes))
    column = (
        torch.arange(len(own), device=own.device) - (torch.cumsum(sizes, 0) - sizes)[owner[order]]
    )
    table = torch.full(
        (len(probes), int(sizes.max())), torch.inf, dtype=torch.float64, device=own.device
    )
    table[owner[order], column] = score[order]
    place = torch.zeros_like(table, dtype=torch.int64)  # which match stands there
    place[owner[order], column] = order
    total = torch.zeros(len(probes), table.shape[1] + 1, dtype=torch.int64, device=own.device)
    closer = torch.zeros(len(own), dtype=torch.int64, device=own.device)
    low, high = (table - margin).float(), (table + margin).float()
    for start in range(0, len(gallery), width):
        block = probes @ gallery[start : start + width].T
        above_low = torch.searchsorted(
            low, block, out_int32=True
        )  # matches that an entry may be closer than
        above_high = torch.searchsorted(high, block, out_int32=True)  # matches that it certainly is
        total.scatter_add_(1, above_high.long(), torch.ones_like(above_high, dtype=torch.int64))
        for probe, entry, match in _near(above_low, above_high, place):
            entry = entry + start
            exact = _exact(probes[probe], gallery[entry])
            before = (exact > score[match]) | ((exact == score[match]) & (entry < own[match]))
            closer.index_add_(0, match, before.long())
    # Match number k of a probe has before it the entries that are above it: those in bins k + 1 and
    # up.
    after = total.flip(1).cumsum(1).flip(1)[:, 1:]
    closer[order] += after[owner[order], column]
    return _without_removed(closer, own, owner, kept, score)


def _near(
    above_low: Tensor, above_high: Tensor, place: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(probe, entry, match) of the pairs whose order the product leaves open."""
    probe, entry = torch.nonzero(above_low != above_high, as_tuple=True)
    first, last = above_high[probe, entry].long(), above_low[probe, entry].long()
    while len(probe):
        yield probe, entry, place[probe, first]
        first = first + 1
        more = first < last
        probe, entry, first, last = probe[more], entry[more], first[more], last[more]


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
