"""`RunFolder`: the one thing on disk that a run writes and everything else reads.

    config.json      what was asked for
    history.jsonl    one JSON object a line: steps, epochs, evaluations; appended and flushed
    genotype.json    the architecture found or trained
    metrics.json     the last evaluation
    checkpoints/     `last` and, of the time before, `previous`: weights.safetensors, state.pt, and
                     checkpoint.json with their hashes
                     (and, where asked for, `best` and `epoch-0010`, networks that were kept)
    log.txt          what the terminal said
    failure.json     what a run that broke down was doing: step, rates, batch, norms
    .lock            held by the process that writes
    pid              that process
    stop             asks it to save and stop

Everything is written beside its place and renamed, so that a kill leaves what was there before.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from msinet_core.config import RunConfig, config_from_dict, genotype_of_run
from msinet_core.errors import ReidError
from msinet_core.files import (
    MARK,
    make_folder,
    named_errors,
    open_to_append,
    read_bytes,
    read_json,
    replace_file,
    whole_folder,
    write_all,
)
from msinet_core.locks import Lock
from msinet_core.runs.checkpoints import (
    ABOUT,
    LAST,
    Checkpoint,
    Damaged,
    checkpoints_in,
    clear_unfinished,
    keep_checkpoint,
    kept_in,
    read_checkpoint,
    replace_checkpoint,
)
from msinet_core.runs.locks import PID, claim, writer_of
from msinet_core.space import Genotype

FORMAT = 1  # of the folder; raised when an older one can no longer be read
WRITTEN = (
    *("config.json", "history.jsonl", "genotype.json", "metrics.json", "checkpoints"),
    *("log.txt", "failure.json", "tracking"),
)
LARGEST_HISTORY = 1 << 28  # bytes
METRICS = ("mAP", "rank1", "rank5", "rank10", "mINP", "queries", "counted")
NUMBERS = re.compile(r"epoch|step|time|seconds|images_per_second|temperature|.*loss|.*_gradient")
STOP, LOOK_EVERY = "stop", 0.2  # seconds between two looks for a request to stop
DIGITS = b"0123456789"
FULL_DISK = "What was saved before is whole: make room and continue with --resume"


class RunFolder:
    """A folder at `path`. Reading needs nothing more; writing happens inside `with run.writing`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._history: io.FileIO | None = None
        self._lock: Lock | None = None
        self._damaged: Path | None = None  # a checkpoint that must not become the one before
        self._looked = 0.0
        self.listeners: list[Callable[[str, Mapping[str, Any]], None]] = []  # told of each line

    @classmethod
    def with_checkpoint(cls, source: str | Path) -> tuple[RunFolder, str]:
        """The run at a path, and which checkpoint is meant: `best` of RUN/checkpoints/best, else
        `last`.
        """
        path = Path(source)
        if path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file():
            return cls(path.parent.parent), path.name
        return cls(path), LAST

    @classmethod
    def at(cls, place: str | Path | RunFolder) -> RunFolder:
        """The run folder at a path; one that is a run folder already, as it is."""
        return place if isinstance(place, RunFolder) else cls(place)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return (self.path / "config.json").is_file()

    def config(self) -> RunConfig:
        """The configuration; `ReidError` where this is no run folder or one of another version."""
        values = read_json(self.path / "config.json")
        if values is None:
            raise ReidError(f"{str(self.path)!r} is not a run folder: it has no config.json")
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ReidError(
                f"run folder {str(self.path)!r} was written by another version of msinet-core; "
                "read it with that version, or start a new run"
            )
        return config_from_dict({**values, "root": self._found_root(values.get("root", ""))})

    def _found_root(self, root: str) -> str:
        """A relative root, as older versions wrote it down, is looked for from here, then from the
        folders above the run.
        """
        if not isinstance(root, str) or not root or os.path.exists(root):
            return root
        places = (str(folder / root) for folder in self.path.resolve().parents)
        return next((place for place in places if os.path.exists(place)), root)

    def history(self) -> pd.DataFrame:
        """All complete lines so far as a table, empty where there are none."""
        return pd.DataFrame(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of the history; a half-written last one is left out."""
        path = self.path / "history.jsonl"
        content = read_bytes(path, LARGEST_HISTORY) or b""
        lines = []
        for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
            try:
                lines.append(_numbers(dict(json.loads(line))))
            except (ValueError, TypeError, RecursionError) as error:
                raise ReidError(f"line {number} of {str(path)!r} is damaged") from error
        return lines

    def epochs(self) -> pd.DataFrame:
        """The history's epoch lines, one row an epoch."""
        return pd.DataFrame([line for line in self.lines() if line.get("kind") == "epoch"])

    def genotype(self) -> Genotype | None:
        """The architecture so far, if there is one."""
        return genotype_of_run(self.path)

    def metrics(self) -> dict[str, Any] | None:
        path = self.path / "metrics.json"
        try:
            found = read_json(path)
            return None if found is None else _scores(dict(found))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            if isinstance(error, ReidError):
                raise
            raise ReidError(f"{str(path)!r} is damaged; evaluate again") from error

    def writer_pid(self) -> int | None:
        """The process that writes into the folder now, or None."""
        return writer_of(self.path)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done and saved; not where the last checkpoint is damaged."""
        with suppress(ReidError):
            about = read_json(self.path / "checkpoints" / LAST / ABOUT)
            return isinstance(about, dict) and bool(about.get("finished"))
        return False

    def has_checkpoint(self) -> bool:
        return bool(checkpoints_in(self.path / "checkpoints"))

    def checkpoint(self, name: str = LAST) -> Checkpoint:
        """The last whole checkpoint: the one before the last, with a warning, where that is
        damaged; `ReidError` where there is none. Or the one that was kept as `name`, such as
        `best`.
        """
        if name != LAST:
            return self._kept(name)
        found = checkpoints_in(self.path / "checkpoints")
        if not found:
            raise ReidError(f"run folder {str(self.path)!r} has no checkpoint yet")
        try:
            return read_checkpoint(found[0])
        except Damaged as error:
            if len(found) == 1:
                raise
            before = read_checkpoint(found[1])
            reason = str(error).partition(";")[0]
            warnings.warn(f"{reason}; the checkpoint before it is taken", stacklevel=2)
            self._damaged = found[0]
            return before

    def _kept(self, name: str) -> Checkpoint:
        folder = self.path / "checkpoints"
        place = whole_folder(folder / name)
        if not (place / ABOUT).is_file():
            there = ", ".join(kept_in(folder)) or "none"
            raise ReidError(
                f"run folder {str(self.path)!r} has no checkpoint {name!r}; it has {there}. Others "
                "than the last are kept with --keep best or all"
            )
        return read_checkpoint(place)

    # -- stopping --------------------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Ask the process that writes to save after its step and end, on any system; `ReidError`
        where there is no such process.
        """
        if self.writer_pid() is None:
            raise ReidError(f"no process writes into {str(self.path)!r}; there is nothing to stop")
        replace_file(self.path / STOP, "")

    def stop_asked(self) -> bool:
        """Whether `ask_to_stop` was called; asks the disk a few times a second at most."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        return (self.path / STOP).exists()

    # -- writing ---------------------------------------------------------------------------------

    @contextmanager
    def writing(self, config: RunConfig, resume: bool = False) -> Iterator[RunFolder]:
        """Claim the folder for `config`, new or to be resumed; `ReidError` where that cannot be.

        A new run refuses a folder that holds one already; a resumed one refuses a configuration
        that computes something else, naming the fields. Both refuse a folder in use.
        """
        self._check_claim(config, resume)
        make_folder(self.path)
        with ExitStack() as stack:
            with named_errors(self.path):
                lock = stack.enter_context(claim(self.path))
            stack.callback(self._let_go)
            self._lock = lock
            self._check_claim(config, resume)  # again, now that nobody else can
            self._clear_leftovers()
            values = config.remembering_modules().from_anywhere().to_dict()
            self.write_json("config.json", {"format": FORMAT, **values})
            yield self

    def _let_go(self) -> None:
        if self._history is not None:
            self._history.close()
        if self._lock is not None and self._lock.lies_there:
            (self.path / STOP).unlink(missing_ok=True)
        self._history = self._lock = None

    def _clear_leftovers(self) -> None:
        """Remove what a killed process was just writing, a request to stop that it did not heed,
        and the report of a failure that is now tried again.
        """
        unfinished = (*self.path.glob(".*.json.[0-9]*"), *self.path.glob(".*.msinet-*"))
        for path in (*unfinished, self.path / STOP, self.path / "failure.json"):
            path.unlink(missing_ok=True)
        if checkpoints_in(self.path / "checkpoints"):
            clear_unfinished(self.path / "checkpoints")

    def _check_claim(self, config: RunConfig, resume: bool) -> None:
        if not resume:
            self._check_free()
            return
        differing = self.config().forbids(config)
        if differing:
            listed = "; ".join(
                f"{name} was {old!r}, now {new!r}" for name, (old, new) in differing.items()
            )
            raise ReidError(
                f"cannot resume {str(self.path)!r} with another configuration: {listed}; "
                "give the same options, or begin a new run in another folder"
            )

    def _check_free(self) -> None:
        if not self.exists:
            foreign = [name for name in (*WRITTEN, MARK) if os.path.lexists(self.path / name)]
            # One that was killed at its very start leaves its number, and a request to it.
            foreign += [
                n for n in (PID, STOP) if (read_bytes(self.path / n, 32) or b"").strip(DIGITS)
            ]
            if foreign:
                raise ReidError(
                    f"{str(self.path)!r} holds {', '.join(foreign)} and is no run folder; "
                    "nothing of it is replaced. Choose another folder with --run"
                )
            return
        self.config()  # of a run, not of something else
        # A folder whose run failed before its first step holds nothing worth keeping.
        if self.has_checkpoint() or self.lines():
            raise ReidError(
                f"run folder {str(self.path)!r} already holds a run; continue it with --resume, "
                "or choose another folder with --run"
            )

    def append(self, kind: str, **values: Any) -> None:
        """Add a line to the history, at once visible to readers."""
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), **values}, allow_nan=True)
        with self._guard("history.jsonl"):
            if self._history is None:
                self._history = open_to_append(self.path / "history.jsonl")
            length = os.fstat(self._history.fileno()).st_size
            try:
                write_all(self._history, line.encode() + b"\n")
            except OSError:
                self._history.truncate(length)  # no half line
                raise
        for tell in self.listeners:
            tell(kind, values)

    def log(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        with self._guard("log.txt"), open_to_append(self.path / "log.txt") as file:
            write_all(file, line.encode(errors="backslashreplace"))

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
            if self._damaged is not None:
                shutil.rmtree(self._damaged, ignore_errors=True)
                self._damaged = None
            checkpoint = Checkpoint(
                dict(weights), {**state, "history_bytes": self._history_bytes()}
            )
            replace_checkpoint(self.path / "checkpoints", checkpoint, finished)

    def keep(self, name: str, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keep a network beside the last checkpoint, in place of one that had the name."""
        with self._guard("checkpoints"):
            keep_checkpoint(self.path / "checkpoints", name, Checkpoint(dict(weights), dict(state)))

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
            replace_file(self.path / name, text)

    def _guard(self, name: str) -> AbstractContextManager[None]:
        """For writing `name`: into our own folder, and with an error that names a full disk."""
        if self._lock is not None:
            self._lock.check()
        return named_errors(self.path / name, FULL_DISK)

    def __repr__(self) -> str:
        if not self.exists:
            return f"RunFolder {str(self.path)!r} (empty)"
        try:
            config, done = self.config(), len(self.epochs())
            state = "running" if self.writer_pid() else "finished" if self.finished else "stopped"
        except ReidError as error:
            return f"RunFolder {str(self.path)!r}: {error}"
        place = f"{config.KIND}, {done} of {config.epochs} epochs"
        return f"RunFolder {str(self.path)!r}: {place}, {state}"


def _numbers(values: dict[str, Any], needed: Iterable[str] = ()) -> dict[str, Any]:
    """The values, those that are numbers by their names being numbers; TypeError otherwise."""
    for name in (*needed, *values):
        value = values.get(name)
        if (name in needed or NUMBERS.fullmatch(name)) and not isinstance(value, int | float):
            raise TypeError(f"{name} is {value!r}")
    return values


def _scores(found: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json holds, if its numbers are numbers; TypeError otherwise."""
    other = found.keys() & {"top1", "validation", "targets"}
    if "mAP" in found or not other:
        _numbers(found, METRICS)
    for entry in (found.get("validation"), *found.get("targets", {}).values()):
        if entry is not None:
            _numbers(dict(entry), METRICS)
    if "validation" in found:
        _numbers(dict(found["best"]), ("epoch", "mAP"))
    return found


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

    def keep(self, name: str, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        pass

    def rewind_history(self, length: int) -> None:
        pass

    def _write(self, name: str, text: str) -> None:
        pass
