"""Ranking and re-ranking by torch operations, for a GPU.

All products are in float64, in which those of unit rows are exact (see `counting`): what is counted
and who is nearest is the same as on a processor, ties in gallery order included. Re-ranked
distances differ from a processor's by the rounding of its float32 products.

Whole rows are looked at, as many at once as `entries` similarities make, 512 MB of float64: about
2.5 GB in use at a time, beyond the features, whatever the size of the gallery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from msinet_core.data.matches import Matches

ENTRIES = 1 << 26
COLUMNS = 8192  # rows of a gallery widened to float64 at once
PAIRS = 1 << 23  # shared neighbours looked at in one go
SPARE = 11  # candidates beyond the k nearest, so that ties for the last place are seen
FEW = 64  # rows sorted as a whole where they are not
ONE = 2.0**52  # overlaps are added as whole numbers, whose sum no order of addition changes


def computes(device: torch.device | str) -> bool:
    """Whether a device does the work of this module; mps has no float64, and xpu not always."""
    return torch.device(device).type == "cuda"


def place_of(*features: object) -> torch.device:
    """Where features lie, if that is one device: numpy's belong to the processor."""
    found = {x.device if isinstance(x, Tensor) else torch.device("cpu") for x in features}
    return found.pop() if len(found) == 1 else torch.device("cpu")


# -- similarities --------------------------------------------------------------------------------


def similarities(probes: Tensor, rows: Tensor) -> Tensor:
    """B x D and N x D float32 unit rows -> their B x N dot products, float64, exact."""
    probes = probes.double()
    found = probes.new_empty(len(probes), len(rows))
    for start in range(0, len(rows), COLUMNS):
        part = rows[start : start + COLUMNS].double()
        found[:, start : start + len(part)] = probes @ part.T
    return found


def in_blocks(count: int, width: int, entries: int) -> Iterator[tuple[int, int]]:
    """first..last for `count` rows of `width` entries, about `entries` at a time."""
    size = max(1, entries // max(1, width))
    for first in range(0, count, size):
        yield first, min(first + size, count)


# -- ranks ---------------------------------------------------------------------------------------


def count_on_device(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    device: torch.device | str,
    entries: int = ENTRIES,
) -> np.ndarray:
    """closer[k] = gallery rows before match k, entries that the camera rule removes not counted.

    query Q x D and gallery G x D are rows of `unit_rows`, without junk.
    """
    probes, rows = (torch.from_numpy(part).to(device) for part in (query, gallery))
    blocks = in_blocks(len(query), len(gallery), entries)
    return count_in_blocks(((a, similarities(probes[a:b], rows)) for a, b in blocks), matches)


def count_in_blocks(blocks: Iterable[tuple[int, Tensor]], matches: Matches) -> np.ndarray:
    """The same from blocks of scores (B x G, larger is closer), each with its first query."""
    closer = np.zeros(len(matches.rows), np.int64)
    for first, score in blocks:
        part = slice(int(matches.starts[first]), int(matches.starts[first + len(score)]))
        if part.start < part.stop:
            found = matches.owner[part] - first, matches.rows[part], matches.kept[part]
            owner, own, kept = (torch.from_numpy(values).to(score.device) for values in found)
            counts = _count(score, owner, own)
            counts -= _removed_before(score, owner, own, kept)
            closer[part] = counts.cpu().numpy()
    return closer


def _count(score: Tensor, owner: Tensor, own: Tensor) -> Tensor:
    """How many columns come before each match `own` (a column) of the row `owner`."""
    value = score[owner, own]
    # Matches of each row side by side, sorted by score, +inf where a row has fewer.
    order = torch.argsort(value, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    sizes = torch.bincount(owner, minlength=len(score))
    nth = torch.arange(len(own), device=own.device) - (torch.cumsum(sizes, 0) - sizes)[owner[order]]
    table = score.new_full((len(score), int(sizes.max())), torch.inf)
    table[owner[order], nth] = value[order]
    place = torch.zeros_like(table, dtype=torch.int64)  # which match stands there
    place[owner[order], nth] = order
    # beaten[q, m] = columns that come before exactly m of the row's matches
    farther = torch.searchsorted(table, score)  # matches that score less than an entry
    beaten = farther.new_zeros(len(score), table.shape[1] + 1)
    beaten.scatter_add_(1, farther, torch.ones_like(farther[:1, :1]).expand_as(farther))
    before = beaten.flip(1).cumsum(1).flip(1)[:, 1:]  # more than m of them: before match m
    closer = torch.empty_like(own)
    closer[order] = before[owner[order], nth]
    tied = torch.searchsorted(table, score, right=True).sub_(farther)
    for nth_tie in range(int(tied.max())):  # those go by column
        row, column = torch.nonzero(tied > nth_tie, as_tuple=True)
        match = place[row, farther[row, column] + nth_tie]
        closer.index_add_(0, match, (column < own[match]).long())
    return closer


def _removed_before(score: Tensor, owner: Tensor, own: Tensor, kept: Tensor) -> Tensor:
    """How many columns that the camera rule removes come before each match of the same row."""
    order = torch.argsort(score[owner, own], descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]  # ties stay in gallery order
    removed = (~kept)[order].long()
    before = removed.cumsum(0) - removed  # those of earlier rows as well
    sizes = torch.bincount(owner, minlength=len(score))
    first = (torch.cumsum(sizes, 0) - sizes)[owner[order]]
    found = torch.empty_like(own)
    found[order] = before - before[first]
    return found


# -- re-ranking ----------------------------------------------------------------------------------


def nearest_on_device(
    unit: np.ndarray,
    half: np.ndarray,
    k: int,
    device: torch.device | str,
    *,
    entries: int = ENTRIES,
    spare: int = SPARE,
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest.nearest_rows`: the k nearest rows of every row (N x k, int64) and the largest
    squared distances (N).
    """
    rows, halves = torch.from_numpy(unit).to(device), torch.from_numpy(half).to(device)
    index = np.empty((len(unit), k), np.int64)
    farthest = np.empty(len(unit))
    for first, last in in_blocks(len(unit), len(unit), entries):
        key = similarities(rows[first:last], rows)
        farthest[first:last] = 2 * (half[first:last] + 0.5 - key.amin(1).cpu().numpy())
        key -= halves  # falls as the distance grows
        index[first:last] = _largest(key, k, spare).cpu().numpy()
    return index, np.maximum(farthest, 1e-12)


def _largest(key: Tensor, k: int, spare: int) -> Tensor:
    """Columns of the k largest of each row, largest first, equal ones in order: B x k, int64."""
    value, column = key.topk(min(k + spare, key.shape[1]))  # in any order where they are equal
    column, order = column.sort(1)
    value, order = value.gather(1, order).sort(stable=True, dim=1, descending=True)
    found = column.gather(1, order)[:, :k]
    if value.shape[1] < key.shape[1]:  # others may be as large as the last that was kept
        for rows in torch.nonzero(value[:, k - 1] == value[:, -1]).flatten().split(FEW):
            found[rows] = key[rows].sort(stable=True, dim=1, descending=True).indices[:, :k]
    return found


@dataclass(frozen=True)
class Mixer:
    """Re-ranked distances of queries to a gallery, on a device: what `Reranking` holds, moved."""

    rows: Tensor  # (Q + G) x D, float32: queries, then gallery
    half: Tensor  # Q + G, half the squared lengths
    farthest: Tensor  # Q + G
    mine: tuple[Tensor, ...]  # starts, columns and weights of the encodings by row
    theirs: tuple[Tensor, ...]  # and of the gallery's by column
    num_gallery: int
    share: float  # lambda

    @classmethod
    def on(
        cls,
        device: torch.device | str,
        arrays: Sequence[np.ndarray],
        encodings: Sequence[Sequence[np.ndarray]],
        num_gallery: int,
        share: float,
    ) -> Mixer:
        """From the arrays of `rows`, `half`, `farthest`, and those of `mine` and `theirs`."""
        rows, half, farthest = (torch.from_numpy(part).to(device) for part in arrays)
        mine, theirs = (
            tuple(torch.from_numpy(part).to(device) for part in parts) for parts in encodings
        )
        return cls(rows, half, farthest, mine, theirs, num_gallery, share)

    @property
    def num_queries(self) -> int:
        return len(self.rows) - self.num_gallery

    def blocks(self, entries: int = ENTRIES) -> Iterator[tuple[int, Tensor]]:
        """All queries in order: the first of a block, and their distances."""
        for first, last in in_blocks(self.num_queries, self.num_gallery, entries):
            yield first, self.distances(first, last)

    def distances(self, first: int, last: int) -> Tensor:
        """Of queries first..last to the whole gallery: B x G, float32."""
        gallery = slice(self.num_queries, None)
        found = similarities(self.rows[first:last], self.rows[gallery])
        found.neg_().add_(self.half[first:last, None]).add_(self.half[gallery])
        found.mul_(2).clamp_(min=0).div_(self.farthest[first:last, None]).mul_(self.share)
        overlap = self._overlap(first, last)
        jaccard = overlap.div_(2 - overlap).neg_().add_(1)
        return found.add_(jaccard, alpha=1 - self.share).float()

    def _overlap(self, first: int, last: int) -> Tensor:
        """sum_j min(V_qj, V_gj): B x G, float64."""
        starts, columns, weights = self.mine
        by_column, rows, values = self.theirs
        part = slice(int(starts[first]), int(starts[last]))
        columns, weights = columns[part].long(), weights[part]
        sizes = torch.diff(starts[first : last + 1]).long()
        owner = torch.repeat_interleave(sizes)  # the query of each entry
        begin = by_column[columns].long()
        sizes = by_column[columns + 1].long() - begin
        total = owner.new_zeros((last - first) * self.num_gallery)
        for some in _parts(sizes, PAIRS):
            entry = torch.repeat_interleave(sizes[some])
            within = torch.arange(len(entry), device=entry.device)
            within -= (torch.cumsum(sizes[some], 0) - sizes[some])[entry]
            place = begin[some][entry] + within
            least = torch.minimum(weights[some][entry], values[place].double())
            target = owner[some][entry] * self.num_gallery + rows[place]
            total.scatter_add_(0, target, least.mul_(ONE).long())
        return total.view(last - first, -1).double().div_(ONE)


def _parts(sizes: Tensor, most: int) -> Iterator[slice]:
    """Runs of `sizes` that add up to about `most`."""
    ends = torch.cumsum(sizes, 0)
    steps = most * torch.arange(1, 1 + int(sizes.sum()) // most, device=ends.device)
    cuts = torch.searchsorted(ends, steps).unique() + 1
    for a, b in pairwise([0, *cuts.tolist(), len(sizes)]):
        yield slice(a, b)
