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

import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from msinet_core.config import RunConfig, config_from_dict
from msinet_core.errors import ReidError
from msinet_core.files import mount_point, read_json, write_all, write_file
from msinet_core.runs.checkpoints import (
    Checkpoint,
    last_checkpoint,
    read_checkpoint,
    replace_checkpoint,
)
from msinet_core.runs.locks import lock_for_writing, writer_of
from msinet_core.space import Genotype

FORMAT = 1  # of the folder; raised when an older one can no longer be read


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
                raise ReidError(
                    f"line {number} of {str(self.path / 'history.jsonl')!r} is damaged"
                ) from error
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
        return writer_of(self.path / "pid")

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
        return read_checkpoint(folder)

    def _checkpoint_path(self) -> Path | None:
        return last_checkpoint(self.path / "checkpoints")

    def _read_json(self, name: str) -> dict[str, Any] | None:
        return read_json(self.path / name)

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
            if not lock_for_writing(file):
                raise ReidError(
                    f"run folder {str(self.path)!r} is in use by process {self.writer_pid()}; "
                    "stop that process, or choose another folder with --run"
                )
            self._check_claim(config, resume)  # again, now that nobody else can
            self._clear_leftovers()
            with self._guard("pid"):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            self.write_json("config.json", {"format": FORMAT, **config.remembering_modules().to_dict()})
            try:
                yield self
            finally:
                if self._history is not None:
                    self._history.close()
                    self._history = None

    def _clear_leftovers(self) -> None:
        """Remove what a killed process was just writing, and the report of a failure that is now
        tried again.
        """
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
            listed = "; ".join(
                f"{name} was {old!r}, now {new!r}" for name, (old, new) in differing.items()
            )
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

    def save(
        self, weights: Mapping[str, Tensor], state: Mapping[str, Any], *, finished: bool = False
    ) -> None:
        """Replace the last checkpoint by a new one, whole or not at all.

        The length of the history goes with it: lines written after the checkpoint are dropped on
        resume, since their steps will be done again.
        """
        with self._guard("checkpoints"):
            # else a power cut could leave it shorter than the checkpoint says
            if self._history is not None:
                os.fsync(self._history.fileno())
            checkpoint = Checkpoint(
                dict(weights), {**state, "history_bytes": self._history_bytes()}
            )
            replace_checkpoint(self.path / "checkpoints", checkpoint, finished)

    def rewind_history(self, length: int) -> None:
        """Drop what was written to the history after its first `length` bytes."""
        path = self.path / "history.jsonl"
        if path.is_file():
            if path.stat().st_size < length:
                raise ReidError(
                    f"{str(path)!r} is shorter than its checkpoint says; it was cut or replaced"
                )
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

    def save(
        self, weights: Mapping[str, Tensor], state: Mapping[str, Any], *, finished: bool = False
    ) -> None:
        pass

    def rewind_history(self, length: int) -> None:
        pass

    def _write(self, name: str, text: str) -> None:
        pass
