"""What a modern recipe is worth, whether search beats random, and the paper's claims, at one size.

    python -m benchmarks.recipe --turntable turntable --nyala nyala --generated runs/generated \\
        --device cuda --jobs 12 --minutes 6 --out recipe.csv

Many short trainings at 64 x 64 pixels from scratch, several at a time, the most important first. A
finished one is appended to the CSV at once; what the CSV holds is not computed again, and after so
many minutes it stops. Arms of one seed have the same initial weights and the same batches.

choice     `strong` as it is shipped with every part taken out, then the best of these with every
           candidate put in, then the best of those together, all scored on a third of the
           *training* identities, which take no part in that training
test       the paper's recipe, what was chosen, and `strong`, on the test images of every data set
genotypes  20 random genotypes, the paper's, and searches of several settings, equally trained
claims     twins, overlaps and supervision of the search; spatial alignment across domains
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from benchmarks import _recipe_tables, _workers
from benchmarks.__main__ import machine
from benchmarks._cells import GENERATED, Bench, Cell, one_thread
from benchmarks._choice import CANDIDATES
from benchmarks._plan import PARTS, RANDOM, Known, Plan
from benchmarks._recipe_figures import genotypes_figure
from msinet_core.config import TrainConfig
from msinet_core.files import replace_file
from msinet_lab.figures.study import claims_figure
from msinet_lab.figures.style import file_bytes
from msinet_lab.study.planning import TWO_POINTS
from msinet_lab.synthetic import generate

FEWEST = 3  # pairs of a claim that is drawn
COLUMNS = [
    *("part", "data", "arm", "seed", "epochs", "mAP", "rank1", "mINP"),
    *("mAP_flip", "mAP_necks", "mAP_flip_necks", "seconds", "genotype", "options"),
    *("device", "torch", "date"),
]


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


def pictures(rows: pd.DataFrame, file: Path) -> None:
    """Beside the table."""
    made = {}
    if "genotypes" in set(rows["part"]):
        made["genotypes"] = genotypes_figure(rows)
    found = _recipe_tables.verdicts(rows)
    if not (found := found[found["pairs"] >= FEWEST]).empty:
        made["claims"] = claims_figure(found, TWO_POINTS)
    for name, figure in made.items():
        replace_file(file.with_name(f"{file.stem}_{name}.png"), file_bytes(figure, "png"))


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
    pictures(rows, given.out)
    print(f"\n{len(rows)} rows in {given.out}, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
