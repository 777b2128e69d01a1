"""Checkpoints: two files and their hashes in a folder that is replaced as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor
from torch.optim import Optimizer

from msinet_core.errors import ReidError
from msinet_core.files import (
    flush_folder,
    read_bytes,
    read_json,
    replacing_folder,
    require_regular,
    write_file,
)
from msinet_core.tensors import UNREADABLE, load_pickle, load_safetensors

WEIGHTS, STATE, ABOUT = "weights.safetensors", "state.pt", "checkpoint.json"
LAST, PREVIOUS, FRESH, LEAVING = "last", "previous", "writing", "leaving"
LARGEST = 1 << 33  # bytes of a file
# An optimiser's settings that say how it computes, not what.
CARRIED_OUT = {"fused", "foreach", "capturable", "differentiable"}


class Damaged(ReidError):
    """A file of a checkpoint is not what was saved."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name, and whatever else the next step depends on."""

    weights: dict[str, Tensor]
    state: dict[str, Any]

    def files(self) -> dict[str, bytes]:
        """As the two files of a checkpoint folder, by name."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.weights.items()}
        state = io.BytesIO()
        torch.save(self.state, state)
        return {WEIGHTS: safetensors.save(weights), STATE: state.getvalue()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], source: str) -> Checkpoint:
        """The inverse; `ReidError` naming `source` for a file that holds more than tensors and
        plain values.
        """
        try:
            return cls(load_safetensors(files[WEIGHTS]), dict(load_pickle(files[STATE])))
        except UNREADABLE as error:
            raise ReidError(
                f"the checkpoint in {source!r} holds more than tensors and plain values, or is no "
                "checkpoint; it was not opened, because that could run foreign code. Start the "
                "run anew"
            ) from error


def checkpoints_in(folder: Path) -> list[Path]:
    """The last checkpoint in `folder` and the one before it, as far as there are such."""
    # A kill between the two renames of `replace_checkpoint` leaves only the one before.
    return [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_dir()]


def read_checkpoint(place: Path) -> Checkpoint:
    """The checkpoint at `place`; `Damaged` if a file of it was altered."""
    try:
        about = read_json(place / ABOUT)
    except ReidError as error:
        raise Damaged(str(error)) from error
    sums = about.get("sha256") if isinstance(about, dict) else None
    if not isinstance(sums, dict) or sums.keys() != {WEIGHTS, STATE}:
        raise _damaged(place / ABOUT)
    files = {}
    for name, expected in sums.items():
        if _sha256(place / name) != expected:  # piece by piece: one that was blown up is not read
            raise _damaged(place / name)
        files[name] = read_bytes(place / name, LARGEST) or b""
    return Checkpoint.from_files(files, str(place))


def replace_checkpoint(folder: Path, checkpoint: Checkpoint, finished: bool) -> None:
    """Make `checkpoint` the last one in `folder`, whole or not at all; the one before is kept."""
    fresh, last, previous, leaving = (folder / name for name in (FRESH, LAST, PREVIOUS, LEAVING))
    files = _with_sums(checkpoint, finished)
    folder.mkdir(exist_ok=True)
    clear_unfinished(folder)
    fresh.mkdir()
    try:
        for name, content in files.items():
            write_file(fresh / name, content)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk gets its room back
        raise
    if last.is_dir():
        if previous.is_dir():  # under another name at once: half of it would look damaged
            previous.rename(leaving)
        last.rename(previous)
    fresh.rename(last)
    flush_folder(folder)
    shutil.rmtree(leaving, ignore_errors=True)


def clear_unfinished(folder: Path) -> None:
    """Take away what a save left that was killed, or could not delete; its caller alone writes."""
    for leftover in (folder / FRESH, folder / LEAVING):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def fitting(run: Any) -> Iterator[None]:
    """Turn what does not fit in the checkpoint of a run folder into a `ReidError` that names it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, ReidError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ReidError(
            f"the checkpoint in {str(run.path)!r} was written by another version of msinet-core, "
            f"or altered ({reason}); take it up with that version, or start a new run"
        ) from error


def keep_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Put `checkpoint` into `folder` under a name of its own, in place of one that had it."""
    with replacing_folder(folder / name, "network") as place:
        for file, content in _with_sums(checkpoint, True).items():
            write_file(place / file, content)


def kept_in(folder: Path) -> list[str]:
    """Names of the checkpoints in `folder` that were kept, `last` among them."""
    names = (path.name for path in folder.glob("*") if (path / ABOUT).is_file())
    return sorted(
        name for name in names if name not in (PREVIOUS, FRESH, LEAVING) and name[0] != "."
    )


def _with_sums(checkpoint: Checkpoint, finished: bool) -> dict[str, bytes]:
    """The files of a checkpoint folder, with that of their hashes."""
    files = checkpoint.files()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[ABOUT] = json.dumps({"sha256": sums, "finished": finished}).encode()
    return files


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Take up what `optimizer.state_dict()` gave; `ReidError` where it is not of these parameters.

    torch's fused optimisers read and write a state of another shape past its end.
    """
    mine, saved = optimizer.state_dict()["param_groups"], state["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    fits = (
        len(mine) == len(saved)
        and all(map(_same_settings, mine, saved))
        and all(
            number in range(len(parameters)) and _fits(name, value, parameters[number])
            for number, values in state["state"].items()
            for name, value in values.items()
        )
        and _all_or_none(state["state"].values())
    )
    if not fits:
        raise ReidError(
            "the optimiser's state in the checkpoint is of other weights than the network's; "
            "restore the folder from a copy, or start the run anew"
        )
    # Settings that a newer torch has and the one that saved had not stay as they are, and so does
    # how this device carries them out.
    groups = [
        {**own, **group, **{name: own[name] for name in CARRIED_OUT & own.keys()}}
        for own, group in zip(mine, saved, strict=True)
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _all_or_none(states: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a value is there for every parameter or, before the first step, for none."""
    absent: dict[str, set[bool]] = {}
    for values in states:
        for name, value in values.items():
            absent.setdefault(name, set()).add(value is None)
    return all(len(kinds) == 1 for kinds in absent.values())


def _same_settings(mine: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    def sort(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(sort, value))
        return "number" if isinstance(value, int | float) else type(value)

    return mine["params"] == saved["params"] and all(
        sort(saved.get(name, value)) == sort(value)
        for name, value in mine.items()
        if isinstance(value, int | float | tuple) and name not in CARRIED_OUT
    )


def _fits(name: str, value: object, parameter: Tensor) -> bool:
    if not isinstance(value, Tensor):
        return value is None or isinstance(value, int | float)
    shape = torch.Size() if name == "step" else parameter.shape
    plain = value.layout == torch.strided and value.is_floating_point()
    return plain and value.shape == shape


def _sha256(path: Path) -> str:
    try:
        require_regular(path, LARGEST)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ReidError, OSError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> Damaged:
    return Damaged(
        f"{str(path)!r} is truncated or was altered since it was saved; "
        "restore the folder from a copy, or start the run anew"
    )
