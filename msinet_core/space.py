"""The search space: four interactions, twelve slots, and the genotype that fills them. No torch.

Multi-scale interaction (MSI), docs/method.md 1. A network has 3 stages of 2 cells; a cell has two
branches of different receptive field and 2 slots in which the branches may interact.
"""

from __future__ import annotations

import difflib
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msinet_core.errors import ReidError

NUM_STAGES, CELLS_PER_STAGE, SLOTS_PER_CELL = 3, 2, 2
NUM_CELLS = NUM_STAGES * CELLS_PER_STAGE
NUM_SLOTS = NUM_CELLS * SLOTS_PER_CELL


class Operations(Sequence[str]):
    """Names of the operations in the order of alpha's columns; those a user registers come last.

    The one list that search, figures and panels read, so that an operation of your own appears in
    all of them (`models.interactions.register_operation`). Equal to a tuple of the same names.
    """

    def __init__(self, *names: str) -> None:
        self._names, self._own = list(names), len(names)
        self._modules: dict[str, str] = {}

    def add(self, name: str, module: str = "") -> None:
        """Take in a further name: lower-case letters, digits and underscores, not used before.

        module: the one that registers it, by which a run folder can say what to import.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ReidError(
                f"an operation's name is lower-case letters, digits and underscores; got {name!r}"
            )
        if name in self._names or name in ALIASES:
            raise ReidError(f"there is an operation {name!r} already; choose another name")
        self._names.append(name)
        if module and module != "__main__":  # a notebook or script has no name to import it by
            self._modules[name] = module

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that registered operations, each once."""
        return tuple(dict.fromkeys(self._modules.values()))

    def remove(self, name: str) -> None:
        """Take a registered name out again."""
        if name not in self._names[self._own :]:
            raise ReidError(
                f"{name!r} is not a registered operation; those are {self._names[self._own :]}"
            )
        self._names.remove(name)
        self._modules.pop(name, None)

    def __getitem__(self, place: Any) -> Any:
        found = self._names[place]
        return tuple(found) if isinstance(place, slice) else found

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        return (
            tuple(self) == tuple(other) if isinstance(other, Operations | tuple) else NotImplemented
        )

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return repr(tuple(self._names))


# The order of the columns of alpha, here and in the authors' files.
OPERATIONS = Operations("none", "channel_gate", "cross_attention", "exchange")

# Names under which the same four are met elsewhere.
ALIASES = {
    "identity": "none",
    "ag": "channel_gate",
    "cross_att": "cross_attention",
    "exc": "exchange",
}


class UnknownOperation(ReidError):
    """A genotype names an operation that is neither one of the method's nor registered."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(
            f"{problem} {remedy or 'One of your own is registered first: --import MODULE'}"
        )
        self.problem = problem

    def registered_by(self, modules: Iterable[str]) -> UnknownOperation:
        """The same error, saying which modules a run folder remembers for its operations."""
        flags = " ".join(f"--import {module}" for module in modules)
        return UnknownOperation(self.problem, flags and f"The run registered its own with {flags}")


def operation_name(name: str) -> str:
    """The standard name of an operation given by any of its names; `ReidError` if unknown."""
    cleaned = name.strip().lower()
    standard = ALIASES.get(cleaned, cleaned)
    if standard not in OPERATIONS:
        close = difflib.get_close_matches(cleaned, [*OPERATIONS, *ALIASES], n=1, cutoff=0.5)
        hint = f" Did you mean {ALIASES.get(close[0], close[0])!r}?" if close else ""
        raise UnknownOperation(
            f"unknown operation {name!r} in a genotype; known are {', '.join(OPERATIONS)}.{hint}"
        )
    return standard


def slot_label(slot: int) -> str:
    """`stage 2, cell 1, slot 2` for slot 5 (slots count from 0, people from 1)."""
    stage, rest = divmod(slot, CELLS_PER_STAGE * SLOTS_PER_CELL)
    cell, place = divmod(rest, SLOTS_PER_CELL)
    return f"stage {stage + 1}, cell {cell + 1}, slot {place + 1}"


@dataclass(frozen=True)
class Genotype:
    """One architecture: an operation for each of the twelve slots, in the order of the network.

    >>> g = Genotype.parse("none-exc|ag-none||none-none|none-none||none-none|none-cross_att")
    >>> g.slots[2]
    'channel_gate'
    >>> print(g.canonical().stages[0])
    (('none', 'none'), ('channel_gate', 'none'))
    """

    slots: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.slots, str):
            raise ReidError("Genotype takes twelve operation names; for text use Genotype.parse")
        if not all(isinstance(name, str) for name in self.slots):
            raise ReidError(f"a genotype is made of operations' names; got {list(self.slots)}")
        slots = tuple(operation_name(name) for name in self.slots)
        if len(slots) != NUM_SLOTS:
            raise ReidError(
                f"a genotype has {NUM_SLOTS} slots ({NUM_STAGES} stages x {CELLS_PER_STAGE} cells "
                f"x {SLOTS_PER_CELL}), but {len(slots)} were given"
            )
        object.__setattr__(self, "slots", slots)

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """From its text form, `a-b|c-d||...`; `paper` names the paper's; separators may also be
        spaces or commas.
        """
        if text.strip().lower() == "paper":
            return PAPER_GENOTYPE
        for mark in "|-,\n\t":
            text = text.replace(mark, " ")
        return cls(tuple(text.split()))

    @classmethod
    def uniform(cls, operation: str) -> Genotype:
        """The same operation in every slot."""
        return cls((operation,) * NUM_SLOTS)

    @classmethod
    def sample(cls, seed: int) -> Genotype:
        """A canonical genotype drawn uniformly from the 12^6 different architectures."""
        draw = random.Random(seed)
        second = [name for name in OPERATIONS if name != "exchange"]
        return cls(
            tuple(
                draw.choice(second if slot % SLOTS_PER_CELL else OPERATIONS)
                for slot in range(NUM_SLOTS)
            )
        )

    @property
    def stages(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """Stages of cells of slots, as nested tuples of names."""
        cells = [self.slots[i : i + SLOTS_PER_CELL] for i in range(0, NUM_SLOTS, SLOTS_PER_CELL)]
        return tuple(
            tuple(cells[i : i + CELLS_PER_STAGE]) for i in range(0, NUM_CELLS, CELLS_PER_STAGE)
        )

    def canonical(self) -> Genotype:
        """The representative of all genotypes that are the same network.

        Exchanging the branches in the second slot of a cell only swaps the names of the two
        output convolutions, so that slot is written as `none`.
        """
        return Genotype(
            tuple(
                "none" if slot % SLOTS_PER_CELL and name == "exchange" else name
                for slot, name in enumerate(self.slots)
            )
        )

    def distance(self, other: Genotype) -> int:
        """Number of slots that differ (Hamming distance)."""
        return sum(mine != theirs for mine, theirs in zip(self.slots, other.slots, strict=True))

    def to_json(self) -> str:
        return json.dumps({"genotype": str(self), "slots": list(self.slots)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        try:
            slots = tuple(json.loads(text)["slots"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ReidError(
                "this is not a genotype file: expected JSON with a list of names under 'slots'"
            ) from error
        return cls(slots)

    def __str__(self) -> str:
        return "||".join("|".join("-".join(cell) for cell in stage) for stage in self.stages)


PAPER_GENOTYPE = Genotype.parse(
    "channel_gate-channel_gate|exchange-channel_gate"
    "||cross_attention-channel_gate|channel_gate-none"
    "||channel_gate-cross_attention|exchange-cross_attention"
)
"""Found by the authors on MSMT17."""
