"""Bad inputs of every kind, by the thousand: one sentence each, nothing hangs, nothing is lost.

    python -m benchmarks.fuzz --inputs 2000 --seed 0 [--only manifest image]

Run folders, checkpoints (with mended checksums), weights, manifests, tables, lists, images, flags,
genotypes, operations, ONNX files, stores, results, indices, caches and places to write to are
altered at random (`benchmarks/mutations.py`), and a command that meets them is carried out in a
child of its own. An input is a violation if the command

- prints a traceback, dies of a signal, or ends in an error that nobody put into a sentence;
- is at work for more than 30 seconds of processor time, or takes more than 2 GB of memory;
- changes a file that it was only to read, or executes what a pickle asks for;
- succeeds although the numbers of a checkpoint, store or result are not those that were written.

Needs Linux. Prints every violation with its seed and ends with status 1 if there is one.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads must not be forked

import argparse
import json
import random
import re
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import mutations as make
from benchmarks.faults import BESIDES, DATA, HUNG, SMALL, STUDIED, preload, prepare, run
from benchmarks.mutations import CANARY, Mutation, checkpoint, one_file

TYROS = "Error parsing|Parsing error|Unrecognized|Required|Invalid choice|Missing value"
SENTENCE = re.compile(rf"error:|{TYROS}")
MEMORY, SECONDS = 2_000_000, 30.0  # kB, of processor time


@dataclass(frozen=True)
class Kind:
    """One kind of bad input: how it is made, and the commands that meet it."""

    name: str
    mutate: Mutation
    commands: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...] = ()  # files that after a success hold what they held before the altering
    needs: tuple[str, ...] = ("photos", "run")  # inputs that it meets; copying all takes long


EVALUATE = ("evaluate", "--run", "run", "--device", "cpu")
RESUME = ("train", "--run", "half", "--resume", "--quiet")
RESUME_SEARCH = ("search", "--run", "half_search", "--resume", "--quiet")
TRAIN = ("train", *DATA, *SMALL, "--epochs", "1", "--run", "out")
CHECK = ("data", "check", *DATA)
EMBED = ("embed", "--model", "run", *DATA, "--to", "store", "--device", "cpu")
CACHED = (*TRAIN, "--cache", "disk", "--cache-dir", "cache")
DIAGNOSE = ("diagnose", "--run", "search", "--random", "1", "--max-identities", "4", "--to", "out")
HALF = ("evaluate", "--run", "half", "--device", "cpu")
ALL = ("photos", "run", "search", "store", "result")
KINDS = [
    Kind("run folder", one_file("run", "*.json", "*.jsonl"), (EVALUATE, ("look", "run"))),
    Kind(
        "search that is looked at",
        one_file("search", "*.json", "*.jsonl", "pid", "log.txt"),
        (("look", "search"), ("describe", "--genotype", "search"), ("look", "search"), DIAGNOSE),
        needs=("search",),
    ),
    Kind("checkpoint file", one_file("half", "checkpoints/*/*"), (RESUME, HALF), needs=("half",)),
    Kind(
        "state of a stopped run",
        one_file("half_search", "*.json", "*.jsonl", "log.txt"),
        (RESUME_SEARCH,),
        needs=("half_search",),
    ),
    Kind("checkpoint of a training", checkpoint("half"), (RESUME, HALF), needs=("half",)),
    Kind(
        "checkpoint of a search",
        checkpoint("half_search"),
        (RESUME_SEARCH,),
        needs=("half_search",),
    ),
    Kind(
        "checkpoint that is checked",
        one_file("half", "checkpoints/*/*"),
        (("check", "half"),),
        ("half/checkpoints/*/weights.safetensors", "half/checkpoints/*/state.pt"),
        needs=("half",),
    ),
    Kind(
        "weights",
        make.weights,
        ((*TRAIN, "--genotype", "paper", "--weights", "weights.pth"),),
        needs=("photos", "export.pth"),
    ),
    Kind(
        "bomb",
        make.bomb,
        (RESUME, (*TRAIN, "--genotype", "paper", "--weights", "weights.pth")),
        needs=("photos", "half", "export.pth"),
    ),
    Kind("manifest", make.manifest, (CHECK, CHECK, TRAIN), needs=("photos",)),
    Kind("table", make.table, ((),), needs=("photos",)),
    Kind("listing", make.listing, ((),), needs=("photos",)),
    Kind("image", make.image, (CHECK, TRAIN, (*EVALUATE, "--on", "manifest=photos"), EMBED)),
    Kind("flag", make.flag, ((),), needs=("photos",)),
    Kind("genotype", make.genotype, ((),), needs=("photos",)),
    Kind("operation", make.operation, ((),), needs=("photos",)),
    Kind(
        "store",
        one_file("store", "*"),
        (EMBED, ("check", "store")),
        ("store/*.npy", "store/*.jsonl"),
        needs=("photos", "run", "store"),
    ),
    Kind(
        "result",
        one_file("result", "*"),
        ((*EVALUATE, "--save", "result"), ("check", "result/manifest photos")),
        ("result/*/*.safetensors", "result/*/*.jsonl"),
        needs=("photos", "run", "result"),
    ),
    Kind(
        "index", one_file("index", "*"), (("check", "index"), ("look", "index")), needs=("index",)
    ),
    Kind("cache", one_file("cache", "*.u8"), (CACHED,), ("cache/*.u8",), needs=("photos", "cache")),
    Kind(
        "study",
        one_file("study", "study.*"),
        ((*STUDIED, "--train-identities", "20"),),
        needs=("study",),
    ),
    Kind(
        "onnx",
        make.onnx,
        (("embed", "--model", "network.onnx", *DATA, "--to", "out"),),
        needs=("photos", "network.onnx"),
    ),
    Kind("places", make.ways, ((),), needs=ALL),
]


CORPUS: dict[str, tuple[int, ...]] = {  # seeds of inputs that once failed, by kind
    "run folder": (1003,),
    "search that is looked at": (1000,),
    "checkpoint of a search": (1001,),
    "listing": (1001,),
    "study": (1002,),
    "store": (2006,),
    "operation": (5039, 5043),
    "places": (5019, 5070, 5082),
}


def look(words: list[str]) -> int:
    """`look FOLDER`: what notebooks and panels show of a run, or find in an index."""
    import numpy as np

    from msinet_core.errors import ReidError
    from msinet_core.retrieval import GalleryIndex
    from msinet_core.runs.folder import RunFolder
    from msinet_lab.panels.run import RunPanel
    from msinet_lab.panels.small_runs import run_table

    folder = Path(words[1])
    try:
        if folder.name == "index":
            index = GalleryIndex.load(folder)
            index.search(np.ones((1, index.length), np.float32), 3)
            return 0
        print(repr(RunFolder(folder)))
        panel = RunPanel(folder, poll=1000)
        told = panel.status.value
        panel.close()
        if "Error:" in told:  # what no sentence was found for
            print(f"Traceback: {told}")
        print(run_table(folder))
    except ReidError as error:
        print(f"error: {error}")
        return 2
    return 0


def index(words: list[str]) -> int:
    """`index STORE FOLDER`: a gallery index of a store."""
    from msinet_core.retrieval import GalleryIndex, open_store

    GalleryIndex.build(open_store(words[1])).save(words[2])
    return 0


BESIDES |= {"look": look, "index": index}


def attempt(kind: Kind, seed: int, workshop: Path) -> list[str]:
    """Violations of one bad input."""
    rng = random.Random(f"{kind.name} {seed}")
    place = workshop / f"{kind.name.replace(' ', '_')}_{seed}"
    place.mkdir()
    for name in kind.needs:
        source = workshop / "inputs" / name
        _ = (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place / name)
    (place.parent / "neighbour.txt").write_text("years of work\n")
    how = _mutate(kind, place, rng)
    words = rng.choice(kind.commands) or tuple(json.loads((place / "words.json").read_text()))
    before = _readable(place)
    started, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    status, said = run(words, place)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    problems = []
    if status == HUNG or seconds > SECONDS:
        problems.append(f"{seconds:.0f} s of processor time, {time.monotonic() - started:.0f} s")
    if "Traceback" in said or status not in (0, 2):
        problems.append(
            f"status {status}: {said.strip().splitlines()[-1][:200] if said.strip() else ''!r}"
        )
    if status == 2 and not SENTENCE.search(said):
        problems.append(f"refused without a sentence: {said.strip()[-200:]!r}")
    if status == 0 and how.startswith("bad"):
        problems.append("taken silently")
    if "\x1b[2J" in said or "\x1b[31m<" in said:
        problems.append("a terminal's escape was passed on")
    after = _readable(place)
    changed = [
        name
        for name, content in before.items()
        if after.get(name) != content and not _written(name, words)
    ]
    if changed:
        problems.append(f"changed {changed[:3]}")
    if (place / CANARY).exists() or (
        place.parent / "neighbour.txt"
    ).read_text() != "years of work\n":
        problems.append("executed, or wrote elsewhere")
    problems += _used_silently(kind, place, workshop / "inputs") if status == 0 else []
    if problems:
        return [f"{kind.name} {seed} ({how}) {' '.join(words)[:160]}: " + "; ".join(problems)]
    shutil.rmtree(place)
    return []


def _used_silently(kind: Kind, place: Path, inputs: Path) -> list[str]:
    """The files that a command took for whole, or made anew, and that are other than they were."""
    kept = [path.relative_to(inputs) for pattern in kind.kept for path in inputs.glob(pattern)]
    other = [
        str(path)
        for path in kept
        if not (place / path).is_file()
        or (place / path).read_bytes() != (inputs / path).read_bytes()
    ]
    return [f"went on silently with other numbers in {other}"] if other else []


def _mutate(kind: Kind, place: Path, rng: random.Random) -> str:
    try:
        return kind.mutate(place, rng)
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
    ) as error:  # of an alteration that cannot be made
        return f"not altered ({error!r})"


def _readable(place: Path) -> dict[str, str]:
    """Digests of what lies there; what is no small regular file is left out."""
    found = {}
    for path in place.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 24:
            continue
        found[path.relative_to(place).as_posix()] = str(hash(path.read_bytes()))
    return found


def _written(name: str, words: Sequence[str]) -> bool:
    """Whether a command may write that file."""
    top = name.split("/")[0]
    flags = ["--to", "--save", "--folder", "--cache-dir"]
    flags += ["--run"] if words[0] in ("train", "search", "demo") else []
    flags += ["--root"] if words[:2] == ["data", "generate"] else []
    targets = {words[k + 1] for k, word in enumerate(words[:-1]) if word in flags}
    linked = {"mine" for name in targets if name == "link"}
    linked |= {"file" for name in targets if name == "file_link"}
    return top in targets | linked or name.endswith((".lock", "log.txt"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each kind")
    parser.add_argument("--corpus", action="store_true", help="and those that once failed")
    parser.add_argument("--minutes", type=float, default=1e6, help="after which no more are tried")
    parser.add_argument("--only", nargs="*", default=[], help="names of kinds")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args(argv)
    preload()
    chosen = [kind for kind in KINDS if not options.only or kind.name in options.only]
    workshop = Path(tempfile.mkdtemp(prefix="fuzz-", dir=options.folder))
    prepare(workshop, {name for kind in chosen for name in kind.needs})
    each = -(-options.inputs // len(chosen))
    seeds = [(kind, options.seed + number) for number in range(each) for kind in chosen]
    bad = throw((corpus(chosen) if options.corpus else []) + seeds, workshop, options.minutes)
    if not bad:
        shutil.rmtree(workshop)
    return int(bad > 0)


def corpus(chosen: Sequence[Kind]) -> list[tuple[Kind, int]]:
    """The inputs that once failed."""
    return [(kind, seed) for kind in chosen for seed in CORPUS.get(kind.name, ())]


def throw(inputs: Sequence[tuple[Kind, int]], workshop: Path, minutes: float = 1e6) -> int:
    """Try the inputs, each a kind and a seed; how many violations there were."""
    end = time.monotonic() + 60 * minutes
    tried, found = Counter[str](), Counter[str]()
    for kind, seed in inputs:  # round by round, so that a run that is cut short met every kind
        if time.monotonic() > end:
            break
        tried[kind.name] += 1
        for problem in attempt(kind, seed, workshop):
            found[kind.name] += 1
            print(f"  {problem}", flush=True)
    for name, count in tried.items():
        print(f"{name}: {count} inputs, {found[name]} violations")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if peak > MEMORY:
        print(f"  memory: a child took {peak / 1e6:.1f} GB")
    bad = found.total() + (peak > MEMORY)
    print(f"{tried.total()} inputs, {bad} violations, at most {peak / 1e6:.2f} GB", flush=True)
    return bad


if __name__ == "__main__":
    raise SystemExit(main())
