"""Checkpoints: two files and their hashes in a folder that is replaced as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from msinet_core.errors import ReidError
from msinet_core.files import flush_folder, read_json, write_file

WEIGHTS, STATE, ABOUT = "weights.safetensors", "state.pt", "checkpoint.json"


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
            state = torch.load(io.BytesIO(files[STATE]), map_location="cpu", weights_only=True)
            return cls(safetensors.load(files[WEIGHTS]), state)
        except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
            raise ReidError(
                f"the checkpoint in {source!r} holds more than tensors and plain values, or is no checkpoint; it "
                "was not opened, because that could run foreign code. Start the run anew"
            ) from error


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint among those in `folder`, if there is one."""
    # A kill between the two renames of `replace_checkpoint` leaves only `previous`.
    for name in ("last", "previous"):
        if (folder / name / ABOUT).is_file():
            return folder / name
    return None


def read_checkpoint(place: Path) -> Checkpoint:
    """The checkpoint at `place`; `ReidError` if a file of it was altered."""
    about = read_json(place / ABOUT)
    sums = about.get("sha256") if isinstance(about, dict) else None
    if not isinstance(sums, dict) or sums.keys() != {WEIGHTS, STATE}:
        raise ReidError(_altered(place / ABOUT))
    files = {}
    for name, expected in sums.items():
        try:
            files[name] = (place / name).read_bytes()
        except FileNotFoundError as error:
            raise ReidError(_altered(place / name)) from error
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise ReidError(_altered(place / name))
    return Checkpoint.from_files(files, str(place))


def replace_checkpoint(folder: Path, checkpoint: Checkpoint, finished: bool) -> None:
    """Make `checkpoint` the last one in `folder`, whole or not at all."""
    fresh, last, previous = (folder / name for name in ("writing", "last", "previous"))
    files = checkpoint.files()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[ABOUT] = json.dumps({"sha256": sums, "finished": finished}).encode()
    folder.mkdir(exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        for name, content in files.items():
            write_file(fresh / name, content)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk gets its room back
        raise
    if last.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    fresh.rename(last)
    flush_folder(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _altered(path: Path) -> str:
    return (
        f"{str(path)!r} is truncated or was altered since it was saved; "
        "restore the folder from a copy, or start the run anew"
    )
