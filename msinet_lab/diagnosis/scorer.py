"""Retrieval scores of architectures with a supernet's own weights, computed slot by slot.

A network is run up to the entrance of a slot once, and from there on for every variant of that
slot. Batch-norm statistics depend on the mix before them, so they can be estimated anew on the way:
each segment first sees the calibration images in training mode, then the retrieval images in
evaluation mode.

Shapes: B images in a batch, D feature length, K operations; a mix is 12 x K, rows of weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

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
from msinet_core.runs.devices import choose_device, memory_format
from msinet_core.space import (
    CELLS_PER_STAGE,
    NUM_CELLS,
    NUM_SLOTS,
    OPERATIONS,
    SLOTS_PER_CELL,
    Genotype,
)
from msinet_lab.diagnosis.unseen import unseen_protocol, unseen_split


class AtSlot(NamedTuple):
    """A batch at the entrance of a slot."""

    x: Tensor  # input of the cell, which its shortcut needs
    a: Tensor  # B x mid x H x W
    b: Tensor


@dataclass(frozen=True)
class Prefix:
    """Calibration and retrieval images run up to the entrance of `slot` (0..11)."""

    slot: int
    calibration: list[AtSlot]
    images: list[AtSlot]
    reestimate: bool


def one_hot(genotype: Genotype) -> np.ndarray:
    """12 x K: the whole weight of each slot on one operation."""
    names = list(OPERATIONS)
    return np.eye(len(names))[[names.index(name) for name in genotype.slots]]


def soft_mix(supernet: Supernet) -> np.ndarray:
    """12 x K: the weights that the supernet mixes with."""
    return torch.softmax(supernet.logits().detach().double(), dim=1).cpu().numpy()


class MixScorer:
    """Scores mixes of operations on retrieval images, with the weights of one supernet.

    calibration: batches of images (normalised, B x 3 x H x W) that norms are estimated on; images:
        those
    of `table`, in order, whose column `split` says query or gallery. The supernet is copied.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration: Sequence[Tensor],
        images: Iterable[Tensor],
        table: pd.DataFrame,
        protocol: Protocol | None = None,
    ) -> None:
        self.supernet = cast(
            Supernet, memory_format(copy.deepcopy(supernet)).eval().requires_grad_(False)
        )
        self.trunk: Trunk = self.supernet.trunk
        self.stored = {name: value.clone() for name, value in self.supernet.named_buffers()}
        self.calibration, self.images = list(calibration), list(images)
        self.table, self.protocol = table.reset_index(drop=True), protocol
        self.query = (self.table["split"] == "query").to_numpy()
        self._starts: dict[bool, Prefix] = {}

    # -- running ---------------------------------------------------------------------------------

    def start(self, reestimate: bool = True) -> Prefix:
        """All images at the entrance of the first slot; computed once."""
        if reestimate not in self._starts:
            modules = [self.trunk.stem, *_entrance(self._cell(0))]
            runs = self._through(
                self.calibration, self.images, modules, reestimate, self._enter_network
            )
            self._starts[reestimate] = Prefix(0, *runs, reestimate)
        return self._starts[reestimate]

    def advance(self, prefix: Prefix, weights: np.ndarray) -> Prefix:
        """Through the prefix's slot with these K weights, to the entrance of the next one."""
        return Prefix(prefix.slot + 1, *self._through_slot(prefix, weights), prefix.reestimate)

    def features(
        self, mix: np.ndarray, prefix: Prefix | None = None, reestimate: bool = True
    ) -> np.ndarray:
        """N x D features; of `mix` only the rows from the prefix's slot on are used."""
        prefix = prefix or self.start(reestimate)
        for slot in range(prefix.slot, NUM_SLOTS - 1):
            prefix = self.advance(prefix, mix[slot])
        _, features = self._through_slot(prefix, mix[NUM_SLOTS - 1])
        return torch.cat(cast("list[Tensor]", features)).float().cpu().numpy()

    def score(
        self, mix: np.ndarray, prefix: Prefix | None = None, reestimate: bool = True
    ) -> RetrievalResult:
        """mAP and the rest of a mix, from a prefix on if given."""
        features = self.features(mix, prefix, reestimate)
        query, gallery = features[self.query], features[~self.query]
        return RetrievalResult.score(
            query, gallery, self.table[self.query], self.table[~self.query], self.protocol
        )

    def along(self, mix: np.ndarray, reestimate: bool = True) -> Iterator[Prefix]:
        """The entrance of every slot under `mix`, one after the other, so that only one is held."""
        prefix = self.start(reestimate)
        for slot in range(NUM_SLOTS):
            yield prefix
            if slot < NUM_SLOTS - 1:
                prefix = self.advance(prefix, mix[slot])

    # -- one segment -----------------------------------------------------------------------------

    def _through_slot(self, prefix: Prefix, weights: np.ndarray) -> tuple[list, list]:
        slot = self.supernet.slots()[prefix.slot]
        chosen = [
            (float(weight), slot.operations[place])
            for place, weight in enumerate(weights)
            if weight
        ]

        def run(at: AtSlot) -> AtSlot | Tensor:
            return self._onward(prefix.slot, at.x, *_interact(chosen, at.a, at.b))

        modules = [operation for _, operation in chosen] + self._segment(prefix.slot)
        return self._through(prefix.calibration, prefix.images, modules, prefix.reestimate, run)

    @torch.inference_mode()
    def _through(self, calibration, images, modules, reestimate, run) -> tuple[list, list]:  # type: ignore[no-untyped-def]
        """Both sets of batches through `run`, the norms of `modules` estimated or as stored."""
        norms = [
            norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)
        ]
        if not reestimate:
            self.supernet.load_state_dict(self.stored, strict=False)
            return [], [run(batch) for batch in images]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
            norm.train()
        seen = [run(batch) for batch in calibration]
        for norm in norms:
            norm.eval()
        return seen, [run(batch) for batch in images]

    def _cell(self, number: int) -> Cell:
        return cast(Cell, self.trunk.cells[number])

    def _enter_network(self, images: Tensor) -> AtSlot:
        images = images.contiguous(memory_format=torch.channels_last)
        return _enter(self._cell(0), self.trunk.pool(self.trunk.stem(images)))

    def _segment(self, slot: int) -> list[nn.Module]:
        """The modules between a slot's exit and the next one's entrance."""
        number, place = divmod(slot, SLOTS_PER_CELL)
        cell = self._cell(number)
        if place == 0:
            return [cell.second_a, cell.second_b]
        modules: list[nn.Module] = [
            cell.expand_a,
            cell.expand_b,
            *([] if cell.shortcut is None else [cell.shortcut]),
        ]
        if number + 1 < NUM_CELLS:
            modules += _entrance(self._cell(number + 1))
        down = self._down(number)
        return modules if down is None else [*modules, down]

    def _down(self, number: int) -> nn.Module | None:
        """The down-sampler behind a cell, if there is one."""
        stage, place = divmod(number, CELLS_PER_STAGE)
        last = place == CELLS_PER_STAGE - 1
        return self.trunk.downs[stage] if last and stage < len(self.trunk.downs) else None

    def _onward(self, slot: int, x: Tensor, a: Tensor, b: Tensor) -> AtSlot | Tensor:
        """From a slot's exit to the entrance of the next, or to the features."""
        number, place = divmod(slot, SLOTS_PER_CELL)
        cell = self._cell(number)
        if place == 0:
            return AtSlot(x, *cell.between(a, b))
        x = cell.leave(x, a, b)
        down = self._down(number)
        x = x if down is None else down(x)
        return _enter(self._cell(number + 1), x) if number + 1 < NUM_CELLS else x.mean(dim=(2, 3))


def _entrance(cell: Cell) -> list[nn.Module]:
    return [cell.reduce_a, cell.reduce_b, cell.first_a, cell.first_b]


def _enter(cell: Cell, x: Tensor) -> AtSlot:
    return AtSlot(x, *cell.enter(x))


def _interact(chosen: list[tuple[float, nn.Module]], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of some operations; one alone with weight 1 as it is."""
    outputs = [(weight, operation(a, b)) for weight, operation in chosen]
    if len(outputs) == 1 and outputs[0][0] == 1:
        return outputs[0][1]
    one = sum(weight * out[0] for weight, out in outputs)
    two = sum(weight * out[1] for weight, out in outputs)
    return cast("tuple[Tensor, Tensor]", (one, two))


def scorer_for(
    config: SearchConfig,
    supernet: Supernet,
    dataset: ReidDataset,
    *,
    max_identities: int = 60,
    calibration_images: int = 256,
    batch_size: int = 64,
) -> tuple[MixScorer, ReidDataset]:
    """The scorer of a search on its own unseen split (given as well), norms calibrated on its train
    side.
    """
    unseen = unseen_split(config, dataset, max_identities=max_identities, seed=config.seed)
    probe = unseen.table[unseen.table["split"] != "train"]
    rows = np.random.default_rng(config.seed).permutation(len(unseen.train))[:calibration_images]
    device = choose_device(config.device)
    sides = [unseen.train.iloc[rows], probe]
    calibration, images = (
        list(
            iterate_images(
                open_images(
                    side.reset_index(drop=True),
                    dataset.root,
                    config.height,
                    config.width,
                    cache="memory",
                ),
                batch_size,
                device,
            )
        )
        for side in sides
    )
    whole = [batch for batch in calibration if len(batch) == batch_size] or calibration
    return MixScorer(supernet.to(device), whole, images, probe, unseen_protocol(unseen)), unseen
