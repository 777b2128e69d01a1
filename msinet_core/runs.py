"""`RunFolder`: the one thing on disk that a run writes and everything else reads.

    config.json      what was asked for
    history.jsonl    one JSON object a line: steps, epochs, evaluations; appended and flushed
    genotype.json    the architecture found or trained
    metrics.json     the last evaluation
    checkpoints/     `last`: weights.safetensors, state.pt, and checkpoint.json with their hashes
    log.txt          what the terminal said
    failure.json     what a run that broke down was doing: step, rates, batch, norms
    pid              the process that writes; locked while it does

Everything is written beside its place and renamed, so that a kill leaves what was there before.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pickle
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from msinet_core.config import RunConfig, config_from_dict
from msinet_core.errors import ReidError
from msinet_core.files import flush_folder, mount_point, write_all, write_file
from msinet_core.space import Genotype

FORMAT = 1  # of the folder; raised when an older one can no longer be read
WEIGHTS, STATE = "weights.safetensors", "state.pt"
PATIENCE = 0.2  # seconds; a reader that asks who writes holds the lock for less


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
        """The inverse; `ReidError` naming `source` for a file that holds more than tensors and plain values."""
        try:
            state = torch.load(io.BytesIO(files[STATE]), map_location="cpu", weights_only=True)
            return cls(safetensors.load(files[WEIGHTS]), state)
        except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
            raise ReidError(
                f"the checkpoint in {source!r} holds more than tensors and plain values, or is no checkpoint; it "
                "was not opened, because that could run foreign code. Start the run anew"
            ) from error


class RunFolder:
    """A folder at `path`. Reading needs nothing more; writing happens inside `with run.writing():`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._history: io.FileIO | None = None

    # -- reading ---------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").is_file()

    def config(self) -> RunConfig:
        """The configuration; `ReidError` where this is no run folder or one of another version."""
        values = self._read_json("config.json")
        if values is None:
            raise ReidError(f"{str(self.path)!r} is not a run folder: it has no config.json")
        if values.pop("format", None) != FORMAT:
            raise ReidError(
                f"run folder {str(self.path)!r} was written by another version of msinet-core; "
                "read it with that version, or start a new run"
            )
        return config_from_dict(values)

    def history(self) -> pd.DataFrame:
        """All complete lines so far as a table, empty where there are none."""
        return pd.DataFrame(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of the history; a half-written last one is left out."""
        try:
            content = (self.path / "history.jsonl").read_bytes()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        lines = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ReidError(f"line {number} of {str(self.path / 'history.jsonl')!r} is damaged") from error
        return lines

    def epochs(self) -> pd.DataFrame:
        """The history's epoch lines, one row an epoch."""
        return pd.DataFrame([line for line in self.lines() if line.get("kind") == "epoch"])

    def genotype(self) -> Genotype | None:
        """The architecture so far, if there is one."""
        try:
            return Genotype.from_json((self.path / "genotype.json").read_text())
        except FileNotFoundError:
            return None

    def metrics(self) -> dict[str, Any] | None:
        return self._read_json("metrics.json")

    def writer_pid(self) -> int | None:
        """The process that writes into the folder now, or None."""
        try:
            with (self.path / "pid").open("r") as file:
                try:  # shared, so that readers do not meet each other here
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or None
                return None
        except (FileNotFoundError, PermissionError):
            return None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done and saved."""
        state = self._read_json("checkpoints/last/checkpoint.json")
        return bool(state and state.get("finished"))

    def has_checkpoint(self) -> bool:
        return self._checkpoint_path() is not None

    def checkpoint(self) -> Checkpoint:
        """The last whole checkpoint; `ReidError` if there is none or a file of it was altered."""
        folder = self._checkpoint_path()
        if folder is None:
            raise ReidError(f"run folder {str(self.path)!r} has no checkpoint yet")
        about = self._read_json(f"checkpoints/{folder.name}/checkpoint.json")
        sums = about.get("sha256") if isinstance(about, dict) else None
        if not isinstance(sums, dict) or sums.keys() != {WEIGHTS, STATE}:
            raise ReidError(_altered(folder / "checkpoint.json"))
        files = {}
        for name, expected in sums.items():
            try:
                files[name] = (folder / name).read_bytes()
            except FileNotFoundError as error:
                raise ReidError(_altered(folder / name)) from error
            if hashlib.sha256(files[name]).hexdigest() != expected:
                raise ReidError(_altered(folder / name))
        return Checkpoint.from_files(files, str(folder))

    def _checkpoint_path(self) -> Path | None:
        # A kill between the two renames of `save` leaves only `previous`.
        for name in ("last", "previous"):
            folder = self.path / "checkpoints" / name
            if (folder / "checkpoint.json").is_file():
                return folder
        return None

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise ReidError(f"{str(self.path / name)!r} is not JSON: {error}") from error

    # -- writing ---------------------------------------------------------------------------------

    @contextmanager
    def writing(self, config: RunConfig, resume: bool = False) -> Iterator[RunFolder]:
        """Claim the folder for `config`, new or to be resumed; `ReidError` where that cannot be.

        A new run refuses a folder that holds one already; a resumed one refuses a configuration
        that computes something else, naming the fields. Both refuse a folder in use.
        """
        self._check_claim(config, resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "pid").open("a+")
        except OSError as error:
            raise ReidError(f"cannot write into {str(self.path)!r}: {error.strerror}") from error
        with file:
            self._lock(file)
            self._check_claim(config, resume)  # again, now that nobody else can
            self._clear_leftovers()
            with self._guard("pid"):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            self.write_json("config.json", {"format": FORMAT, **config.to_dict()})
            try:
                yield self
            finally:
                if self._history is not None:
                    self._history.close()
                    self._history = None

    def _lock(self, file: Any) -> None:
        """Lock the open `pid` file for writing; `ReidError` where another process has it for longer than a look."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    break
            time.sleep(0.01)
        raise ReidError(
            f"run folder {str(self.path)!r} is in use by process {self.writer_pid()}; "
            "stop that process, or choose another folder with --run"
        )

    def _clear_leftovers(self) -> None:
        """Remove what a killed process was just writing, and the report of a failure that is now tried again."""
        for path in (*self.path.glob(".*.json.[0-9]*"), self.path / "failure.json"):
            path.unlink(missing_ok=True)

    def _check_claim(self, config: RunConfig, resume: bool) -> None:
        if not resume:
            # A folder whose run failed before its first step holds nothing worth keeping.
            if self.exists and (self.has_checkpoint() or self.lines()):
                raise ReidError(
                    f"run folder {str(self.path)!r} already holds a run; continue it with --resume, "
                    "or choose another folder with --run"
                )
            return
        differing = self.config().differences(config)
        if differing:
            listed = "; ".join(f"{name} was {old!r}, now {new!r}" for name, (old, new) in differing.items())
            raise ReidError(
                f"cannot resume {str(self.path)!r} with another configuration: {listed}; "
                "give the same options, or begin a new run in another folder"
            )

    def append(self, kind: str, **values: Any) -> None:
        """Add a line to the history, at once visible to readers."""
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), **values}, allow_nan=True)
        with self._guard("history.jsonl"):
            if self._history is None:
                self._history = io.FileIO(self.path / "history.jsonl", "ab")
            length = os.fstat(self._history.fileno()).st_size
            try:
                write_all(self._history, line.encode() + b"\n")
            except OSError:
                self._history.truncate(length)  # no half line
                raise

    def log(self, text: str) -> None:
        with self._guard("log.txt"), (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def write_genotype(self, genotype: Genotype) -> None:
        self._write("genotype.json", genotype.to_json())

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(values, indent=1))

    def save(self, weights: Mapping[str, Tensor], state: Mapping[str, Any], *, finished: bool = False) -> None:
        """Replace the last checkpoint by a new one, whole or not at all.

        The length of the history goes with it: lines written after the checkpoint are dropped on
        resume, since their steps will be done again.
        """
        folder = self.path / "checkpoints"
        fresh, last, previous = (folder / name for name in ("writing", "last", "previous"))
        with self._guard("checkpoints"):
            if self._history is not None:  # else a power cut could leave it shorter than the checkpoint says
                os.fsync(self._history.fileno())
            files = Checkpoint(dict(weights), {**state, "history_bytes": self._history_bytes()}).files()
            sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
            files["checkpoint.json"] = json.dumps({"sha256": sums, "finished": finished}).encode()
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

    def rewind_history(self, length: int) -> None:
        """Drop what was written to the history after its first `length` bytes."""
        path = self.path / "history.jsonl"
        if path.is_file():
            if path.stat().st_size < length:
                raise ReidError(f"{str(path)!r} is shorter than its checkpoint says; it was cut or replaced")
            os.truncate(path, length)

    def _history_bytes(self) -> int:
        path = self.path / "history.jsonl"
        return path.stat().st_size if path.is_file() else 0

    def _write(self, name: str, text: str) -> None:
        with self._guard(name):
            beside = self.path / f".{name}.{os.getpid()}"
            try:
                write_file(beside, text.encode())
                beside.replace(self.path / name)
            finally:
                beside.unlink(missing_ok=True)

    @contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        """Turn a full or read-only disk into an error that names it; what was saved stays."""
        try:
            yield
        except OSError as error:
            free = shutil.disk_usage(self.path).free / 1e6
            raise ReidError(
                f"cannot write {str(self.path / name)!r} ({error.strerror}); {free:.1f} MB are free on the disk "
                f"mounted at {str(mount_point(self.path))!r}. What was saved before is whole: make room and continue "
                "with --resume"
            ) from error

    def __repr__(self) -> str:
        if not self.exists:
            return f"RunFolder {str(self.path)!r} (empty)"
        done = sum(line.get("kind") == "epoch" for line in self.lines())
        config = self.config()
        state = "running" if self.writer_pid() else "finished" if self.finished else "stopped"
        return f"RunFolder {str(self.path)!r}: {config.KIND}, {done} of {config.epochs} epochs, {state}"


class Onlooker(RunFolder):
    """The folder of a run on several processes as all but the first have it: they write nothing."""

    def append(self, kind: str, **values: Any) -> None:
        pass

    def log(self, text: str) -> None:
        pass

    def save(self, weights: Mapping[str, Tensor], state: Mapping[str, Any], *, finished: bool = False) -> None:
        pass

    def rewind_history(self, length: int) -> None:
        pass

    def _write(self, name: str, text: str) -> None:
        pass


def _altered(path: Path) -> str:
    return (
        f"{str(path)!r} is truncated or was altered since it was saved; "
        "restore the folder from a copy, or start the run anew"
    )
