"""Bad inputs of every kind, made at random from good ones (for `benchmarks/fuzz.py` and tests).

A mutation alters the folder of inputs and says what it did; where that begins with `bad`, a command
that takes it must refuse it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults import DATA, SMALL, STUDIED

CANARY = "executed"
Mutation = Callable[[Path, random.Random], str]


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
    long |= {"compile"}  # which rightly works for a minute of one core
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


OPERATIONS = {  # bodies of a registered operation, and whether it is one
    "return (a + b) / 2, (a - b) / 2": True,
    "return [a * 0.5, b]": True,
    "return a": False,
    "return a, b, a": False,
    "return a[:1], b[:1]": False,
    "return a[..., :1], b": False,
    "return a.mean(dim=(2, 3), keepdim=True), b": False,
    "return a.double(), b.double()": False,
    "return a.half(), b": False,
    "return a > 0, b > 0": False,
    "return None": False,
    "return (a, None)": False,
    "return 1.0, 2.0": False,
    "return {'a': a, 'b': b}": False,
    "return a.mul_(2), b": False,
    "b.zero_(); return a, b": False,
    "return a.to('meta'), b": False,
    "return a.numpy(), b": False,
    "return torch.stack([a, b])": False,
    "return a.flatten(2), b.flatten(2)": False,
    "return a.transpose(2, 3)[..., :3], b": False,
    "return a * float('nan'), b": False,
    "raise ValueError('mine')": False,
    "return a.sparse_mask, b": False,
}


def operation(place: Path, rng: random.Random) -> str:
    """A module of the user's that registers an operation, which may give anything."""
    body, good = rng.choice(list(OPERATIONS.items()))
    text = (
        "import torch\nfrom msinet_core.models.interactions import register_operation\n"
        f"@register_operation('mine')\ndef mine(a, b):\n    {body}\n"
    )
    (place / "own_operation.py").write_text(text)
    genotype = "mine-none|none-none||none-none|none-none||none-none|none-mine"
    how = rng.choice(["train", "search"])
    words = [how, *DATA, *SMALL, "--epochs", "1", "--run", "out", "--import", "own_operation"]
    words += ["--genotype", genotype] if how == "train" else ["--overlap", "1"]
    (place / "words.json").write_text(json.dumps(words))
    return f"{'fine' if good else 'bad'} {how}: {body}"


def table(place: Path, rng: random.Random) -> str:
    """A table without splits, as wildlife data has them."""
    path = place / "photos" / "manifest.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    lines = [f"{row[0]},{row[1]},2024-01-0{1 + int(row[2])}" for row in rows]
    head = rng.choice(["path,identity,date", "PATH,Identity,date", "path,date", "path,identity"])
    for _ in range(rng.choice([1, 2, 5])):
        at = rng.randrange(len(lines))
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(CELLS)
        lines[at] = ",".join(cells)
    text = "\n".join([head, *lines]) + "\n"
    coding = rng.choice(["utf-8", "utf-8-sig", "latin-1", "utf-16", "cp1252"])
    (place / "photos" / "metadata.csv").write_bytes(text.encode(coding, "replace"))
    if rng.random() < 0.2:
        spoil_file(place / "photos" / "metadata.csv", rng)
    options = rng.choice(
        [
            ["test_share=0.5"],
            ["test_share=0.5", "camera=date"],
            ["test_share=2"],
            ["test_share=x"],
            ["split=date"],
            ["camera=nothing", "test_share=0.5"],
            ["file=../metadata.csv"],
            [],
        ]
    )
    words = ["data", "check", "--data", "table", "--root", "photos"]
    words += ["--options", *options] if options else []
    (place / "words.json").write_text(json.dumps(words))
    return f"{head} {coding} {options}"


def listing(place: Path, rng: random.Random) -> str:
    """Image folders and list files of published data sets, in part wrong."""
    root, kind = place / "set", rng.choice(["market1501", "veri776", "msmt17", "vehicleid"])
    images = sorted((place / "photos").glob("*.png"))

    def put(name: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(rng.choice(images), root / name)

    if kind in ("market1501", "veri776"):
        parts = ("bounding_box_train", "query", "bounding_box_test")
        if kind == "veri776":
            parts = ("image_train", "image_query", "image_test")
        for part in parts:
            for number in range(4):
                stem = f"{number + 4 * (part != parts[0]):04d}_c{number % 2 + 1:03d}"
                put(f"{part}/{stem}{'s1' if kind == 'market1501' else ''}_{number}.png")
        odd = rng.choice(
            ["x.png", "0001_c1s1_.png", "-1_c1s1_5.png", "0001_c9999999999999999999s1_1.png", "a/b"]
        )
        put(f"{rng.choice(parts)}/{odd}")
        if rng.random() < 0.3:
            shutil.rmtree(root / rng.choice(parts))
    else:
        lists = {
            "msmt17": [f"MSMT17_V1/list_{p}.txt" for p in ("train", "val", "query", "gallery")],
            "vehicleid": [f"train_test_split/{n}.txt" for n in ("train_list", "test_list_800")],
        }[kind]
        for name in lists:
            lines = [f"{n:04d}/{n:04d}_000_0{n % 2 + 1}_x_0.png {n}" for n in range(4)]
            if kind == "vehicleid":
                lines = [f"{n:07d} {n // 2}" for n in range(8)]
            lines[rng.randrange(len(lines))] = rng.choice(
                ["", "x", "../../etc/passwd 1", "a.png 99999999999999999999", "\x1b[2J 1", "x y z"]
            )
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("\n".join(lines))
        for folder in ("MSMT17_V1/train", "MSMT17_V1/test", "image"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.3:
            spoil_file(root / rng.choice(lists), rng)
    words = ["data", "check", "--data", kind, "--root", "set"]
    (place / "words.json").write_text(json.dumps(words))
    return kind


def bomb(place: Path, rng: random.Random) -> str:
    """A few kilobytes that would fill gigabytes of memory."""
    import io
    import zipfile

    import torch

    way, buffer = rng.choice(["deflated", "spread", "strided"]), io.BytesIO()
    tensor = torch.zeros(1)
    if way != "deflated":
        shape = (1 << 20, 1 << 16)
        tensor = tensor.expand(shape) if way == "spread" else tensor.as_strided(shape, (0, 0))
    torch.save({"state_dict": {"conv1.conv.weight": tensor}}, buffer)
    content = buffer.getvalue()
    if way == "deflated":
        packed = io.BytesIO()
        old = zipfile.ZipFile(io.BytesIO(content))
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.infolist():
                swollen = entry.filename.endswith("data/0")
                new.writestr(entry.filename, bytes(1 << 28) if swollen else old.read(entry))
        content = packed.getvalue()
    (place / "weights.pth").write_bytes(content)
    for about in (place / "half" / "checkpoints").rglob("checkpoint.json"):
        values = json.loads(about.read_text())
        (about.parent / "state.pt").write_bytes(content)
        values = json.loads(_with_digest(values, "state.pt", hashlib.sha256(content).hexdigest()))
        about.write_text(json.dumps(values))
    return f"bad {way}"


def ways(place: Path, rng: random.Random) -> str:
    """Places to write to that are other people's, links, pipes, devices, or cannot be."""
    mine = place / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear all\n")
    (place / "file").write_text("mine\n")
    (place / "link").symlink_to("mine")
    (place / "file_link").symlink_to("file")
    (place / "dangling").symlink_to("nowhere/at/all")
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    target = rng.choice(
        [
            *("mine", "file", "link", "file_link", "loop", "pipe", "/dev/null", "/dev/full"),
            *("photos", "run", "store", "result", ".", "mine/letter.txt", "dangling"),
            *("file/below", "pipe/below", "x" * 300, "a\x00b", "", "\udce9", "/proc/x"),
        ]
    )
    ending = rng.choice(["", "", ".pth", ".onnx", ".safetensors"])
    commands = [
        ["evaluate", "--run", "run", "--device", "cpu", "--save", target],
        ["embed", "--model", "run", *DATA, "--to", target, "--device", "cpu"],
        ["export", "--run", "run", "--to", target + ending],
        ["train", *DATA, *SMALL, "--epochs", "1", "--run", target],
        ["search", *DATA, *SMALL, "--epochs", "1", "--overlap", "1", "--run", target],
        ["data", "generate", "people", "--root", target, "--train-identities", "2"],
        ["notebooks", "--to", target],
        ["study", "--to", target + rng.choice(["", ".csv"]), "--folder", target, *STUDIED[3:]],
        ["demo", "--run", target],
        ["diagnose", "--run", "search", "--to", target, "--random", "1", "--max-identities", "4"],
    ]
    (place / "words.json").write_text(json.dumps(rng.choice(commands)))
    return repr(target)[:40]
