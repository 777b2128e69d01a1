"""A run given away and taken in: a folder of plain files with a model card, on a disk or a hub.

What is given away is enough to score, embed and export the network, and to read how it came about:
configuration without the place of the data, history, genotype, scores, weights. The optimiser's
state stays at home unless it is asked for; logs, and whatever else lies in the folder, always do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from msinet_core.cli.check import checked
from msinet_core.errors import ReidError
from msinet_core.files import read_bytes, read_json, replacing_folder
from msinet_core.runs.checkpoints import LAST, Checkpoint, replace_checkpoint
from msinet_core.runs.folder import RunFolder
from msinet_lab.model_card import model_card

HUB, KIND = "hf:", "shared run"
PLAIN = ("config.json", "history.jsonl", "genotype.json", "metrics.json", "README.md")
INSIDE = tuple(
    f"checkpoints/{LAST}/{name}" for name in ("checkpoint.json", "state.pt", "weights.safetensors")
)
FILES = (*PLAIN, *INSIDE)  # all that is ever given away or taken in
LARGEST = 1 << 36  # bytes of a file


def push(run: str | Path, to: str, *, optimizer: bool = False, public: bool = False) -> str:
    """Give a run away, to a folder or as `hf:owner/name`; gives the place.

    optimizer: with what a training needs to go on. public: of a hub, for everyone to see; else the
    repository is private. `ReidError` for what is no whole run, and for a folder that holds
    anything but such a run.
    """
    folder = RunFolder(run)
    checked(folder.path)
    if to.startswith(HUB):
        with TemporaryDirectory() as place:
            _write(folder, Path(place), optimizer)
            return _upload(Path(place), to.removeprefix(HUB), public)
    with replacing_folder(Path(to), KIND) as place:
        _write(folder, place, optimizer)
    return str(to)


def pull(source: str, to: str | Path) -> str:
    """Take a run in, from a folder or from `hf:owner/name` (`@revision`): only the files of a run,
    and only if `msinet check` finds them whole; nothing in them is executed. Says what it is.
    """
    with _at_hand(source) as place, replacing_folder(Path(to), KIND) as fresh:
        for name in FILES:
            content = read_bytes(place / name, LARGEST)
            if content is not None:
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
        if not (fresh / "config.json").is_file():
            raise ReidError(f"there is no run at {source!r}: it has no config.json")
        said = checked(fresh).partition(" is whole: ")[2]
    return f"{str(to)!r} is whole: {said}"


def _write(run: RunFolder, place: Path, optimizer: bool) -> None:
    """The files of a run that are given away."""
    for name in PLAIN[1:-1]:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, place / name)
    config = _without_places(run)
    (place / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (place / "README.md").write_text(model_card(run), encoding="utf-8")
    if not run.has_checkpoint():
        raise ReidError(f"run folder {str(run.path)!r} has no checkpoint yet: nothing to give away")
    checkpoint = run.checkpoint()
    if not optimizer:
        plain = {n: v for n, v in checkpoint.state.items() if isinstance(v, int | float | str)}
        checkpoint = Checkpoint(checkpoint.weights, {**plain, "given_away": True})
    replace_checkpoint(place / "checkpoints", checkpoint, run.finished)


def _without_places(run: RunFolder) -> dict[str, Any]:
    """What config.json says, without paths of the giver's machine."""
    values, genotype = dict(read_json(run.path / "config.json")), run.genotype()
    defaults = {one.name: one.default for one in fields(run.config())}
    for name, value in values.items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and os.path.isabs(text) for text in texts):
            values[name] = None if defaults[name] is MISSING else defaults[name]
    if genotype is not None and "genotype" in values:
        values["genotype"] = str(genotype)  # instead of the folder that it came from
    return values


def _upload(place: Path, name: str, public: bool) -> str:
    hub = _hub()
    try:
        hub.HfApi().create_repo(name, private=not public, exist_ok=True)
        hub.HfApi().upload_folder(repo_id=name, folder_path=str(place), commit_message="A run")
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        raise _refused(name, error) from error
    return f"{HUB}{name}"


@contextmanager
def _at_hand(source: str) -> Iterator[Path]:
    """The folder that a source names; of a hub, the files of a run fetched for the moment."""
    if not source.startswith(HUB):
        yield Path(source).expanduser()
        return
    name, _, revision = source.removeprefix(HUB).partition("@")
    hub = _hub()
    with TemporaryDirectory() as place:
        options: dict[str, Any] = {"allow_patterns": list(FILES), "local_dir": place}
        try:
            hub.snapshot_download(name, revision=revision or None, **options)
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise _refused(name, error) from error
        yield Path(place)


def _hub() -> Any:
    import huggingface_hub  # an extra

    return huggingface_hub


def _refused(name: str, error: Exception) -> ReidError:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return ReidError(f"the hub did not take or give {PurePosixPath(name)}: {said}")
