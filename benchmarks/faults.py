"""Every command with one file operation killed or failed at a time: nothing of the user's is lost.

    python -m benchmarks.faults --faults 1000 --seed 0 [--only evaluate embed]

Needs Linux and gcc. Each command first runs undisturbed, and its file operations below the working
folder are counted by a small preloaded library (`fault_shim.c`). Then, in a fresh copy, one of them
is killed, fails (input/output error, no space, no permission, no space from then on) or writes only
half. After each fault:

1. no file of the user's has changed;
2. the command said one sentence or went on, and never a traceback;
3. repeated without a fault it gives the bits of the undisturbed run, or refuses in one sentence;
4. no litter is left that the undisturbed run does not leave.

Prints a line a command and every violation, and ends with status 1 if there is one.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads must not be forked

import argparse
import csv
import ctypes
import errno
import hashlib
import importlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

PRELOADED = (
    *("msinet_core.cli", "msinet_core.retrieval", "msinet_core.search", "msinet_core.training"),
    *("msinet_lab.diagnosis", "msinet_lab.study", "msinet_lab.synthetic", "msinet_lab.demo"),
    *("msinet_lab.figures.diagnosis", "msinet_lab.figures.study", "msinet_lab.figures.retrieval"),
    *("sklearn.manifold", "onnx", "onnxruntime", "onnxscript", "numba"),
)
BESIDES: dict[str, Callable[[list[str]], int]] = {}  # further commands, by their first word
SHIM = Path(__file__).with_name("fault_shim.c")
ACTIONS = {
    "fails": 1,
    "fails from then on": 2,
    "falls short": 3,
    "killed before": 4,
    "killed after": 5,
}
KILLS = [("killed before", 0), ("killed after", 0)]
FAULTS = {  # by what an operation is; killing at a reading one is killing after the last written
    "read": [("fails", errno.EIO)],
    "stat": [("fails", errno.EIO), ("fails", errno.EACCES)],
    "list": [("fails", errno.EIO), ("fails", errno.EACCES)],
    "open": [("fails", errno.EIO), ("fails", errno.EACCES)],
    "write": [
        *KILLS,
        ("fails", errno.EIO),
        ("fails", errno.ENOSPC),
        ("fails from then on", errno.ENOSPC),
        ("falls short", errno.ENOSPC),
    ],
    "other": [
        *KILLS,
        ("fails", errno.EIO),
        ("fails", errno.ENOSPC),
        ("fails", errno.EACCES),
        ("fails from then on", errno.ENOSPC),
    ],
}
BATCH = "--identities-per-batch 2 --images-per-identity 2"
SMALL = (
    "--height 32 --width 32 --channels 16 16 16 16 --device cpu --quiet --pad 2 " + BATCH
).split()
CLOCK = {"time", "seconds", "seconds_in_runs", "images_per_second", "date", "created"}
BUSY, IDLE = 60.0, 60.0  # seconds of processor time, and without any: then a command hangs
HUNG = -99


@dataclass(frozen=True)
class Command:
    """A command to disturb: `inputs` are copied into its folder, `outputs` are made there.

    again: added to the words where an earlier try left its output. before: what lies already where
    the output is to be, and what is copied there. stays: words that must succeed whatever happened,
    since the old or the new is there.
    """

    name: str
    words: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    again: tuple[str, ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    stays: tuple[str, ...] = ()


DATA = ("--data", "manifest", "--root", "photos")
TINY = (*DATA, *SMALL)
DISK = ("--cache", "disk", "--cache-dir", "cache")
GENERATE = "data generate people --train-identities 3 --test-identities 2 --images-per-identity 6"
STUDY = "study --folder out --seeds 0 --kinds people --search-steps 1 --train-epochs 1"
CHECKED = ("check", "out/manifest photos")
SAVED = "result/manifest photos"
QUERY = "--model run --gallery photos --to out"
PRETRAIN = "--epochs 1 --run out"
COMMANDS = [
    Command(
        "search",
        ("search", *TINY, "--epochs", "2", "--overlap", "1", "--run", "out"),
        ("photos",),
        ("out",),
        ("--resume",),
    ),
    Command(
        "train",
        ("train", *TINY, "--epochs", "2", "--run", "out"),
        ("photos",),
        ("out",),
        ("--resume",),
    ),
    Command(
        "a training that goes on",
        ("train", "--run", "out", "--resume", "--quiet"),
        ("photos",),
        ("out",),
        before=(("half", "out"),),
        stays=("check", "out"),
    ),
    Command(
        "train with a cache on disk",
        ("train", *TINY, *DISK, "--epochs", "1", "--run", "out"),
        ("photos",),
        ("out", "cache"),
        ("--resume",),
    ),
    Command(
        "evaluate",
        ("evaluate", "--run", "run", "--device", "cpu", "--save", "out"),
        ("photos", "run"),
        ("out",),
    ),
    Command(
        "a result that is there",
        ("evaluate", "--run", "run", "--device", "cpu", "--save", "out"),
        ("photos", "run"),
        ("out",),
        before=(("old_result", "out"),),
        stays=CHECKED,
    ),
    Command(
        "embed",
        ("embed", "--model", "run", *DATA, "--to", "out", "--device", "cpu"),
        ("photos", "run"),
        ("out",),
    ),
    Command(
        "a store that is there",
        ("embed", "--model", "run", *DATA, "--to", "out", "--device", "cpu"),
        ("photos", "run"),
        ("out",),
        before=(("old_store", "out"),),
        stays=("check", "out"),
    ),
    Command("export", ("export", "--run", "run", "--to", "out.pth"), ("run",), ("out.pth",)),
    Command(
        "export over a file",
        ("export", "--run", "run", "--to", "out.safetensors"),
        ("run",),
        ("out.safetensors",),
        before=(("old.safetensors", "out.safetensors"),),
    ),
    Command("export onnx", ("export", "--run", "run", "--to", "out.onnx"), ("run",), ("out.onnx",)),
    Command("data generate", (*GENERATE.split(), "--root", "out"), (), ("out",)),
    Command(
        "diagnose",
        ("diagnose", "--run", "search", "--random", "1", "--max-identities", "4", "--to", "out"),
        ("photos", "search"),
        ("out",),
    ),
    Command("study", (*STUDY.split(), "--train-identities", "20", "--parts", "a"), (), ("out",)),
    Command("demo", ("demo", "--run", "out", "--device", "cpu"), (), ("out",)),
    Command(
        "pretrain",
        ("pretrain", *DATA, *SMALL[: SMALL.index("--identities-per-batch")], *PRETRAIN.split()),
        ("photos",),
        ("out",),
        ("--resume",),
    ),
    Command(
        "query",
        ("query", "photos/0_0.png", *QUERY.split()),
        ("photos", "run"),
        ("out",),
    ),
    Command("report", ("report", SAVED, "--to", "out"), ("photos", "result"), ("out",)),
    Command("push", ("push", "run", "out"), ("run",), ("out",)),
    Command("notebooks", ("notebooks", "--to", "out"), (), ("out",)),
    Command("data check", ("data", "check", *DATA), ("photos",), ()),
    Command("check", ("check", "run"), ("run",), ()),
    Command("describe", ("describe", "--genotype", "run"), ("run",), ()),
]


STUDIED = ("study", "--folder", "study", "--parts", "a", *STUDY.split()[3:])
MADE = {  # the inputs, by the commands that make them
    "run": ("train", *TINY, "--genotype", "paper", "--epochs", "1", "--run", "run"),
    "search": ("search", *TINY, "--epochs", "2", "--overlap", "0.4", "--run", "search"),
    "result": ("evaluate", "--run", "run", "--device", "cpu", "--save", "result"),
    "old_result": ("evaluate", "--run", "run", "--device", "cpu", "--flip", "--save", "old_result"),
    "store": ("embed", "--model", "run", *DATA, "--to", "store", "--device", "cpu"),
    "old_store": (
        "embed",
        "--model",
        "run",
        *DATA,
        "--to",
        "old_store",
        "--device",
        "cpu",
        "--flip",
    ),
    "index": ("index", "store", "index"),
    "cache": ("train", *TINY, *DISK, "--epochs", "1", "--run", "out"),
    "study": (*STUDIED, "--train-identities", "20"),
    "export.pth": ("export", "--run", "run", "--to", "export.pth"),
    "network.onnx": ("export", "--run", "run", "--to", "network.onnx"),
}


def needs(commands: Iterable[Command]) -> set[str]:
    """What these commands find in their folders."""
    names = {name for one in commands for name in one.inputs}
    names |= {name for one in commands for name, _ in one.before}
    return names | {"network.onnx" for one in commands if "onnx" in one.name}


def preload() -> None:
    """All that commands would import, before the forks; study and demo at a size that a thousand
    faults allow.
    """
    from functools import partial

    import torch

    for name in PRELOADED:
        importlib.import_module(name)
    from msinet_lab import demo
    from msinet_lab.diagnosis import gap
    from msinet_lab.study import carrying_out

    torch.set_num_threads(1)
    gap.DRAWS = 20  # of a bootstrap
    carrying_out.SPLITS = {name: carrying_out.SPLITS[name] for name in (carrying_out.TWINS,)}
    demo.DemoSize = partial(  # type: ignore[misc,assignment]
        demo.DemoSize,
        train_identities=16,
        test_identities=3,
        images_per_identity=4,
        height=32,
        width=32,
        search_epochs=1,
        train_epochs=1,
    )


def photographs(root: Path, identities: int = 12, images: int = 4) -> None:
    """A manifest of noisy coloured squares, 32 x 32, two cameras; half are for tests."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    lines = ["path,identity,camera,split"]
    for identity in range(identities):
        colour = rng.integers(40, 216, 3)
        for number in range(images):
            pixels = np.clip(colour + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{identity}_{number}.png")
            split = "train" if identity < identities // 2 else "query" if number < 2 else "gallery"
            lines.append(f"{identity}_{number}.png,{identity},{number % 2},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


class Faults:
    """The preloaded library of this process."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None) if "LD_PRELOAD" in os.environ else None

    def arm(
        self, folder: Path, when: int = -1, what: str = "", number: int = 0, log: int = -1
    ) -> None:
        if self.library is None:  # nothing is to fail here
            return
        self.library.fault_arm(
            f"{folder}/".encode(), ctypes.c_long(when), ACTIONS.get(what, 0), number, log
        )


def run(
    words: Sequence[str],
    place: Path,
    fault: tuple[int, str, int] | None = None,
    log: Path | None = None,
) -> tuple[int, str]:
    """Carry out `msinet WORDS` in a child that works in `place`; its exit status and what it said.

    The status of a child that was killed is minus the signal's number. `fault` is which operation,
    what happens to it, and the error's number.
    """
    said = place.with_name(place.name + ".said")
    child = os.fork()
    if child == 0:
        _child(words, place, said, fault, log)
    used, moved = 0.0, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        now = _processor_time(child)
        if now > used:
            used, moved = now, time.monotonic()
        if used > BUSY or time.monotonic() - moved > IDLE:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return HUNG, "it hung"
        time.sleep(0.005)
    text = said.read_text(errors="replace")
    said.unlink()
    return os.waitstatus_to_exitcode(status), text


def _processor_time(process: int) -> float:
    """Seconds that a process and its ended children were at work, however busy the machine is."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _child(
    words: Sequence[str],
    place: Path,
    said: Path,
    fault: tuple[int, str, int] | None,
    log: Path | None,
) -> None:
    status = 1
    try:
        os.chdir(place)
        os.setpgid(0, 0)
        with said.open("w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            from msinet_core.cli import main

            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT) if log else -1
            Faults().arm(place, *(fault or (-1, "", 0)), log=descriptor)
            try:
                status = BESIDES.get(words[0], main)(list(words))
            except SystemExit as end:
                status = int(end.code or 0)
            finally:
                Faults().arm(place)
    except BaseException as error:  # a forked child must not go on into its parent's code
        said.open("a").write(f"Traceback of the child itself: {error!r}\n")
    finally:
        os._exit(status)


def files_of(folder: Path) -> dict[str, str]:
    """Digest of every file below `folder`, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outcome(place: Path, outputs: Sequence[str]) -> dict[str, str]:
    """What a command made, without clock and process: what two equal runs have in common."""
    made = {}
    for name in outputs:
        top = place / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.name not in ("pid", "log.txt", ".lock"):
                made[path.relative_to(place).as_posix()] = _content(path)
    return made


def _content(path: Path) -> str:
    if not path.is_file():
        return "gone"
    if path.suffix == ".html":  # says when it was made
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", path.read_text())
        return hashlib.sha256(text.encode()).hexdigest()
    if path.suffix in (".json", ".jsonl", ".csv", ".md"):
        text = path.read_text()
        if path.suffix in (".json", ".jsonl"):
            lines = [text] if path.suffix == ".json" else text.splitlines()
            text = "\n".join(json.dumps(_timeless(json.loads(line))) for line in lines)
        elif path.suffix == ".csv":
            rows = [dict(row) for row in csv.DictReader(text.splitlines())]
            text = json.dumps(_timeless(rows))
        return hashlib.sha256(text.encode()).hexdigest()
    if path.suffix == ".pt":
        import torch

        state = torch.load(path, weights_only=True)
        state = {k: v for k, v in state.items() if k != "history_bytes"}
        return hashlib.sha256(repr(_digested(state)).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {
            k: _timeless(v)
            for k, v in value.items()
            if k not in CLOCK and "sha" not in k and k != "files"
        }
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _digested(value: object) -> object:
    import torch

    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {str(k): _digested(v) for k, v in value.items()}
    return [_digested(v) for v in value] if isinstance(value, list | tuple) else value


class Trial:
    """One command in a workshop where its inputs lie ready."""

    def __init__(self, command: Command, workshop: Path) -> None:
        self.command, self.workshop = command, workshop
        self.number = 0
        place, log = self.fresh(), workshop / "log"
        self.old = outcome(place, [name for _, name in command.before])
        log.unlink(missing_ok=True)
        status, said = run(command.words, place, log=log)
        if status != 0:
            raise SystemExit(f"{command.name}: fails by itself (status {status}):\n{said[-2000:]}")
        self.operations = log.read_text().split("\n")[:-1]
        self.expected = outcome(place, command.outputs)
        self.names = set(_names(place))
        shutil.rmtree(place)

    def fresh(self) -> Path:
        """A folder with the inputs, and a neighbour that nobody may touch."""
        self.number += 1
        place = self.workshop / "place"  # configurations hold it, so it is always the same
        place.mkdir()
        inputs = self.workshop / "inputs"
        same = ((name, name) for name in (*self.command.inputs, "neighbour"))
        for source, target in (*same, *self.command.before):
            copy = shutil.copyfile if (inputs / source).is_file() else shutil.copytree
            copy(inputs / source, place / target)  # type: ignore[operator]
        return place

    def strike(self, when: int, what: str, number: int) -> list[str]:
        """Violations after one fault; the folder is left where there are some."""
        place = self.fresh()
        before = {name: files_of(place / name) for name in (*self.command.inputs, "neighbour")}
        problems = []
        status, said = run(self.command.words, place, (when, what, number))
        if status == HUNG:
            problems.append("hung")
        if "Traceback" in said or status not in (0, 1, 2, 130, -9):
            problems.append(f"status {status}, said {_last(said)!r}")
        if status == 1 and "log" not in said:
            problems.append(f"an unexpected error without its log: {_last(said)!r}")
        if status == 1:
            problems.append(f"an error that nobody put into a sentence: {_last(said)!r}")
        problems += self._changed(place, before, "after the fault")
        for _, name in self.command.before:
            path = place / name
            whole = (self.expected.get(name, "gone"), self.old.get(name, "gone"))
            if not path.is_dir() and _content(path) not in whole:
                problems.append(f"{name} is neither the old nor the new")
        if self.command.stays:
            status, said = run(self.command.stays, place)
            if status:
                problems.append(f"neither the old nor the new is there: {_last(said)!r}")
        again = (
            self.command.again
            if any((place / name / "config.json").exists() for name in self.command.outputs)
            else ()
        )
        status, said = run((*self.command.words, *again), place)
        if "Traceback" in said or status not in (0, 2):
            problems.append(f"repeated: status {status}, said {_last(said)!r}")
        problems += self._changed(place, before, "after the repetition")
        if status == 0:
            found = outcome(place, self.command.outputs)
            if found != self.expected:
                differing = sorted(
                    k for k in {*found, *self.expected} if found.get(k) != self.expected.get(k)
                )
                problems.append(f"repeated: other bits in {differing[:5]}")
            litter = sorted(set(_names(place)) - self.names)
            if litter:
                problems.append(f"litter: {litter[:5]}")
        else:
            problems += [] if "error:" in said else [f"refused without a sentence: {_last(said)!r}"]
        if problems:
            place.rename(self.workshop / f"{self.command.name.replace(' ', '_')}_{self.number}")
        else:
            shutil.rmtree(place)
        return problems

    def _changed(self, place: Path, before: dict[str, dict[str, str]], when: str) -> list[str]:
        changed = []
        for name, files in before.items():
            now = files_of(place / name)
            changed += [
                f"{name}/{path}"
                for path, content in files.items()
                if now.get(path) != content and not path.endswith(("log.txt", "pid", ".lock"))
            ]
        return [f"{when}: the user's {changed[:3]} changed or gone"] if changed else []


def _names(place: Path) -> Iterator[str]:
    for path in place.rglob("*"):
        if path.name == "pid":  # one a run folder, whose number is no process's any more
            continue
        yield re.sub(r"\d+(?=\.said$)", "", path.relative_to(place).as_posix())


def _last(said: str) -> str:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def plan(trial: Trial, rng: random.Random, most: int) -> list[tuple[int, str, int]]:
    """Which operations are to fail in which way: all, or of every kind about equally many."""
    kinds: dict[tuple[str, str, int], list[int]] = {}
    for when, name in enumerate(trial.operations):
        for what, number in FAULTS.get(name, FAULTS["other"]):
            kinds.setdefault((name, what, number), []).append(when)
    for places in kinds.values():
        rng.shuffle(places)
    chosen: list[tuple[int, str, int]] = []
    while any(kinds.values()) and len(chosen) < most:
        for (_, what, number), places in kinds.items():
            if places and len(chosen) < most:
                chosen.append((places.pop(), what, number))
    rng.shuffle(chosen)
    return chosen


def prepare(workshop: Path, needed: Collection[str]) -> None:
    """The inputs that are needed, made once by undisturbed commands, and a neighbour's folder."""
    inputs = workshop / "inputs"
    inputs.mkdir(parents=True)
    photographs(inputs / "photos")
    (inputs / "neighbour").mkdir()
    (inputs / "neighbour" / "thesis.txt").write_text("years of work\n")
    (inputs / "old.safetensors").write_bytes(b"years of work")
    warm(inputs, "network.onnx" in needed)
    for name, words in MADE.items():
        if name in {*needed, "run", "store"}:
            status, said = run(words, inputs)
            if status:
                raise SystemExit(f"{' '.join(words)}: the inputs cannot be made: {said[-2000:]}")
    halves(inputs)


def warm(inputs: Path, export: bool) -> None:
    """Work of each kind in this process, so that no child loads or compiles anything; `export`
    takes longest.
    """
    import tqdm

    from msinet_core.cli import main

    tqdm.tqdm.monitor_interval = 0  # or a thread of it would be there at the forks
    words = ("export", "--run", "run", "--to", "network.onnx")
    exports = (words,) if export else ()
    if export:
        _trace_once()
    before, scratch = Path.cwd(), inputs.with_name("warm")
    scratch.mkdir()
    os.chdir(scratch)
    (scratch / "photos").symlink_to(inputs / "photos")
    with (scratch / "said").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        for words in (
            ("train", *TINY, "--epochs", "1", "--run", "run"),
            ("search", *TINY, "--epochs", "1", "--overlap", "1", "--run", "search"),
            ("evaluate", "--run", "run", "--device", "cpu", "--save", "result"),
            ("embed", "--model", "run", *DATA, "--to", "store", "--device", "cpu"),
            *exports,
        ):
            if main(list(words)):
                raise SystemExit(f"the inputs cannot be made: {(scratch / 'said').read_text()}")
    os.chdir(before)
    shutil.rmtree(scratch)


def _trace_once() -> None:
    """Let torch trace a network once for all exports: it takes seconds and writes nothing."""
    from copy import deepcopy

    from msinet_core.retrieval import export

    trace, traced = export._export, list[Any]()

    def again(*arguments: Any) -> Any:
        if not traced:
            traced.append(trace(*arguments))
        return deepcopy(traced[0])

    export._export = again


def halves(inputs: Path) -> None:
    """A training and a search that were stopped in their first epoch."""
    child = os.fork()
    if child == 0:
        from msinet_core.config import SearchConfig, TrainConfig
        from msinet_core.errors import Stopped
        from msinet_core.runs.stopping import Stop
        from msinet_core.search import search
        from msinet_core.training import train

        os.chdir(inputs)
        common: dict[str, Any] = {
            "root": "photos",
            "height": 32,
            "width": 32,
            "channels": (16, 16, 16, 16),
            "identities_per_batch": 2,
            "images_per_identity": 2,
            "device": "cpu",
            "pad": 2,
            "epochs": 2,
        }
        for work, config, name in (
            (train, TrainConfig(**common), "half"),
            (search, SearchConfig(**common, overlap=1.0), "half_search"),
        ):
            stop = _After()
            assert isinstance(stop, Stop)
            with suppress(Stopped):
                work(config, name, progress=False, stop=stop)  # type: ignore[operator]
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the stopped runs cannot be made")


def _After() -> Any:
    """A stop that is asked for at the third look."""
    from msinet_core.runs.stopping import Stop

    class After(Stop):
        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            return self.looks > 3

    return After()


def serve(options: argparse.Namespace) -> int:
    """All of it, in the process that has the library preloaded."""
    preload()
    chosen = [c for c in COMMANDS if not options.only or c.name in options.only]
    workshop = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder))
    prepare(workshop, needs(chosen))
    bad = strike(chosen, options.faults, options.seed, workshop, options.minutes)
    if not bad:
        shutil.rmtree(workshop)
    return int(bad > 0)


def strike(
    chosen: Sequence[Command], faults: int, seed: int, workshop: Path, minutes: float = 1e6
) -> int:
    """At least so many faults, shared out among commands; how many went wrong."""
    rng, end = random.Random(seed), time.monotonic() + 60 * minutes
    trials = [Trial(command, workshop) for command in chosen]
    plans = [plan(trial, rng, -(-faults // len(chosen))) for trial in trials]
    rounds = [pair for row in zip_longest(*plans) for pair in zip(trials, row, strict=True)]
    tried, found = Counter[str](), Counter[str]()
    for trial, fault in rounds:  # one of each command in turn, so that a run may be cut short
        if fault is None or time.monotonic() > end:
            continue
        name = trial.command.name
        tried[name] += 1
        problems = trial.strike(*fault)
        if problems:
            found[name] += 1
            when, what, number = fault
            cause = f" ({errno.errorcode[number]})" if number else ""
            print(
                f"  {name}: operation {when} ({trial.operations[when]}) {what}{cause}: "
                + "; ".join(problems),
                flush=True,
            )
    for trial in trials:
        name, operations = trial.command.name, len(trial.operations)
        print(f"{name}: {operations} operations, {tried[name]} faults, {found[name]} violations")
    print(f"{tried.total()} faults, {found.total()} violations", flush=True)
    return found.total()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000, help="about how many in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="after which no more are tried")
    parser.add_argument("--only", nargs="*", default=[], help="names of commands")
    parser.add_argument(
        "--folder", default=None, help="where to work; default: the folder for temporary files"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        return serve(options)
    return with_library("benchmarks.faults", argv)


def with_library(module: str, argv: Sequence[str] | None) -> int:
    """A module's `main` again with `--serve`, in a process that has the library preloaded."""
    if sys.platform != "linux" or not shutil.which("gcc"):
        print("faults: needs Linux and gcc; nothing was tried", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
        words = [sys.executable, "-m", module, "--serve", *(sys.argv[1:] if argv is None else argv)]
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(words, env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
