"""Bad inputs of every kind, by the thousand: one sentence each, nothing hangs, nothing is lost.

    python -m benchmarks.fuzz --inputs 2000 --seed 0 [--only manifest image]

Run folders, checkpoints (with mended checksums), weights, manifests, images, flags, genotypes, ONNX
files, stores and results are altered at random, and a command that reads them is carried out in a
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
import pickle
import random
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults import DATA, SMALL, photographs, run

MEMORY, SECONDS = 2_000_000, 30.0  # kB, of processor time
CANARY = "executed"
Mutation = Callable[[Path, random.Random], str]  # alters the folder of inputs; says what it did


@dataclass(frozen=True)
class Kind:
    """One kind of bad input: how it is made, and the commands that meet it."""

    name: str
    mutate: Mutation
    commands: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...] = ()  # files that after a success hold what they held before the altering


# -- bytes and files -------------------------------------------------------------------------------


def spoil_file(path: Path, rng: random.Random) -> str:
    """Any file: cut, flipped, emptied, replaced by what is no regular file."""
    content = path.read_bytes()
    way = rng.choice(
        [
            "cut",
            "flip",
            "flip",
            "empty",
            "noise",
            "zeros",
            "grown",
            "fifo",
            "folder",
            "zero",
            "loop",
            "sparse",
        ]
    )
    if way == "flip" and content:
        altered = bytearray(content)
        for _ in range(rng.choice([1, 1, 4, 64])):
            altered[rng.randrange(len(altered))] ^= 1 << rng.randrange(8)
        path.write_bytes(altered)
        return way
    path.unlink()
    if way == "cut":
        path.write_bytes(content[: rng.randrange(max(1, len(content)))])
    elif way == "noise":
        path.write_bytes(rng.randbytes(rng.choice([1, 100, 5000])))
    elif way == "zeros":
        path.write_bytes(bytes(len(content)))
    elif way == "grown":
        path.write_bytes(content + rng.randbytes(100))
    elif way == "fifo":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    elif way == "zero":
        path.symlink_to("/dev/zero")
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "sparse":
        path.write_bytes(content)
        os.truncate(path, 3 << 30)
    else:
        path.write_bytes(b"")
    return way


WEIRD: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "x" * 5000,
    "../up",
    "\x1b[31m",
    "<img src=x onerror=alert(1)>",
    "\ud83d",
    "ä\u0308",
    [],
    [[]],
    {},
    {"a": {"b": [1]}},
    [None],
    ["1", 2],
    "None",
]


def spoil_json(path: Path, rng: random.Random, lines: bool = False) -> str:
    """A JSON file, or an object a line: a value replaced, a name gone or new, the text broken."""
    if rng.random() < 0.3:
        return spoil_file(path, rng)
    rows = path.read_text().splitlines() if lines else [path.read_text()]
    if not rows:
        return "empty"
    number = rng.randrange(len(rows))
    value = json.loads(rows[number])
    way = rng.choice(["value", "value", "value", "gone", "new", "other", "deep", "encoding"])
    if way == "deep":
        rows[number] = "[" * 100_000
    elif way == "other" or not isinstance(value, dict) or not value:
        rows[number] = json.dumps(rng.choice(WEIRD))
    else:
        inside, name = value, rng.choice(list(value))
        while isinstance(inside[name], dict) and inside[name] and rng.random() < 0.7:
            inside = inside[name]
            name = rng.choice(list(inside))
        if way == "gone":
            del inside[name]
        elif way == "new":
            inside["surprise"] = rng.choice(WEIRD)
        else:
            inside[name] = rng.choice(WEIRD)
        rows[number] = json.dumps(value)
        way = f"{way} {name}"
    text = "\n".join(rows) + "\n" * lines
    path.write_bytes(text.encode("utf-16" if way == "encoding" else "utf-8", "surrogatepass"))
    return way


# -- kinds -----------------------------------------------------------------------------------------


def one_file(folder: str, *patterns: str) -> Mutation:
    """Spoil one of the files of a folder that match."""

    def mutate(place: Path, rng: random.Random) -> str:
        found = sorted(
            {p for pattern in patterns for p in (place / folder).rglob(pattern) if p.is_file()}
        )
        path = rng.choice(found)
        if path.suffix in (".json", ".jsonl"):
            how = spoil_json(path, rng, path.suffix == ".jsonl")
        else:
            how = spoil_file(path, rng)
        return f"{path.relative_to(place)}: {how}"

    return mutate


def checkpoint(folder: str) -> Mutation:
    """The last checkpoint, altered inside and written again with checksums that fit."""

    def mutate(place: Path, rng: random.Random) -> str:
        import torch

        from msinet_core.runs.checkpoints import Checkpoint
        from msinet_core.runs.folder import RunFolder

        run_folder = RunFolder(place / folder)
        kept = run_folder.checkpoint()
        weights, state = dict(kept.weights), dict(kept.state)
        way = rng.choice(
            ["shape", "gone", "new", "nan", "type", "state gone", "state value", "buffer", "buffer"]
        )
        name = rng.choice(list(weights))
        if way == "shape":
            weights[name] = torch.zeros(3, 5)
        elif way == "gone":
            del weights[name]
        elif way == "new":
            weights["surprise"] = torch.zeros(2)
        elif way == "nan":
            weights[name] = torch.full_like(weights[name].float(), float("nan"))
        elif way == "type":
            weights[name] = weights[name].to(torch.int64)
        elif way == "state gone":
            name = rng.choice(list(state))
            del state[name]
        elif way == "state value":
            name = rng.choice(list(state))
            state[name] = rng.choice([w for w in WEIRD if not isinstance(w, str)])
        else:
            name = _spoil_tensor(state, rng)
        _write_checkpoint(place / folder, Checkpoint(weights, state))
        return f"{way} {name}"

    return mutate


def _spoil_tensor(value: Any, rng: random.Random) -> str:
    """Some tensor of an optimiser or memory, at any depth, in another shape or type."""
    import torch

    found: list[tuple[Any, Any]] = []

    def walk(inside: Any) -> None:
        items = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for key, item in items:
            if isinstance(item, torch.Tensor):
                found.append((inside, key))
            elif isinstance(item, dict | list):
                walk(item)

    walk(value)
    inside, key = rng.choice(found)
    old = inside[key]
    inside[key] = rng.choice(
        [
            torch.zeros(3),
            torch.zeros(1, 2, 3),
            torch.zeros(0),
            old.double(),
            old.to(torch.int64),
            "x",
            None,
            torch.zeros(10_000),
        ]
    )
    return str(key)


def _write_checkpoint(folder: Path, altered: Any) -> None:
    import hashlib

    for about in (folder / "checkpoints").rglob("checkpoint.json"):
        values = json.loads(about.read_text())
        for name, content in altered.files().items():
            (about.parent / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            values = json.loads(_with_digest(values, name, digest))
        about.write_text(json.dumps(values))


def _with_digest(values: Any, name: str, digest: str) -> str:
    for key in ("sha256", "hashes", "files"):
        if isinstance(values.get(key), dict) and name in values[key]:
            values[key][name] = digest
    return json.dumps(values)


def weights(place: Path, rng: random.Random) -> str:
    """Weights that are another network's, a pickle that asks for code, or a broken file."""
    import torch

    path = place / "weights.pth"
    shutil.copyfile(place / "export.pth", path)
    state = torch.load(path, weights_only=True)["state_dict"]
    way = rng.choice(
        [
            "spoil",
            "spoil",
            "code",
            "shape",
            "prefix",
            "gone",
            "nested",
            "list",
            "nan",
            "other",
            "types",
        ]
    )
    if way == "spoil":
        return spoil_file(path, rng)
    if way == "code":
        path.write_bytes(pickle.dumps(_Code(str(place / CANARY))))
        return way
    name = rng.choice(list(state))
    if way == "shape":
        state[name] = torch.zeros(2, 3)
    elif way == "prefix":
        prefix = rng.choice(["module.", "_orig_mod.", "backbone.", "model.module."])
        state = {prefix + n: v for n, v in state.items()}
    elif way == "gone":
        del state[name]
    elif way == "nested":
        state = {"model": {"state_dict": state}}
    elif way == "list":
        state = list(state.values())
    elif way == "nan":
        state[name] = state[name] * float("nan")
    elif way == "other":
        state = torch.nn.Linear(3, 4).state_dict()
    else:
        state[name] = rng.choice(["x", 3, None, [state[name]]])
    torch.save({"state_dict": state} if rng.random() < 0.5 else state, path)
    return f"{way} {name}"


class _Code:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.path,))


HEADS = [
    "path,identity,camera,split",
    "path;identity;camera;split",
    "path\tidentity\tcamera\tsplit",
    "Path,ID,cam,set",
    "path,identity,split",
    "path,identity,camera,split,path",
    "path,identity,camera,split,",
    "\ufeffpath,identity,camera,split",
]
CELLS = [
    "",
    " ",
    "nan",
    "NaN",
    "-1",
    "0",
    "1e5",
    "../x.png",
    "/etc/passwd",
    "C:\\x\\0_0.png",
    "0_0.png ",
    "train ",
    "TRAIN",
    "valid",
    "\x1b[2J",
    "<b>x</b>",
    "a,b",
    '"',
    "'",
    "x" * 10_000,
    "\x00",
    "ä",
    "=1+1",
    "0_0.png",
    "2024-01-01",
]


def manifest(place: Path, rng: random.Random) -> str:
    """A table as spreadsheets, scripts and people write it."""
    path = place / "photos" / "manifest.csv"
    if rng.random() < 0.2:
        return spoil_file(path, rng)
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    head, done = "path,identity,camera,split", []
    for _ in range(rng.choice([1, 1, 2, 3])):
        way = rng.choice(
            ["head", "cell", "cell", "row", "copy", "comma", "blank", "order", "column"]
        )
        at = rng.randrange(len(rows))
        if way == "head":
            head = rng.choice(HEADS)
        elif way == "cell":
            rows[at][rng.randrange(len(rows[at]))] = rng.choice(CELLS)
        elif way == "row":
            del rows[at]
        elif way == "copy":
            rows.append(list(rows[at]))
        elif way == "comma":
            rows = [[*row, ""] for row in rows]
        elif way == "blank":
            rows.insert(at, [""])
        elif way == "order":
            rng.shuffle(rows)
        else:
            column, value = rng.randrange(min(map(len, rows))), rng.choice(CELLS)
            for row in rows:
                row[column] = value
        done.append(way)
    text = head + "\n" + "\n".join(",".join(row) for row in rows) + "\n"
    ending = rng.choice(["\n", "\n", "\r\n", "\r"])
    coding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"])
    path.write_bytes(text.replace("\n", ending).encode(coding, "replace"))
    return f"{done} {coding} {ending!r}"


def image(place: Path, rng: random.Random) -> str:
    """A photograph that is broken, of an unusual kind, or none at all."""
    import numpy as np
    from PIL import Image

    path = rng.choice(sorted((place / "photos").glob("*.png")))
    way = rng.choice(
        [
            "spoil",
            "spoil",
            "spoil",
            "postscript",
            "mode",
            "size",
            "huge",
            "float",
            "sixteen",
            "animated",
        ]
    )
    if way == "spoil":
        return f"{path.name} {spoil_file(path, rng)}"
    path.unlink()
    if way == "postscript":
        path.write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n"
            "(%pipe%touch executed) (w) file\nshowpage\n"
        )
    elif way == "mode":
        mode = rng.choice(["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
        kind = "TIFF" if mode == "CMYK" else "PNG"
        Image.new(mode, (32, 32), 1 if mode in ("1", "P") else 0).save(path, kind)
    elif way == "size":
        Image.new("RGB", rng.choice([(1, 1), (1, 3000), (3000, 1), (2, 2)])).save(path)
    elif way == "huge":
        Image.new("1", (30_000, 30_000)).save(path, "PNG")
    elif way == "float":
        Image.fromarray(np.full((32, 32), rng.choice([0.5, 1e30, np.nan]), np.float32)).save(
            path, "TIFF"
        )
    elif way == "sixteen":
        Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(path, "PNG")
    else:
        frames = [Image.new("RGB", (32, 32), (k, 0, 0)) for k in range(3)]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    return f"{path.name} {way}"


VALUES = [
    "",
    "x",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "3.5",
    "None",
    "true",
    "../..",
    "\x1b[31m",
    "1" * 400,
    "--run",
    "=",
    "a=b",
    "/dev/null",
]


def flag(place: Path, rng: random.Random) -> str:
    """One flag of a command with a value that makes no sense; the words go into a file."""
    from dataclasses import fields

    from msinet_core.config import SearchConfig, TrainConfig

    command, config = rng.choice([("train", TrainConfig), ("search", SearchConfig)])
    long = {"epochs", "height", "width", "channels", "identities_per_batch", "images_per_identity"}
    names = [f.name for f in fields(config) if f.name not in long]
    name = rng.choice(names)
    words = [
        command,
        *DATA,
        *SMALL,
        "--epochs",
        "1",
        "--run",
        "out",
        f"--{name.replace('_', '-')}",
        rng.choice(VALUES),
    ]
    if rng.random() < 0.2:
        words[-1:] = []
    (place / "words.json").write_text(json.dumps(words))
    return " ".join(words[-2:])


def genotype(place: Path, rng: random.Random) -> str:
    """A genotype that is none."""
    text = "channel_gate-none|exchange-none||none-none|none-none||none-none|cross_attention-none"
    way = rng.choice(["name", "cut", "separator", "file", "long"])
    if way == "name":
        text = text.replace("none", rng.choice(["zero", "", "NONE", "../none", "\x1b[1m"]), 1)
    elif way == "cut":
        text = text[: rng.randrange(len(text))]
    elif way == "separator":
        text = text.replace("|", rng.choice([",", "||", " ", "/"]), rng.choice([1, 2]))
    elif way == "long":
        text = "||".join([text] * 3)
    else:
        (place / "genotype.json").write_text(
            json.dumps(rng.choice([*WEIRD, {"slots": ["none"] * 11}, {"slots": [1] * 12}]))
        )
        text = str(place / "genotype.json")
    words = ["train", *DATA, *SMALL, "--epochs", "1", "--run", "out", "--genotype", text]
    (place / "words.json").write_text(json.dumps(words))
    return f"{way} {text[:60]!r}"


def onnx(place: Path, rng: random.Random) -> str:
    """An exported file that was altered; what it says of itself most of all."""
    import onnx as library

    path = place / "network.onnx"
    if rng.random() < 0.5:
        return spoil_file(path, rng)
    model = library.load(str(path))
    if not model.metadata_props:
        return "as it was"
    entry = rng.choice(list(model.metadata_props))
    values = json.loads(entry.value) if entry.value.startswith("{") else {}
    name = rng.choice(list(values)) if values else "?"
    if values:
        values[name] = rng.choice([v for v in WEIRD if not isinstance(v, str) or "\ud83d" not in v])
    entry.value = json.dumps(values)
    path.write_bytes(model.SerializeToString())
    return name


EVALUATE = ("evaluate", "--run", "run", "--device", "cpu")
RESUME = ("train", "--run", "half", "--resume", "--quiet")
RESUME_SEARCH = ("search", "--run", "half_search", "--resume", "--quiet")
TRAIN = ("train", *DATA, *SMALL, "--epochs", "1", "--run", "out")
CHECK = ("data", "check", *DATA)
EMBED = ("embed", "--model", "run", *DATA, "--to", "store", "--device", "cpu")
KINDS = [
    Kind("run folder", one_file("run", "*.json", "*.jsonl"), (EVALUATE,)),
    Kind(
        "checkpoint file",
        one_file("half", "checkpoints/*/*"),
        (RESUME, ("evaluate", "--run", "half", "--device", "cpu")),
    ),
    Kind("state of a stopped run", one_file("half_search", "*.json", "*.jsonl"), (RESUME_SEARCH,)),
    Kind(
        "checkpoint of a training",
        checkpoint("half"),
        (RESUME, ("evaluate", "--run", "half", "--device", "cpu")),
    ),
    Kind("checkpoint of a search", checkpoint("half_search"), (RESUME_SEARCH,)),
    Kind("weights", weights, ((*TRAIN, "--genotype", "paper", "--weights", "weights.pth"),)),
    Kind("manifest", manifest, (CHECK, TRAIN)),
    Kind("image", image, (CHECK, TRAIN, EVALUATE)),
    Kind("flag", flag, ((),)),
    Kind("genotype", genotype, ((),)),
    Kind("store", one_file("store", "*"), (EMBED, ("check", "store")), ("store/*.npy",)),
    Kind(
        "result",
        one_file("result", "*"),
        ((*EVALUATE, "--save", "result"), ("check", "result/manifest photos")),
        ("result/*/*.safetensors",),
    ),
    Kind(
        "checkpoint that is checked",
        one_file("half", "checkpoints/*/*"),
        (("check", "half"),),
        ("half/checkpoints/*/weights.safetensors", "half/checkpoints/*/state.pt"),
    ),
    Kind("onnx", onnx, (("embed", "--model", "network.onnx", *DATA, "--to", "out"),)),
]


def prepare(workshop: Path) -> None:
    """The inputs, made once by undisturbed commands."""
    inputs = workshop / "inputs"
    inputs.mkdir(parents=True)
    photographs(inputs / "photos")
    for words in ((*DATA, *SMALL, "--epochs", "1", "--genotype", "paper", "--run", "run"),):
        _do(("train", *words), inputs)
    _do(("evaluate", "--run", "run", "--device", "cpu", "--save", "result"), inputs)
    _do(EMBED, inputs)
    _do(("export", "--run", "run", "--to", "export.pth"), inputs)
    _do(("export", "--run", "run", "--to", "network.onnx"), inputs)
    _half(inputs)


def _do(words: Sequence[str], place: Path) -> None:
    status, said = run(words, place)
    if status:
        raise SystemExit(f"the inputs cannot be made: {' '.join(words)}: {said[-2000:]}")


def _half(inputs: Path) -> None:
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


def attempt(kind: Kind, seed: int, workshop: Path) -> list[str]:
    """Violations of one bad input."""
    rng = random.Random(f"{kind.name} {seed}")
    place = workshop / f"{kind.name.replace(' ', '_')}_{seed}"
    shutil.copytree(workshop / "inputs", place, symlinks=True)
    (place.parent / "neighbour.txt").write_text("years of work\n")
    how = _mutate(kind, place, rng)
    words = rng.choice(kind.commands) or tuple(json.loads((place / "words.json").read_text()))
    before = _readable(place)
    started, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    status, said = run(words, place)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    problems = []
    if status == -99 or seconds > SECONDS:
        problems.append(f"{seconds:.0f} s of processor time, {time.monotonic() - started:.0f} s")
    if "Traceback" in said or status not in (0, 2):
        problems.append(
            f"status {status}: {said.strip().splitlines()[-1][:200] if said.strip() else ''!r}"
        )
    if (
        status == 2
        and "error:" not in said
        and "Parsing error" not in said
        and "Unrecognized" not in said
    ):
        problems.append(f"refused without a sentence: {said.strip()[-200:]!r}")
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
    targets = {words[k + 1] for k, word in enumerate(words[:-1]) if word in ("--to", "--save")}
    if words and words[0] in ("train", "search"):
        targets |= {words[k + 1] for k, word in enumerate(words[:-1]) if word == "--run"}
    return top in targets or name.endswith((".lock", "log.txt"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each kind")
    parser.add_argument("--only", nargs="*", default=[], help="names of kinds")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args(argv)
    import torch

    import msinet_core.cli
    import msinet_core.retrieval
    import msinet_core.search
    import msinet_core.training  # noqa: F401  loaded before the forks

    torch.set_num_threads(1)
    chosen = [kind for kind in KINDS if not options.only or kind.name in options.only]
    workshop = Path(tempfile.mkdtemp(prefix="fuzz-", dir=options.folder))
    prepare(workshop)
    found, each = Counter[str](), max(1, options.inputs // len(chosen))
    for kind in chosen:
        started = time.monotonic()
        for seed in range(options.seed, options.seed + each):
            for problem in attempt(kind, seed, workshop):
                found[kind.name] += 1
                print(f"  {problem}", flush=True)
        print(
            f"{kind.name}: {each} inputs, {found[kind.name]} violations, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if peak > MEMORY:
        print(f"  memory: a child took {peak / 1e6:.1f} GB")
    total = sum(found.values()) + (peak > MEMORY)
    print(f"{each * len(chosen)} inputs, {total} violations, at most {peak / 1e6:.2f} GB")
    return int(total > 0)


if __name__ == "__main__":
    raise SystemExit(main())
