"""Retrieval scores of architectures with a supernet's own weights, computed slot by slot.

A network is run up to the entrance of a slot once, and from there on for every variant of that
slot. Batch-norm statistics depend on the mix before them, so they can be estimated anew on the way:
each segment first sees the calibration images in training mode, then the retrieval images in
evaluation mode.

Shapes: B images in a batch, D feature length, K operations; a mix is 12 x K, rows of weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from msinet_core.config import SearchConfig
from msinet_core.data import Protocol, ReidDataset, iterate_images, open_images
from msinet_core.models.blocks import Cell, Trunk
from msinet_core.models.supernet import Supernet
from msinet_core.retrieval import RetrievalResult
from msinet_core.space import CELLS_PER_STAGE, NUM_SLOTS, OPERATIONS, Genotype
from msinet_core.speed import channels_last, choose_device
from msinet_lab.diagnosis.held_out import held_out_protocol, held_out_split

CALIBRATION_IMAGES, BATCH_SIZE = 256, 64


class AtSlot(NamedTuple):
    """A batch at the entrance of a slot."""

    x: Tensor  # input of the cell, which its shortcut needs
    a: Tensor  # B x mid x H x W
    b: Tensor


@dataclass(frozen=True)
class Prefix:
    """Calibration and retrieval images run up to the entrance of `slot` (0..11); before it, at -1,
    they are images, and behind all slots, at 12, features (B x D).
    """

    slot: int
    calibration: list[Any]  # an AtSlot for each batch
    images: list[Any]
    reestimate: bool


@dataclass(frozen=True)
class Segment:
    """What lies between a slot's exit and the next one's entrance, or an end of the network."""

    run: Callable[[Any], Any]
    modules: list[nn.Module]  # all that it uses


def one_hot(genotype: Genotype) -> np.ndarray:
    """12 x K: the whole weight of each slot on one operation."""
    names = list(OPERATIONS)
    return np.eye(len(names))[[names.index(name) for name in genotype.slots]]


def soft_mix(supernet: Supernet) -> np.ndarray:
    """12 x K: the weights that the supernet mixes with."""
    return torch.softmax(supernet.logits().detach().double(), dim=1).cpu().numpy()


class MixScorer:
    """Scores mixes of operations on retrieval images, with the weights of one supernet (copied).

    calibration: batches of images (normalised, B x 3 x H x W) that norms are estimated on.
    images: those of `table`, in order, whose column `split` says query or gallery.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration: Sequence[Tensor],
        images: Iterable[Tensor],
        table: pd.DataFrame,
        protocol: Protocol | None = None,
    ) -> None:
        supernet = channels_last(copy.deepcopy(supernet))
        self.supernet = supernet.eval().requires_grad_(False)
        self.slots, self.segments = supernet.slots(), segments_of(supernet.trunk)
        self.stored = {name: value.clone() for name, value in supernet.named_buffers()}
        self.calibration, self.images = list(calibration), list(images)
        self.table, self.protocol = table.reset_index(drop=True), protocol
        self.query = (self.table["split"] == "query").to_numpy()
        self._starts: dict[bool, Prefix] = {}

    def start(self, reestimate: bool = True) -> Prefix:
        """All images at the entrance of the first slot; computed once."""
        if reestimate not in self._starts:
            images = Prefix(-1, self.calibration, self.images, reestimate)
            self._starts[reestimate] = self._through(images, self.segments[0])
        return self._starts[reestimate]

    def advance(self, prefix: Prefix, weights: np.ndarray) -> Prefix:
        """Through the prefix's slot with these K weights, to the entrance of the next one."""
        operations, segment = self.slots[prefix.slot].operations, self.segments[prefix.slot + 1]
        chosen = [(float(w), op) for w, op in zip(weights, operations, strict=True) if w]

        def run(at: AtSlot) -> Any:
            return segment.run(AtSlot(at.x, *_interact(chosen, at.a, at.b)))

        return self._through(prefix, Segment(run, [op for _, op in chosen] + segment.modules))

    def features(
        self, mix: np.ndarray, prefix: Prefix | None = None, reestimate: bool = True
    ) -> np.ndarray:
        """N x D features; of `mix` only the rows from the prefix's slot on are used."""
        prefix = prefix or self.start(reestimate)
        while prefix.slot < NUM_SLOTS:
            prefix = self.advance(prefix, mix[prefix.slot])
        return torch.cat(prefix.images).float().cpu().numpy()

    def score(
        self, mix: np.ndarray, prefix: Prefix | None = None, reestimate: bool = True
    ) -> RetrievalResult:
        """mAP and the rest of a mix, from a prefix on if given."""
        features = self.features(mix, prefix, reestimate)
        return RetrievalResult.from_features(features, self.table, self.protocol)

    def along(self, mix: np.ndarray, reestimate: bool = True) -> Iterator[Prefix]:
        """The entrance of every slot under `mix`, one after the other, so that only one is held."""
        prefix = self.start(reestimate)
        yield prefix
        while prefix.slot < NUM_SLOTS - 1:
            prefix = self.advance(prefix, mix[prefix.slot])
            yield prefix

    @torch.inference_mode()
    def _through(self, before: Prefix, segment: Segment) -> Prefix:
        """Both sets of batches through a segment, its norms estimated anew or as stored."""
        modules = (module for part in segment.modules for module in part.modules())
        norms = [module for module in modules if isinstance(module, _BatchNorm)]
        calibration = []
        if before.reestimate:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over the batches
                norm.train()
            calibration = [segment.run(batch) for batch in before.calibration]
            for norm in norms:
                norm.eval()
        else:
            self.supernet.load_state_dict(self.stored, strict=False)
        images = [segment.run(batch) for batch in before.images]
        return Prefix(before.slot + 1, calibration, images, before.reestimate)


def segments_of(trunk: Trunk) -> list[Segment]:
    """The 13 segments of a trunk: before the first slot, between any two, and after the last."""
    cells = [cast(Cell, cell) for cell in trunk.cells]
    ends = [_leave(trunk, number) for number in range(len(cells))]
    enters = [_enter(cell) for cell in cells]

    def start(images: Tensor) -> Tensor:
        return trunk.pool(trunk.stem(images.contiguous(memory_format=torch.channels_last)))

    def pooled(x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))

    outer = [Segment(start, [trunk.stem]), *ends]
    segments = []
    for before, enter, cell in zip(outer, enters, cells, strict=False):
        segments += [_chain(before, enter), _between(cell)]
    return [*segments, _chain(ends[-1], Segment(pooled, []))]


def _enter(cell: Cell) -> Segment:
    modules = [cell.reduce_a, cell.reduce_b, cell.first_a, cell.first_b]
    return Segment(lambda x: AtSlot(x, *cell.enter(x)), modules)


def _between(cell: Cell) -> Segment:
    def run(at: AtSlot) -> AtSlot:
        return AtSlot(at.x, *cell.between(at.a, at.b))

    return Segment(run, [cell.second_a, cell.second_b])


def _leave(trunk: Trunk, number: int) -> Segment:
    """Out of a cell, and through the down-sampler behind it, if there is one."""
    cell, (stage, place) = cast(Cell, trunk.cells[number]), divmod(number, CELLS_PER_STAGE)
    behind = list(trunk.downs[stage : stage + 1]) if place == CELLS_PER_STAGE - 1 else []
    down = nn.Sequential(*behind)

    def run(at: AtSlot) -> Tensor:
        return down(cell.leave(at.x, at.a, at.b))

    shortcut = [] if cell.shortcut is None else [cell.shortcut]
    return Segment(run, [cell.expand_a, cell.expand_b, *shortcut, *behind])


def _chain(first: Segment, second: Segment) -> Segment:
    return Segment(lambda x: second.run(first.run(x)), first.modules + second.modules)


def _interact(chosen: list[tuple[float, nn.Module]], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of some operations; one alone with weight 1 as it is."""
    outputs = [(weight, operation(a, b)) for weight, operation in chosen]
    if len(outputs) == 1 and outputs[0][0] == 1:
        return outputs[0][1]
    one = sum(weight * out[0] for weight, out in outputs)
    two = sum(weight * out[1] for weight, out in outputs)
    return cast("tuple[Tensor, Tensor]", (one, two))


def scorer_for(
    config: SearchConfig, supernet: Supernet, dataset: ReidDataset, *, max_identities: int = 60
) -> tuple[MixScorer, ReidDataset]:
    """The scorer of a search on its own held-out split (given as well), norms calibrated on its
    train side.
    """
    held_out = held_out_split(config, dataset, max_identities=max_identities)
    probe = held_out.table[held_out.table["split"] != "train"]
    order = np.random.default_rng(config.seed).permutation(len(held_out.train))
    device = choose_device(config.device)

    def batches(table: pd.DataFrame) -> tuple[list[Tensor], pd.DataFrame]:
        """Images of the rows, and the rows whose images can be read."""
        size, bad = (config.height, config.width), config.on_bad_image
        table = table.reset_index(drop=True)
        reader = open_images(table, dataset.root, *size, cache="memory", on_bad_image=bad)
        return list(iterate_images(reader, BATCH_SIZE, device)), reader.table

    calibration, _ = batches(held_out.train.iloc[order[:CALIBRATION_IMAGES]])
    whole = [batch for batch in calibration if len(batch) == BATCH_SIZE] or calibration
    protocol = held_out_protocol(held_out)
    return MixScorer(supernet.to(device), whole, *batches(probe), protocol), held_out
