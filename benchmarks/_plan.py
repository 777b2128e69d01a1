"""The order of the recipe's study: every cell in turn, as far as what is known says it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks._cells import GENERATED, Cell
from benchmarks._choice import (
    CANDIDATES,
    STRONG,
    Changes,
    against,
    best,
    candidates,
    combinations,
    mean_gain,
    parts,
    relative_gains,
    together,
    worth,
)
from msinet_lab.diagnosis.baselines import random_genotypes

PARTS = ("choice", "test", "genotypes", "claims")
UNTIL = {"choice": 0.6, "test": 0.9, "genotypes": 0.95, "claims": 1.0}  # share of the time
CHOOSING = 3  # seeds of the choice

# -- searches ------------------------------------------------------------------------------------

SEARCH: Changes = {"epochs": 8, "alpha_learning_rate": 0.02, "milestones": (6,)}
SEARCHES: dict[str, Changes] = {
    "searched": {},
    "searched: warmed up": {"alpha_warmup_epochs": 3},
    "searched: attention from 0.3": {"initial_gamma": 0.3, "alpha_warmup_epochs": 2},
    "searched: deciding": {
        **{"alpha_warmup_epochs": 2, "alpha_temperature_end": 0.2},
        **{"entropy_penalty": 0.05, "entropy_schedule": "linear"},
    },
    "searched: shrinking": {"alpha_warmup_epochs": 2, "drop_milestones": (4, 6)},
}
SPLITS: dict[str, Changes] = {
    "twins, overlap 0.4": {},
    "identity and triplet, overlap 0.4": {"supervision": "identity"},
    "overlap 1": {"overlap": 1.0},
    "overlap 0": {"overlap": 0.0},
    "overlap 0.2": {"overlap": 0.2},
    "overlap 0.6": {"overlap": 0.6},
    "overlap 0.8": {"overlap": 0.8},
}
RANDOM = 20
SHORT = 1 / 3  # of the epochs, for genotypes and claims


@dataclass
class Plan:
    """Every cell in its order, as far as what is known says it."""

    sets: Sequence[str]
    seeds: Sequence[int]
    epochs: int
    parts: Sequence[str] = PARTS
    candidates: int = len(CANDIDATES)
    random: int = RANDOM
    failed: set[Any] = field(default_factory=set)
    started: float = field(default_factory=time.monotonic)
    seconds: float = float("inf")
    decided: tuple[str, Changes] | None = None

    def next_cell(self, known: Known, busy: Iterable[Any]) -> Cell | None:
        """The first that is neither done nor under way, of the parts whose time it is; of any part
        where they have none.
        """
        taken = {*known.keys, *self.failed, *busy}
        due = [part for part in self.parts if self.share < UNTIL[part]]
        for part in (*due, *(part for part in self.parts if part not in due)):
            for cell in getattr(self, part)(known):
                if cell.key not in taken:
                    return cell
        return None

    @property
    def share(self) -> float:
        """Of the time, so far."""
        return (time.monotonic() - self.started) / self.seconds

    @property
    def compared(self) -> list[str]:
        """Data sets that decide between candidates: nyala's scores are too near to chance."""
        return [data for data in self.sets if data != "nyala"] or list(self.sets)

    def choice(self, known: Known) -> Iterator[Cell]:
        """Parts of `strong`; candidates in the best of these; the best candidates together."""
        for _, cells in self.stages(known):
            own = list(cells)
            yield from own
            if {cell.key for cell in own} - known.keys.keys() - self.failed:
                return  # the next stage follows from this one

    def stages(self, known: Known) -> Iterator[tuple[dict[str, Changes], Iterable[Cell]]]:
        scores, seeds = known.held_out, self.seeds[:CHOOSING]
        every = parts()
        yield every, self.held_out(every, self.sets, seeds)
        name = best(scores, list(every), self.compared)
        single = candidates(name, every[name], self.candidates)
        yield single, self.promising(single, known)
        combined = combinations(scores, name, every[name])
        helping = [arm for arm in single if worth(scores, arm) is not None]
        final = {**{arm: single[arm] for arm in helping}, **combined}
        yield {**single, **combined}, self.held_out(final, self.sets, seeds)

    def held_out(
        self, arms: Mapping[str, Changes], sets: Sequence[str], seeds: Sequence[int]
    ) -> Iterator[Cell]:
        for seed in seeds:
            for data in sets:
                for arm, changes in arms.items():
                    yield Cell("choice", data, arm, seed, self.epochs, changes, held_out=True)

    def promising(self, arms: Mapping[str, Changes], known: Known) -> Iterator[Cell]:
        """Each arm with one seed, and with further ones while it gains."""
        for position, seed in enumerate(self.seeds[:CHOOSING]):
            for arm, changes in arms.items():
                own = relative_gains(known.held_out, arm, against(arm))
                if position == 0 or (own and mean_gain(own) > 0):
                    yield from self.held_out({arm: changes}, self.compared, (seed,))

    def chosen(self, known: Known) -> tuple[str, Changes] | None:
        """What was or would be chosen; None while the choice has cells to go and time for them."""
        self.decided = self.decided or known.chosen  # stays so
        if self.decided is not None:
            return self.decided
        if "choice" not in self.parts and not known.held_out:
            return "strong", together(STRONG.values())
        todo = {cell.key for cell in self.choice(known)} - known.keys.keys() - self.failed
        if todo and self.share < UNTIL["choice"]:
            return None
        arms = together(arms for arms, _ in self.stages(known))
        name = best(known.held_out, list(arms), self.compared)
        self.decided = name, arms[name]
        return self.decided

    def test(self, known: Known) -> Iterator[Cell]:
        """On test images: the paper's recipe, what was chosen, and `strong`."""
        found = self.chosen(known)
        if found is None:
            return
        name, changes = found
        strong = together(STRONG.values())
        arms = {"paper": {}, name: changes}
        for every in (arms, {} if changes == strong else {"strong": strong}):
            for seed in self.seeds:
                for data in self.sets:
                    for arm, own in every.items():
                        yield Cell("test", data, arm, seed, self.epochs, own)

    def genotypes(self, known: Known) -> Iterator[Cell]:
        """Random genotypes and found ones, trained alike and scored on test images."""
        drawn = [str(genotype) for genotype in random_genotypes(self.random, 0)]
        training = together(STRONG.values())
        for seed in self.seeds:
            for data in [name for name in ("turntable", "people") if name in self.sets]:
                make = partial(Cell, "genotypes", data, seed=seed, epochs=self.short)
                for arm, changes in SEARCHES.items():
                    yield make(arm=arm, changes=training, searched={**SEARCH, **changes})
                for number, genotype in enumerate(("paper", *drawn)):
                    arm = f"random {number}" if number else "paper"
                    yield make(arm=arm, changes={**training, "genotype": genotype})

    @property
    def short(self) -> int:
        return max(1, round(self.epochs * SHORT))

    def claims(self, known: Known) -> Iterator[Cell]:
        """What the paper claims of the search's split and supervision, and of alignment."""
        training = together(STRONG.values())
        seeds = range(100, 100 + 2 * len(self.seeds))  # other seeds than the choice's
        for seed in seeds:
            for kind in [name for name in GENERATED if name in self.sets]:
                for data in (f"{kind} A to B", f"{kind} B to A"):
                    for mode in ("none", "pos", "neg", "pos_neg"):
                        own = {**training, "augmentation": "across", "alignment": mode}
                        arm = f"alignment {mode}"
                        yield Cell("claims", data, arm, seed, self.short, own)
        for seed in seeds:
            for data in [name for name in self.sets if name != "nyala"]:
                for arm, changes in SPLITS.items():
                    search = {**SEARCH, **changes}
                    yield Cell("claims", data, arm, seed, self.short, training, search)


class Known:
    """What a plan needs of the rows so far, brought up to date row by row."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.keys: dict[Any, None] = {}  # of cells, in their order
        self.held_out: dict[tuple[str, str], dict[int, float]] = {}
        self.chosen: tuple[str, Changes] | None = None
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        part, arm = row["part"], row["arm"]
        self.keys[part, row["data"], arm, row["seed"], row["epochs"]] = None
        if part == "choice":
            self.held_out.setdefault((row["data"], arm), {})[row["seed"]] = row["mAP"]
        if part == "test" and arm not in ("paper", "strong"):
            self.chosen = arm, json.loads(row["options"])
