"""What a modern recipe is worth, whether search beats random, and the paper's claims, at one size.

    python -m benchmarks.recipe --turntable turntable --nyala nyala --generated runs/generated \\
        --device cuda --jobs 12 --minutes 6 --out recipe.csv

Many short trainings at 64 x 64 pixels from scratch, several at a time, the most important first. A
finished one is appended to the CSV at once; what the CSV holds is not computed again, and after so
many minutes it stops. Arms of one seed have the same initial weights and the same batches.

basis      the paper's recipe and the first draft of `strong`, on test images of every data set
choice     every part taken out, and every candidate put in, scored on a third of the *training*
           identities, which take no part in that training
chosen     what the choice says, on the test images of all data sets
genotypes  20 random genotypes, the paper's, and searches of several settings, equally trained
claims     twins, overlaps and supervision of the search; spatial alignment across domains
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from benchmarks import _recipe_tables, _workers
from benchmarks.__main__ import machine
from benchmarks._cells import GENERATED, SETS, Bench, Cell, one_thread
from benchmarks._recipe_tables import Scores, gains
from msinet_core.config import TrainConfig
from msinet_core.files import replace_file
from msinet_lab.diagnosis.baselines import random_genotypes
from msinet_lab.figures.study import claims_figure
from msinet_lab.figures.style import file_bytes
from msinet_lab.study.planning import TWO_POINTS
from msinet_lab.synthetic import generate

Changes = Mapping[str, Any]
PARTS = ("basis", "choice", "chosen", "genotypes", "claims")
UNTIL = {"basis": 1.0, "choice": 0.5, "chosen": 0.65, "genotypes": 0.82, "claims": 1.0}
COLUMNS = [
    *("part", "data", "arm", "seed", "epochs", "mAP", "rank1", "mINP"),
    *("mAP_flip", "mAP_necks", "mAP_flip_necks", "seconds", "genotype", "options"),
    *("device", "torch", "date"),
]

# -- arms of the recipe --------------------------------------------------------------------------

DRAFT: dict[str, Changes] = {  # of `strong`, part by part
    "padding": {"pad": None},  # in proportion
    "cosine": {"schedule": "cosine"},
    "twice the rate": {"learning_rate": 0.13},
    "average": {"ema": 0.99},
    "jitter": {"augmentation": "both"},
}
CANDIDATES: dict[str, Changes] = {
    "GeM": {"pooling": "gem"},
    "colour cast": {"colour_cast": 0.3},
    "grey": {"grey": 0.1},
    "drop path": {"drop_path": 0.1},
    "alignment": {"alignment": "pos"},
    "batch of 64, rate 0.2": {"identities_per_batch": 16, "learning_rate": 0.2},
    "8 images of an identity": {"identities_per_batch": 4, "images_per_identity": 8},
    "rate 0.2": {"learning_rate": 0.2},
    "average 0.98": {"ema": 0.98},
    "average 0.995": {"ema": 0.995},
    "gradient of 2": {"max_gradient_norm": 2.0},
    "no erasing": {"augmentation": "across"},
    "decay 0.001": {"weight_decay": 1e-3},
    "no smoothing": {"label_smoothing": 0.0},
    "smoothing 0.2": {"label_smoothing": 0.2},
    "warm-up of 6": {"warmup_epochs": 6},
    "centre loss": {"centre_weight": 5e-4},
    "AdamW": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05},
    "scaled attention": {"scaled_attention": True},
}
if importlib.util.find_spec("pytorch_metric_learning"):
    CANDIDATES["circle loss"] = {"circle_weight": 0.5}
MOST = 4  # candidates that are taken
WORTH = 0.005  # mAP that a candidate has to bring
HARM = 0.01  # mAP that it may cost on another data set


def together(parts: Iterable[Changes]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def arms(candidates: int = len(CANDIDATES)) -> dict[str, Changes]:
    """Of the choice, by name: the paper's recipe, the draft, and both changed part by part."""
    names, draft = list(DRAFT), together(DRAFT.values())
    found: dict[str, Changes] = {"paper": {}, "draft": draft}
    for count in range(1, len(names) - 1):
        found[f"paper + {' + '.join(names[:count])}"] = together(
            DRAFT[name] for name in names[:count]
        )
    for name in names:
        found[f"draft - {name}"] = together(DRAFT[other] for other in names if other != name)
    further = list(CANDIDATES.items())[:candidates]
    return found | {f"draft + {name}": {**draft, **own} for name, own in further}


def helps(scores: Scores, arm: str) -> float | None:
    """What an arm brings on the turntable over the draft, if that is worth having and more than one
    standard error; else None.
    """
    own = gains(scores, arm, "draft", "turntable")
    worth = len(own) > 1 and own.mean() >= WORTH and own.mean() > own.std(ddof=1) / len(own) ** 0.5
    return float(own.mean()) if worth else None


def combinations(scores: Scores) -> dict[str, Changes]:
    """What single arms suggest: the draft without what hurts, with the best one, two, ... of the
    candidates that help, of which no two are about the same thing.
    """
    kept = [name for name in DRAFT if helps(scores, f"draft - {name}") is None]
    worth = {name: helps(scores, f"draft + {name}") for name in CANDIDATES}
    ranked = sorted((-gain, name) for name, gain in worth.items() if gain is not None)
    taken: dict[str, Changes] = {}
    for _, name in ranked:
        if len(taken) < MOST and not CANDIDATES[name].keys() & together(taken.values()).keys():
            taken[name] = CANDIDATES[name]
    base, names = together(DRAFT[name] for name in kept), list(taken)
    start = "draft" if len(kept) == len(DRAFT) else " + ".join(kept)
    counts = sorted({1, 2, 3, len(names)} & {*range(1, len(names) + 1)})
    if start != "draft":
        counts = [0, *counts]
    return {
        "combined: " + " + ".join((start, *names[:count])): {
            **base,
            **together(taken[name] for name in names[:count]),
        }
        for count in counts
    }


def best(scores: Scores, combined: Mapping[str, Changes]) -> tuple[str, Changes]:
    """The draft or the combination with the best mean on the turntable's held-out identities, of
    those that cost no other data set much.
    """
    known = {"draft": together(DRAFT.values()), **combined}
    others = [data for data in SETS if data != "turntable"]
    harmless = [
        arm
        for arm in known
        if not any(len(g := gains(scores, arm, "draft", d)) and g.mean() < -HARM for d in others)
    ]
    own = {arm: gains(scores, arm, "draft", "turntable") for arm in harmless}
    name = max((arm for arm in own if len(own[arm])), key=lambda a: own[a].mean(), default="draft")
    return name, known[name]


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


# -- the plan ------------------------------------------------------------------------------------


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

    def next_cell(self, known: Known, busy: Iterable[Any]) -> Cell | None:
        """The first that is neither done nor under way, of the parts whose time it is; of any part
        where they have none.
        """
        taken = {*known.keys, *self.failed, *busy}
        due = [part for part in self.parts if self.share < UNTIL[part]]
        for part in (*due, *(part for part in self.parts if part not in due)):
            for cell in self.cells(part, known):
                if cell.key not in taken:
                    return cell
        return None

    def cells(self, part: str, known: Known) -> Iterator[Cell]:
        """Of one part; what follows from other cells once these are there."""
        if part != "choice":
            yield from getattr(self, part)(known)
            return
        for stage in (self.singles, self.combined, self.elsewhere):
            found = list(stage(known))
            yield from found
            if self.lacks(found, known):
                return

    def lacks(self, cells: Iterable[Cell], known: Known) -> bool:
        """Whether any of these is still to be."""
        return bool({cell.key for cell in cells} - known.keys.keys() - self.failed)

    @property
    def share(self) -> float:
        """Of the time, so far."""
        return (time.monotonic() - self.started) / self.seconds

    def basis(self, known: Known) -> Iterator[Cell]:
        for data in self.sets:
            for seed in self.seeds:
                for arm, changes in self.ends():
                    yield Cell("basis", data, arm, seed, self.epochs, changes)

    def ends(self) -> list[tuple[str, Changes]]:
        return [("paper", {}), ("draft", together(DRAFT.values()))]

    def _held_out(self, data: str, arm: str, seed: int, changes: Changes) -> Cell:
        return Cell("choice", data, arm, seed, self.epochs, changes, held_out=True)

    def singles(self, known: Known) -> Iterator[Cell]:
        """On the turntable: every arm with three seeds; more for parts, and for what may help."""
        if "turntable" not in self.sets:
            return
        every = arms(self.candidates)
        for seed in self.seeds[:3]:
            for arm, changes in every.items():
                yield self._held_out("turntable", arm, seed, changes)
        for seed in self.seeds[3:]:
            for arm, changes in every.items():
                own = gains(known.held_out, arm, "draft", "turntable")
                if "draft +" not in arm or (len(own) and own.mean() > 0):
                    yield self._held_out("turntable", arm, seed, changes)

    def combined(self, known: Known) -> Iterator[Cell]:
        for seed in self.seeds:
            for arm, changes in combinations(known.held_out).items():
                yield self._held_out("turntable", arm, seed, changes)

    def elsewhere(self, known: Known) -> Iterator[Cell]:
        """Parts and combinations on the other data sets."""
        singles = {arm: changes for arm, changes in arms().items() if "draft +" not in arm}
        for seed in self.seeds[:3]:
            for arm, changes in {**singles, **combinations(known.held_out)}.items():
                for data in self.sets:
                    if data != "turntable":
                        yield self._held_out(data, arm, seed, changes)

    def chosen(self, known: Known) -> Iterator[Cell]:
        """On test images, once the choice is made or its time is over."""
        held = known.held_out
        if known.chosen is not None:  # what was chosen stays so
            name, changes = known.chosen
        elif self.lacks(self.cells("choice", known), known) and self.share < UNTIL["choice"]:
            return
        else:
            name, changes = best(held, combinations(held))
        if name != "draft":
            for data in self.sets:
                for seed in self.seeds:
                    yield Cell("chosen", data, name, seed, self.epochs, changes)

    def genotypes(self, known: Known) -> Iterator[Cell]:
        """Random genotypes and found ones, trained alike and scored on test images."""
        drawn = [str(genotype) for genotype in random_genotypes(self.random, 0)]
        training = together(DRAFT.values())
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
        training = together(DRAFT.values())
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
        if part == "chosen" and arm not in ("paper", "draft"):
            self.chosen = arm, json.loads(row["options"])


# -- carrying out --------------------------------------------------------------------------------


def whole_lines(file: Path) -> str:
    """A file's text without a last line that was cut short; "" where there is no file."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return text[: text.rfind("\n") + 1]


def read(file: Path) -> pd.DataFrame:
    """The rows of a CSV, none where there is no file."""
    text = whole_lines(file)
    if not text:
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.read_csv(io.StringIO(text), keep_default_na=False)
    return rows.astype({"seed": int, "epochs": int, "mAP": float})


class Table:
    """The rows so far, each appended to the file as it comes."""

    def __init__(self, file: Path, device: str) -> None:
        self.file, self.started = file, time.monotonic()
        self.known = Known(read(file).to_dict("records"))
        if file.exists():
            replace_file(file, whole_lines(file))
        self.busy: set[Any] = set()
        name = torch.cuda.get_device_name() if device == "cuda" else machine()["machine"]
        date = time.strftime("%Y-%m-%d")
        self.about = {"device": name, "torch": str(torch.__version__), "date": date}

    def add(self, cell: Cell, scores: Mapping[str, Any] | None) -> None:
        self.busy.discard(cell.key)
        if scores is None:
            return
        options = {**cell.changes, **({"search": cell.searched} if cell.searched else {})}
        names = "part", "data", "arm", "seed", "epochs"
        row = {**dict(zip(names, cell.key, strict=True)), **scores, **self.about}
        row["options"] = json.dumps(options, sort_keys=True)
        row = {name: row.get(name, "") for name in COLUMNS}
        new = not self.file.exists() or not self.file.stat().st_size
        with open(self.file, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.known.add(row)
        said = f"{cell.part:9} {cell.data:16} {cell.arm:38} seed {cell.seed}"
        print(
            f"[{time.monotonic() - self.started:4.0f} s] {said}  mAP {row['mAP']:.3f}  "
            f"({row['seconds']} s)",
            flush=True,
        )


def carry_out(bench: Bench, plan: Plan, file: Path, jobs: int, until: float) -> pd.DataFrame:
    """All cells of the plan that the file lacks, as far as the time goes."""
    table = Table(file, bench.device)

    def next_job() -> Cell | None:
        cell = plan.next_cell(table.known, table.busy)
        if cell is not None:
            table.busy.add(cell.key)
        return cell

    def done(cell: Cell, scores: Any, error: str) -> None:
        if error:
            plan.failed.add(cell.key)
            print(f"failed: {cell.key}\n{error}", file=sys.stderr, flush=True)
        table.add(cell, scores)

    _workers.carry_out(
        bench,
        next_job,
        done,
        processes=jobs,
        until=until,
        prepare=one_thread,
        module="benchmarks._cells",
    )
    return read(file)


def drawn(folder: Path) -> dict[str, Path]:
    """Generated people and vehicles of two domains below a folder, drawn where they are not."""
    size = {"train_identities": 60, "test_identities": 40, "images_per_identity": 16}
    roots = {
        f"{kind}-{domain}": folder / f"{kind}-{domain}" for kind in GENERATED for domain in "AB"
    }
    for name, root in roots.items():
        if not root.is_dir():
            kind, _, domain = name.partition("-")
            generate(kind, root, domain=domain, **size)
    return roots


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turntable", type=Path, help="folder with a manifest.csv")
    parser.add_argument("--nyala", type=Path, help="folder with a manifest.csv")
    parser.add_argument("--generated", type=Path, help="folder for drawn people and vehicles")
    parser.add_argument("--out", type=Path, default=Path("recipe.csv"), help="a CSV, appended to")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--minutes", type=float, default=1e4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--candidates", type=int, default=len(CANDIDATES), help="the first of them")
    parser.add_argument("--random", type=int, default=RANDOM, help="random genotypes")
    parser.add_argument("--channels", type=int, nargs=4, help="narrower, to try it out")
    given = parser.parse_args()
    started = time.monotonic()
    until = started + 60 * given.minutes
    roots = {name: getattr(given, name) for name in ("turntable", "nyala")}
    roots = {name: root.resolve() for name, root in roots.items() if root}
    sets = [*roots, *(GENERATED if given.generated else ())]
    if given.generated:
        roots |= {name: root.resolve() for name, root in drawn(given.generated).items()}
    own = {"precision": TrainConfig(precision="bf16").precision}
    if given.channels:
        own["channels"] = tuple(given.channels)
    plan = Plan(sets, given.seeds, given.epochs, given.parts, given.candidates, given.random)
    plan.started, plan.seconds = started, 60 * given.minutes
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="recipe-") as scratch:
        bench = Bench(roots, given.device, Path(scratch), own)
        rows = carry_out(bench, plan, given.out, given.jobs, until)
    print(_recipe_tables.said(rows))
    if "claims" in set(rows["part"]):
        picture = given.out.with_name(f"{given.out.stem}_claims.png")
        figure = claims_figure(_recipe_tables.verdicts(rows), TWO_POINTS)
        replace_file(picture, file_bytes(figure, "png"))
    print(f"\n{len(rows)} rows in {given.out}, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
