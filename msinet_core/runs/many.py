"""Several independent runs, a few at a time: each a process of its own that can go on later."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msinet_core.errors import ReidError, Stopped
from msinet_core.files import make_folder, open_to_append, require_regular
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.stopping import Stop

TERMINAL = "terminal.txt"  # what the process prints, beside the run folder's own files
OWN_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows; elsewhere a session
LOOK = 0.2  # seconds between looks at the processes


def start_run(
    folder: str | Path, command: Sequence[str], resume: bool = False, threads: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `msinet COMMAND --run FOLDER` as a process that outlives this one.

    What it prints goes to `terminal.txt` in the folder. threads: of the processor, for each run.
    """
    folder = make_folder(Path(folder))
    words = [sys.executable, "-m", "msinet_core.cli", *command]
    words += ["--run", str(folder), *(["--resume"] if resume else [])]
    environment = dict(os.environ)
    if threads is not None:
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    # a session or group of its own, so that our end, or a Ctrl-C here, is not its end
    apart: dict[str, Any] = {"start_new_session": True, "creationflags": OWN_GROUP}
    apart |= {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with open_to_append(folder / TERMINAL) as terminal:
        return subprocess.Popen(words, stdout=terminal, env=environment, **apart)


def tail(path: Path, lines: int = 1) -> str:
    """The last lines of a text file, "" where there is none; of a progress bar its last state."""
    try:
        require_regular(path)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            text = file.read(8192).decode(errors="replace")
    except (OSError, ReidError):
        return ""
    kept = [line.split("\r")[-1] for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


class ManyRuns:
    """Run folders and the words after `msinet` that each was asked for with, `jobs` at a time.

    Those that have finished are taken as they are; `resume` goes on with those that were begun.
    """

    def __init__(self, runs: Mapping[Path, Sequence[str]], jobs: int, resume: bool = False) -> None:
        if jobs < 1:
            raise ReidError(f"at least one run is carried out at a time; got --jobs {jobs}")
        self.commands, self.jobs, self.resume = dict(runs), jobs, resume
        self.folders = {path: RunFolder(path) for path in runs}
        self.processes: dict[Path, subprocess.Popen[bytes]] = {}
        self.asked: set[Path] = set()  # to stop

    def carry_out(self, progress: bool = True) -> list[RunFolder]:
        """All runs to their end; gives their folders.

        Ctrl-C and SIGTERM let those under way save, and raise `Stopped`. Where some fail the others
        are carried out all the same, and then a `ReidError` says what each said last.
        """
        waiting = [path for path, run in self.folders.items() if not run.finished]
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        with Stop().listening() as stop, _Bar(self.folders, progress) as bar:
            while (waiting and not stop) or self.alive:
                while waiting and not stop and len(self.alive) < self.jobs:
                    path = waiting.pop(0)
                    again = self.resume and self.folders[path].exists
                    self.processes[path] = start_run(path, self.commands[path], again, threads)
                if stop:
                    self._stop()
                bar.show(self.alive)
                time.sleep(LOOK)
        self._require_success()
        if not all(run.finished for run in self.folders.values()):
            raise Stopped(stop.reason or "asked to stop")
        return list(self.folders.values())

    @property
    def alive(self) -> list[Path]:
        """Runs whose process has not ended."""
        return [path for path, process in self.processes.items() if process.poll() is None]

    def _stop(self) -> None:
        """Ask for an end; one that has not claimed its folder yet has nothing to save."""
        for path in set(self.alive) - self.asked:
            if self.folders[path].writer_pid() == self.processes[path].pid:
                self.folders[path].ask_to_stop()
                self.asked.add(path)
            elif not self.folders[path].exists:
                self.processes[path].terminate()
                self.asked.add(path)

    def _require_success(self) -> None:
        """A process that a signal ended did what it was told to."""
        failed = [path for path, one in self.processes.items() if one.returncode in (1, 2)]
        if failed:
            said = "; ".join(f"{path.name}: {tail(path / TERMINAL)}" for path in failed)
            raise ReidError(f"{len(failed)} of {len(self.commands)} runs failed: {said}")


class _Bar:
    """One bar over the epochs of all runs; says which are under way and how far."""

    def __init__(self, folders: Mapping[Path, RunFolder], shown: bool) -> None:
        from tqdm.auto import tqdm  # only runs under way have a use for it

        self.folders, self.shown = folders, shown
        self.done = {path: self._epochs(path) for path in folders}
        self.bar = tqdm(total=None, unit="epoch", disable=not shown, dynamic_ncols=True)
        self.looked = 0.0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, alive: Sequence[Path]) -> None:
        if not self.shown or time.monotonic() - self.looked < 1:
            return
        self.looked = time.monotonic()
        totals = {path: run.config().epochs for path, run in self.folders.items() if run.exists}
        self.done |= {path: self._epochs(path) for path in alive}
        if totals:  # all are of one length, or those that have not begun are taken for that
            self.bar.total = sum(totals.get(path, max(totals.values())) for path in self.folders)
        self.bar.n = sum(self.done.values())
        going = (f"{path.name} {self.done[path]}/{totals.get(path, '?')}" for path in alive)
        self.bar.set_postfix_str(", ".join(going))

    def _epochs(self, path: Path) -> int:
        return len(self.folders[path].epochs())
