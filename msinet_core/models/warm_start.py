"""Weights of one network in another, as far as they fit: by name and shape, slot by slot where the
operation is the same. What was loaded, what begins at random and what found no place is told.

A `name` is ours; a source's names may be ours, the authors', a library's, with what wrappers put
before them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor, nn

from msinet_core.errors import ReidError
from msinet_core.models.networks import ReidNetwork
from msinet_core.models.reference import THEIR_CELL_INDEX, reference_name
from msinet_core.space import NUM_SLOTS, OPERATIONS, SLOTS_PER_CELL, Genotype, slot_label

StateDict = Mapping[str, Tensor]
CLASSIFIERS = ("classifier.", "part_classifier.")  # of the identities that they were trained on
COLUMNS = ("loaded", "random", "no place")
_WRAPPER = re.compile(r"(module|_orig_mod|model|network|backbone|base|trunk|encoder)\.")
_OUR_SLOT = re.compile(r"trunk\.cells\.(\d)\.slots\.(\d)\.(?:operations\.(\d+)\.)?(.+)")
_THEIR_SLOT = re.compile(r"cells\.(\d)\._op(\d)(?:s\.(\d+))?\.(.+)")
_PARTS = {
    "stem": r"(trunk\.stem|conv1)\.",
    "down-samplers": r"trunk\.downs\.|cells\.[25]\.0\.",
    "cells": r"(trunk\.)?cells\.",
    "heads": r"(neck|part_conv|part_neck|fc|head|f_conv|f_fc|f_head)\.",
    "learned map": r"(learned_map|align_module)\.",
    "classifiers": r"(part_|f_)?classifier\.",
}
_LAST = ("heads", "learned map", "classifiers")
_RESNET = {"stem.0": "conv1", "stem.1": "bn1"} | {f"stages.{k}": f"layer{k + 1}" for k in range(4)}


@dataclass(frozen=True)
class WarmStart:
    """What of a source's weights has a place in a network: tensors by the network's names, the
    network's names that the source lacks, and the source's names that have no place.
    """

    loaded: dict[str, Tensor]
    random: tuple[str, ...]
    no_place: tuple[str, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Numbers of tensors, part by part, then in all; columns loaded, random, no place."""
        counts: dict[str, list[int]] = {}
        for column, names in enumerate((self.loaded, self.random, self.no_place)):
            for name in names:
                counts.setdefault(part_of(name), [0, 0, 0])[column] += 1
        rows = {part: counts[part] for part in sorted(counts, key=_place)}
        rows["in all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
        return table.rename_axis("part")

    def __str__(self) -> str:
        """One sentence."""
        total = self.table.loc["in all"]
        said = [f"{total['loaded']} of {total['loaded'] + total['random']} tensors loaded"]
        for column, what in (("random", "at random"), ("no place", "without a place")):
            counts = self.table[column].drop("in all")
            parts = [f"{part} {count}" for part, count in counts[counts > 0].items()]
            if parts:
                said.append(f"{what}: {', '.join(parts)}")
        return "; ".join(said)


def match(model: nn.Module, state: StateDict, genotype: Genotype | None = None) -> WarmStart:
    """What of `state` has a place in `model`; nothing is changed yet.

    genotype: the source's, where it is known; then a slot's weights are taken only where both have
    the same operation. Of a supernet, each slot gives the operation that the network has there.
    Classifiers are left at random: their identities are others. `ReidError` where nothing fits.
    """
    own, loaded, no_place = model.state_dict(), dict[str, Tensor](), list[str]()
    target: Genotype | None = getattr(model, "genotype", None)
    has_heads = isinstance(model, ReidNetwork)
    ours = _known_names(own, target is not None)
    for name, value in state.items():
        names = (_chosen(bare, target) for bare in _bare(name))
        found = next((ours[one] for one in names if one in ours), "")
        fits = (
            found not in ("", *loaded)
            and own[found].shape == value.shape
            and not (has_heads and found.startswith(CLASSIFIERS))
            and _same_operation(found, target, genotype)
        )
        if fits:
            loaded[found] = value
        else:
            no_place.append(name)
    trunk = "trunk." if has_heads else ""
    if not any(name.startswith(trunk) and v.dim() > 1 for name, v in loaded.items()):
        raise ReidError(
            f"none of the {len(state):,} tensors fits this network's trunk, the first being "
            f"{next(iter(state), 'absent')!r}; give weights of the same kind of network, with the "
            "same --backbone or --channels"
        )
    return WarmStart(loaded, tuple(n for n in own if n not in loaded), tuple(no_place))


def as_timm_names_it(state: StateDict, network: nn.Module) -> StateDict:
    """A file's weights as timm's network wants them: it knows the names of the networks' authors,
    and lays a position embedding out for another size. Of what it does not know, as they are.
    """
    convert = getattr(sys.modules.get(type(network).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        found = convert({_bare(name)[-1]: value for name, value in state.items()}, network)
    except Exception:  # whatever it throws at a file of another network, which will not fit
        return state
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def load(model: nn.Module, start: WarmStart) -> None:
    """Put what was found into the network, in place."""
    with torch.no_grad():
        own = model.state_dict()
        for name, value in start.loaded.items():
            own[name].copy_(value)


def part_of(name: str) -> str:
    """The part of a network that a tensor belongs to, by our name or the authors'.

    >>> part_of("trunk.cells.2.slots.1.gamma"), part_of("cells.3._op3.gamma"), part_of("fc.weight")
    ('stage 2, cell 1, slot 2', 'stage 2, cell 1, slot 2', 'heads')
    """
    for bare in _bare(name):
        if (slot := _slot_of(bare)) is not None:
            return slot_label(slot)
        for part, pattern in _PARTS.items():
            if re.match(pattern, bare):
                return part
    first, _, rest = bare.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first in ("stages", "blocks") else first


def _place(part: str) -> tuple[int, int, str]:
    """Stem, cells, slots in their order, what else there is, heads, classifiers."""
    slots = {slot_label(slot): slot for slot in range(NUM_SLOTS)}
    if part in slots:
        return 1, slots[part], part
    if part in _PARTS:
        return (3 if part in _LAST else 0), [*_PARTS].index(part), part
    return 2, 0, part


def _known_names(own: StateDict, msinet: bool) -> dict[str, str]:
    """Our names by every name that a source may have for them."""
    names: dict[str, str] = {}
    for name in own:
        trunk = name.removeprefix("trunk.")
        library = trunk.removeprefix("network.")
        for ours, theirs in _RESNET.items():
            if library.startswith(f"{ours}."):
                library = theirs + library.removeprefix(ours)
        if trunk != name:
            names.setdefault(trunk, name)
            names.setdefault(library, name)
        if msinet:
            names.setdefault(reference_name(name), name)
    return names | {name: name for name in own}


def _bare(name: str) -> list[str]:
    """A name as it is, and without one after the other of what wrappers put before it."""
    found = [name]
    while match := _WRAPPER.match(found[-1]):
        found.append(found[-1][match.end() :])
    return found


def _slot_of(name: str) -> int | None:
    """The slot that a weight belongs to."""
    if match := _OUR_SLOT.fullmatch(name):
        return SLOTS_PER_CELL * int(match[1]) + int(match[2])
    match = _THEIR_SLOT.fullmatch(name)
    if match and int(match[1]) in THEIR_CELL_INDEX:
        return SLOTS_PER_CELL * THEIR_CELL_INDEX.index(int(match[1])) + int(match[2]) - 2
    return None


def _chosen(name: str, target: Genotype | None) -> str:
    """A supernet's name of an operation's weight as that of a network that has chosen it, empty
    where the network has another; any other name as it is.
    """
    match = _OUR_SLOT.fullmatch(name) or _THEIR_SLOT.fullmatch(name)
    slot = _slot_of(name)
    if match is None or slot is None or match[3] is None:
        return name
    column, start = int(match[3]), name[: match.start(3)]
    if target is None or OPERATIONS[column : column + 1] != (target.slots[slot],):
        return ""
    start = (
        start.removesuffix("operations.") if "slots" in start else start.removesuffix("s.") + "."
    )
    return start + match[4]


def _same_operation(name: str, target: Genotype | None, source: Genotype | None) -> bool:
    slot = _slot_of(name)
    if slot is None or target is None or source is None:
        return True
    return target.slots[slot] == source.slots[slot]
