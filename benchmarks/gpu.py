"""What a GPU delivers: whole loops of training and search from image files, their steps alone,
starts, the paper's recipe extrapolated; embedding, metrics, re-ranking, memory.

`python -m benchmarks.gpu --minutes 4 --out gpu.csv` takes parts in the order of `PARTS`, the most
important first, begins none after the minutes are over, and appends each row as it is found.
Without a GPU it says so and measures nothing; `measure` runs on any device, small sizes on a CPU
included.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks._rows import Row, row, seconds
from benchmarks.retrieval import MARKET, MSMT17, crowd, matches_of
from msinet_core import PAPER_GENOTYPE
from msinet_core.config import PAPER_EPOCHS, SearchConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset, open_images
from msinet_core.models import MSINet
from msinet_core.retrieval import Embedder, Reranking, rank, rerank
from msinet_core.runs.epochs import carry_out
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.worker import Job, Worker
from msinet_core.search.twin_search import TwinSearch
from msinet_core.training.training import Training

PROJECT = Path(__file__).parent.parent
MARKET_TRAIN, MSMT17_TRAIN = 12_936, 32_621  # images
TRAIN_SHARE = 7 / 12  # of a search's identities, by the default twins split, and so on either side
KINDS: dict[str, type[Worker]] = {"train": Training, "search": TwinSearch}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"speed": "eager", "precision": "fp32"},  # contiguous, too: see `watched`
    "no flags": {},
    "--compile": {"compile": True},
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    height: int = 256
    width: int = 128
    batches: tuple[int, int] = (64, 256)
    large_batch: int = 512
    images: int = MARKET_TRAIN  # rows of the training table
    identities: int = 192  # drawn, 12 pictures each; the table repeats them under other identities
    epochs: int = 4  # of a loop; the first is its start, and does not count
    steps: int = 40  # of a step alone
    embedded: int = 6_400
    retrieval: dict[str, int] = field(default_factory=lambda: MSMT17)
    market: dict[str, int] = field(default_factory=lambda: MARKET)
    channels: tuple[int, int, int, int] = (64, 256, 384, 512)
    processes: int = os.cpu_count() or 1


@dataclass(frozen=True)
class Bench:
    """Where everything is measured, on which photographs, and figures that later rows are made
    of.
    """

    device: torch.device
    size: Size
    folder: Path
    dataset: ReidDataset
    found: dict[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Fields that every run has."""
        size = self.size
        shape = {"height": size.height, "width": size.width, "channels": size.channels}
        cache = {"cache": "disk", "cache_dir": str(self.folder / "cache")}
        return {**shape, **cache, "device": self.device.type, "images_per_identity": 4}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def forget(device: torch.device) -> None:
    """Give memory back, and begin to look for the most that is used."""
    if "torch._dynamo" in sys.modules:  # slow to import
        torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def most_held(device: torch.device) -> float:
    """GB, recorded graphs included; 0 on a processor."""
    return torch.cuda.max_memory_reserved() / 1e9 if device.type == "cuda" else 0.0


# -- photographs ---------------------------------------------------------------------------------


DRAW = """
import sys
from msinet_lab.synthetic import generate
place, identities, seed = sys.argv[1:]
generate("people", place, train_identities=int(identities), test_identities=2, seed=int(seed))
"""


def photographs(folder: Path, size: Size) -> ReidDataset:
    """Drawn people of the size of Market-1501's files, as often as makes `size.images` rows, each
    time under other identities; drawn only where they do not lie there already.
    """
    folder, parts = folder.resolve(), max(1, min(size.processes, size.identities // 4))
    places = [folder / f"people-{size.identities // parts}-{number}" for number in range(parts)]
    command = [sys.executable, "-c", DRAW]
    drawing = [
        subprocess.Popen(
            [*command, str(place), str(size.identities // parts), str(number)], cwd=PROJECT
        )
        for number, place in enumerate(places)
        if not place.exists()
    ]
    codes = [process.wait() for process in drawing]
    if any(codes):
        raise RuntimeError("the photographs could not be drawn")
    tables = []
    for place in places:
        part = load_dataset("market1501", place)
        names = [os.path.relpath(part.root / path, folder) for path in part.train["path"]]
        owner = place.name + " " + part.train["identity"].astype(str)
        tables.append(part.train.assign(path=names, identity=owner))
    drawn = pd.concat(tables, ignore_index=True)
    drawn["identity"] = drawn["identity"].factorize()[0]
    times = -(-size.images // len(drawn))
    table = pd.concat([drawn] * times, ignore_index=True)
    table["identity"] += len(drawn) * np.repeat(np.arange(times), len(drawn))
    return ReidDataset("drawn", folder, with_pairs(table.iloc[: size.images]))


def with_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Without identities that a batch would have to take an image of twice."""
    counts = table["identity"].value_counts()
    return table[table["identity"].map(counts) >= 4].reset_index(drop=True)


# -- loops and steps -----------------------------------------------------------------------------


@dataclass
class Watch:
    """What is seen of a run."""

    steps: int  # of the step alone
    begun: float = field(default_factory=time.perf_counter)
    start: float = 0.0  # seconds to the end of the first step
    rates: list[float] = field(default_factory=list)  # images/s of each epoch, as the run says
    ends: list[float] = field(default_factory=list)  # of epochs, checkpoints included
    images: int = 0  # in an epoch
    alone: float = 0.0  # images/s of the step on batches that lie ready
    kept: list[Any] = field(default_factory=list)  # those

    @property
    def loop(self) -> float:
        """Images/s, the start apart."""
        return statistics.median(self.rates[1:] or self.rates)

    @property
    def whole(self) -> float:
        """Images/s with whatever lies between epochs."""
        ends = [self.begun, *self.ends]
        spent = np.diff(ends)
        return self.images / float(np.median(spent[1:] if len(spent) > 1 else spent))


def watched(kind: type[Worker], watch: Watch, plain: bool) -> type[Worker]:
    """A worker that tells what it does; a `plain` one's network stays as torch makes it."""
    sides = 2 if issubclass(kind, TwinSearch) else 1

    class Watched(kind):  # type: ignore[valid-type, misc]
        def accelerate(self, model: Any) -> Any:
            return model.to(self.device) if plain else super().accelerate(model)

        def run_step(self, batches: Iterator[Any]) -> Any:
            if self.epoch == 0 and self.step in (1, 2):  # a search's first step is half a step
                batches = noted(batches)
            values = super().run_step(batches)
            if not watch.start:
                wait(self.device)
                watch.start = time.perf_counter() - watch.begun
            return values

        def finish_epoch(self, spent: float) -> None:
            watch.images = sides * self.steps * self.step_images
            super().finish_epoch(spent)
            watch.rates.append(watch.images / spent)
            watch.ends.append(time.perf_counter())
            if self.epoch == self.config.epochs:
                place = self.epoch, self.step
                watch.alone = self.alone()
                self.epoch, self.step = place

        def alone(self) -> float:
            batches, count = cycle(watch.kept), min(watch.steps, self.steps - 1)

            def some() -> None:
                self.epoch, self.step = self.config.epochs - 1, 1
                for _ in range(count):
                    super(Watched, self).run_step(batches)
                wait(self.device)

            some()
            return sides * self.step_images * count / seconds(some)

    def noted(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            watch.kept.append(batch)
            yield batch

    return Watched


def observed(bench: Bench, task: str, form: str, count: int, **changes: Any) -> Watch:
    """A run in one form with batches of `count`; `rows` shortens the table."""
    rows = changes.pop("rows", bench.size.images)
    fields = {"epochs": bench.size.epochs, **bench.settings, **FORMS[form], **changes}
    fields |= {"identities_per_batch": count // 4}
    if task == "search":
        fields |= {"evaluate_every": 0}
    config = (SearchConfig if task == "search" else TrainConfig)(**fields)
    table = with_pairs(bench.dataset.table.iloc[:rows])
    dataset = ReidDataset("drawn", bench.dataset.root, table)
    with tempfile.TemporaryDirectory(dir=bench.folder) as place:
        forget(bench.device)
        watch = Watch(bench.size.steps)
        kind = watched(KINDS[task], watch, plain=form == "plain")
        carry_out(kind, Job(config, dataset, RunFolder.at(Path(place) / "run")), False, None)
    return watch


def name_of(bench: Bench, task: str, count: int, form: str) -> str:
    return f"{task}, {bench.size.height} x {bench.size.width}, batch {count}, {form}"


def loop_rows(
    task: str, form: str, at: int, bench: Bench, start: str = "", **changes: Any
) -> Iterator[Row]:
    """Loop, step, loop / step, start, memory, and times the plain form where that is known."""
    count = bench.size.batches[at]
    watch = observed(bench, task, form, count, **changes)
    what, plain = name_of(bench, task, count, form), name_of(bench, task, count, "plain")
    known = {what: watch.loop, f"{what}: whole": watch.whole, f"{what}: start": watch.start}
    bench.found.update(known)
    unit = "images/s of both sides" if task == "search" else "images/s"
    aim = ">= 8000" if (task, form, at) == ("train", "--compile", 0) else ""
    yield row(f"{what}: loop", watch.loop, unit)
    yield row(f"{what}: step", watch.alone, unit, aim)
    share = "" if form == "plain" else ">= 0.9"
    yield row(f"{what}: loop / step", watch.loop / watch.alone, "", share)
    yield row(f"{what}: seconds to the first step", watch.start, "s", start)
    if bench.device.type == "cuda":
        yield row(f"{what}: peak memory", most_held(bench.device), "GB")
    if form != "plain" and plain in bench.found:
        times = watch.loop / bench.found[plain]
        yield row(f"{what} / plain", times, "times", ">= 3")


def plain_rows(task: str, at: int, bench: Bench) -> Iterator[Row]:
    """A fifth of the images and fewer epochs, as it is slow; and the forms before it by it."""
    rows, count = max(bench.size.images // 5, 8 * bench.size.batches[at]), bench.size.batches[at]
    yield from loop_rows(task, "plain", at, bench, rows=rows, epochs=min(3, bench.size.epochs))
    for form in ("no flags", "--compile"):
        what = name_of(bench, task, count, form)
        if what in bench.found:
            times = bench.found[what] / bench.found[name_of(bench, task, count, "plain")]
            yield row(f"{what} / plain", times, "times", ">= 3")


def recipe_rows(form: str, bench: Bench) -> Iterator[Row]:
    """The paper's recipe at Market-1501's size, from what was measured before: start, epochs with
    their checkpoints, and evaluations.
    """
    found, what = bench.found, name_of(bench, "train", bench.size.batches[0], form)
    if f"{what}: whole" in found and "embed" in found:
        epochs = PAPER_EPOCHS * MARKET_TRAIN / found[f"{what}: whole"]
        one = (MARKET["queries"] + MARKET["gallery"]) / found["embed"] + found["metrics"]
        evaluations = one * PAPER_EPOCHS / TrainConfig().evaluate_every
        minutes = (found[f"{what}: start"] + epochs + evaluations) / 60
        what += f": {PAPER_EPOCHS} epochs at Market-1501's size, extrapolated"
        yield row(what, minutes, "minutes", "<= 15")


def search_rows(form: str, bench: Bench, start: str = "") -> Iterator[Row]:
    """The loop, and a whole search at MSMT17's size by it."""
    yield from loop_rows("search", form, 0, bench, start)
    found, what = bench.found, name_of(bench, "search", bench.size.batches[0], form)
    epochs = PAPER_EPOCHS * 2 * TRAIN_SHARE * MSMT17_TRAIN / found[f"{what}: whole"]
    minutes = (found[f"{what}: start"] + epochs) / 60
    what += f": {PAPER_EPOCHS} epochs at MSMT17's size, extrapolated"
    yield row(what, minutes, "minutes", "<= 60")


def memory_rows(bench: Bench) -> Iterator[Row]:
    """A few steps of the large batch."""
    count = bench.size.large_batch
    watch = observed(bench, "train", "no flags", count, rows=8 * count, epochs=1)
    what = name_of(bench, "train", count, "no flags")
    yield row(f"{what}: step", watch.alone, "images/s")
    if bench.device.type == "cuda":
        yield row(f"{what}: peak memory", most_held(bench.device), "GB")


def warm_rows(task: str, bench: Bench) -> Iterator[Row]:
    """The start of a process whose compiled code lies in the cache; its imports apart."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--start", task, "--folder"]
    done = subprocess.run(
        [*command, str(bench.folder)], stdout=subprocess.PIPE, text=True, check=True, cwd=PROJECT
    )
    what = name_of(bench, task, bench.size.batches[0], "--compile")
    start = json.loads(done.stdout.splitlines()[-1])
    yield row(f"{what}: seconds to the first step, warm cache", start, "s", "<= 10")


# -- embedding, metrics and re-ranking -----------------------------------------------------------


def embedding_rows(bench: Bench) -> Iterator[Row]:
    """Test images from their files, as a training embeds them on its way and as `msinet evaluate`
    can.
    """
    size = bench.size
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 751, size.channels).eval()
    table = bench.dataset.table.iloc[: size.embedded]
    cache = {"cache": "disk", "cache_dir": str(bench.folder / "cache")}
    reader = open_images(table, bench.dataset.root, size.height, size.width, **cache)
    plain = Embedder(model, size.height, size.width, device=bench.device)
    fast = Embedder(
        *(model, size.height, size.width),
        **{"device": bench.device, "precision": "bfloat16", "batch_size": 256, "workers": 4},
    )
    for words, embedder in (("float32, batch 64", plain), ("bfloat16, batch 256", fast)):
        forget(bench.device)
        embedder.embed([torch.zeros(embedder.batch_size, 3, size.height, size.width)])
        speed = len(table) / seconds(lambda embedder=embedder: embedder.embed(reader))
        bench.found.setdefault("embed", speed)
        yield row(f"embed, {size.height} x {size.width}, {words}", speed, "images/s")


def retrieval_rows(bench: Bench) -> Iterator[Row]:
    """Seconds and memory at MSMT17's size, and whether it is what a processor finds."""
    device, sizes = bench.device, bench.size.retrieval
    query, gallery, labels = crowd(**sizes)
    few = [slice(0, max(40, sizes[side] // 10)) for side in ("queries", "gallery")]
    small = query[few[0]], gallery[few[1]]
    # libraries and kernels are loaded, loops compiled
    rank(*small, *(x[few[n % 2]] for n, x in enumerate(labels)), device=device)
    rerank(*small, device=device)
    few_matches = matches_of([x[few[n % 2]] for n, x in enumerate(labels)])
    Reranking.prepare(*small, device=device).rank(few_matches)
    matches = matches_of(labels)
    forget(device)
    results: list[Any] = []
    spent = seconds(lambda: results.append(rank(query, gallery, *labels, device=device)))
    yield row("rank, MSMT17's size", spent, "s", "<= 1")
    if device.type == "cuda":
        yield row("rank, MSMT17's size: peak memory", most_held(device), "GB", "<= 8")
    forget(device)

    def whole() -> None:
        results.append(Reranking.prepare(query, gallery, device=device).rank(matches))

    yield row("rerank, MSMT17's size: whole, with metrics", seconds(whole), "s", "<= 10")
    if device.type == "cuda":
        yield row("rerank, MSMT17's size: peak memory", most_held(device), "GB", "<= 8")
    yield row("rerank, MSMT17's size: mAP", results[1].mean_average_precision, "")
    expected = rank(query, gallery, *labels, device="cpu").average_precision
    differ = (expected != results[0].average_precision) & ~np.isnan(expected)
    yield row(
        "rank, MSMT17's size: queries that a processor scores otherwise", differ.sum(), "", "<= 0"
    )
    apart = np.abs(rerank(*small, device=device) - rerank(*small, device="cpu")).max()
    yield row(
        "rerank, a tenth of that: largest difference from a processor's", apart, "", "<= 1e-6"
    )
    market = crowd(**bench.size.market)
    bench.found["metrics"] = seconds(lambda: rank(*market[:2], *market[2], device=device))
    yield row("rank, Market-1501's size", bench.found["metrics"], "s")


# -- all of it -----------------------------------------------------------------------------------

Part = Callable[[Bench], Iterator[Row]]
PARTS: dict[str, Part] = {
    "train": partial(loop_rows, "train", "no flags", 0),
    "search": partial(search_rows, "no flags"),
    "retrieval": retrieval_rows,
    "embed": embedding_rows,
    "recipe": partial(recipe_rows, "no flags"),
    "train-plain": partial(plain_rows, "train", 0),
    "train-compile": partial(loop_rows, "train", "--compile", 0, start="<= 30"),
    "recipe-compile": partial(recipe_rows, "--compile"),
    "train-large": partial(loop_rows, "train", "no flags", 1),
    "search-large": partial(loop_rows, "search", "no flags", 1),
    "memory": memory_rows,
    "train-warm": partial(warm_rows, "train"),
    "search-compile": partial(search_rows, "--compile", start="<= 30"),
    "search-plain": partial(plain_rows, "search", 0),
    "train-compile-large": partial(loop_rows, "train", "--compile", 1),
    "search-compile-large": partial(loop_rows, "search", "--compile", 1),
    "search-warm": partial(warm_rows, "search"),
}


def prepared(device: torch.device, size: Size, folder: Path) -> Bench:
    """The photographs drawn and decoded, so that no run has to."""
    bench = Bench(device, size, folder, photographs(folder, size))
    cache = {"cache": "disk", "cache_dir": str(folder / "cache")}
    open_images(bench.dataset.table, bench.dataset.root, size.height, size.width, **cache)
    return bench


def measure(
    device: torch.device,
    size: Size,
    folder: Path,
    parts: dict[str, Part] = PARTS,
    minutes: float = float("inf"),
) -> Iterator[Row]:
    """Rows on one device, part by part. A part that fails has a row that says so."""
    end = time.perf_counter() + 60 * minutes
    begun = time.perf_counter()
    bench = prepared(device, size, folder)
    yield row("photographs drawn and decoded", time.perf_counter() - begun, "s")
    for name, part in parts.items():
        if time.perf_counter() > end:
            yield row(f"no time was left for {name}", 0, "")
            continue
        try:
            yield from part(bench)
        except Exception as error:  # the other parts are worth having
            said = (str(error).strip().splitlines() or [""])[0][:200]
            yield {**row(f"{name} failed: {type(error).__name__}: {said}", 0, ""), "ok": False}


def run(
    minutes: float = float("inf"),
    out: Path | None = None,
    folder: Path | None = None,
    parts: dict[str, Part] = PARTS,
) -> pd.DataFrame:
    """Rows on the GPU, told and appended to `out` as they are found; or one that says there is no
    GPU.
    """
    if not torch.cuda.is_available():
        return pd.DataFrame([row("no GPU here: nothing measured", 0, "GPUs")])
    rows, gpu = [], torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as scratch:
        place = (folder or Path(scratch)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
        # compiled code of earlier days would make every start a warm one
        cache = tempfile.mkdtemp(dir=place, prefix="compiled-")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        begun = time.perf_counter()
        for found in measure(torch.device("cuda"), Size(), place, parts, minutes):
            rows.append({**found, "gpu": gpu})
            mark = {True: "ok", False: "MISSED", None: ""}[found["ok"]]
            told = f"{found['figure']:.4g} {found['unit']}  {found['limit']} {mark}"
            print(f"{time.perf_counter() - begun:4.0f} s  {found['name']}: {told}", flush=True)
            if out is not None:
                line = pd.DataFrame(rows[-1:])
                line.to_csv(out, mode="a", header=not out.exists(), index=False)
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part later")
    parser.add_argument("--out", type=Path, help="CSV that rows are appended to")
    parser.add_argument("--folder", type=Path, help="where photographs are kept, and found again")
    parser.add_argument("--start", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        bench = prepared(torch.device("cuda"), Size(), given.folder)
        count = Size().batches[0]
        watch = observed(bench, given.start, "--compile", count, rows=16 * count, epochs=1)
        print(json.dumps(watch.start))
        return 0
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = {name: PARTS[name] for name in given.parts or PARTS}
    table = run(given.minutes, given.out, given.folder, parts)
    if "gpu" not in table:
        print(table["name"].item())
        return 0
    print(f"{int((table['ok'].isin([False])).sum())} limits missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
