"""Start, stop, resume and watch a run. It is a process of its own: the panel only reads its folder.

A run outlives the notebook: closing the page, restarting the kernel or a crash of either leaves it
going, and a new panel on the same folder finds it by the lock that it holds there.
"""

from __future__ import annotations

import html
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from msinet_core.errors import ReidError
from msinet_core.files import make_folder
from msinet_core.locks import TAKEN, Lock, look
from msinet_core.runs.folder import STOP, RunFolder
from msinet_core.runs.many import TERMINAL, start_run, tail
from msinet_core.search.history import SearchHistory
from msinet_core.space import NUM_STAGES
from msinet_lab.figures.architecture import alpha_heatmap, entropy_heatmap
from msinet_lab.figures.curves import apart, search_parts, training_parts
from msinet_lab.figures.sheets import weights_sheet
from msinet_lab.figures.style import empty_figure
from msinet_lab.panels.base import BAD, GOOD, QUIET, Panel, row

NOTHING_YET = "The run has not written anything yet."
STARTING = ".starting"  # locked by the panel that started a process until that one writes
STOPPING = "stopping: it saves first"
STOPPED = (None, 0, 130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes that are no failure
_watching: weakref.WeakValueDictionary[str, RunPanel] = weakref.WeakValueDictionary()
_children: dict[str, Child] = {}  # of this kernel, by folder
Lines = Sequence[Mapping[str, Any]]


@dataclass
class Child:
    """A process that a panel of this kernel started, and the claim held until it writes itself."""

    process: subprocess.Popen[bytes]
    claim: Lock

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def settle(self, pid: int | None) -> None:
        """Give the claim back once somebody writes, or the process has ended."""
        if pid is not None or not self.alive:
            self.claim.release(remove=True)


class RunPanel(Panel):
    """A run of `msinet search ...` or `msinet train ...` in `folder`.

    command: the words after `msinet`, such as `["search", "--data", "market1501", "--root",
        "..."]`, without `--run` and `--resume`. Without a command the panel only watches.
    poll: seconds between looks at the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        command: Sequence[str] = (),
        *,
        poll: float = 1.0,
        saves_to: str | Path = "figures",
    ) -> None:
        super().__init__("run", saves_to)
        self.run, self.poll = RunFolder(Path(folder).absolute()), poll
        self.command = [str(word) for word in command]
        self._stop_wanted = False  # of a process that is only starting, somebody else's
        self._asked: int | None = None  # the process that was asked when Stop was pressed
        self._seen: Any = None
        self._closing = threading.Event()
        self._controls()
        previous = _watching.get(str(self.run.path))
        if previous is not None:  # the cell was run again: one watcher a folder is enough
            previous.stop_watching()
        _watching[str(self.run.path)] = self
        self.attempt(self.draw)
        task: Any = {"target": _watch, "args": (weakref.ref(self), self._closing, poll)}
        threading.Thread(**task, daemon=True, name="msinet run watch").start()

    def _controls(self) -> None:
        tips = {
            "start": "start the run as a process of its own",
            "stop": "save and exit; Resume goes on from there",
            "resume": "go on from the last checkpoint",
        }
        self.start_button = self.button("start", "Start", "play", self.start, tips["start"])
        self.stop_button = self.button(
            "stop", "Stop", "stop", self.stop, tips["stop"], at_once=self._ask_at_once
        )
        self.resume_button = self.button("resume", "Resume", "forward", self.resume, tips["resume"])
        self.state, self.last_words = self.text("state"), self.text("log")
        wide = widgets.Layout(width="300px")
        self.bar = self.tag(widgets.IntProgress(min=0, max=1, layout=wide), "bar")
        pictures = [self.picture(part) for part in ("curves", "weights", "entropy")]
        self.children = (
            row(self.start_button, self.stop_button, self.resume_button, self.save_button()),
            row(self.bar, self.state),
            *pictures,
            self.last_words,
            self.status,
        )

    # -- what the buttons do -----------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The process that this kernel started last on the folder, alive or not."""
        child = _children.get(str(self.run.path))
        return None if child is None else child.process

    @property
    def starting(self) -> bool:
        """Whether a process, of this kernel or another notebook's, has yet to begin writing."""
        pid, child = self.run.writer_pid(), _children.get(str(self.run.path))
        if child is not None:
            child.settle(pid)
        ours = child is not None and child.alive
        return pid is None and (ours or look(self.run.path / STARTING) == TAKEN)

    @property
    def alive(self) -> bool:
        """Whether a process works on the folder, ours or anyone's, or is just starting."""
        return self.run.writer_pid() is not None or self.starting

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop and has not ended yet."""
        return self.alive and (self._stop_wanted or (self.run.path / STOP).exists())

    def start(self) -> str:
        """Start the command in the folder; a run that is already going is watched instead."""
        return self._launch(resume=False)

    def resume(self) -> str:
        """Go on from the folder's last checkpoint."""
        if not self.run.exists:
            raise ReidError("there is nothing to resume yet; press Start")
        return self._launch(resume=True)

    def _launch(self, resume: bool) -> str:
        if self.starting:
            return "it is just starting, here or in another notebook; this panel watches it"
        if self.alive:
            return "already running; this panel watches it"
        if not self.command:
            raise ReidError(
                "this panel was made without a command, so it can only watch; start the run in a "
                "terminal"
            )
        if self.run.exists and not resume:
            raise ReidError(
                f"{self.run.path} holds a run already; press Resume, or choose another folder"
            )
        make_folder(self.run.path)
        claim = Lock(self.run.path / STARTING)
        if not claim.acquire(0):  # between our look and now
            return "another notebook is just starting it; this panel watches"
        try:
            process = start_run(self.run.path, self.command, resume)
        except OSError:
            claim.release(remove=True)
            raise
        _children[str(self.run.path)] = Child(process, claim)
        self._stop_wanted = False
        self.draw()
        return f"started process {process.pid}"

    def _ask_at_once(self) -> None:
        """Ask, and say so, without waiting for a drawing that is under way."""
        pid = self.run.writer_pid()
        if pid is not None:
            self.stop_button.disabled = True
            self.texts["state"].value = bold(STOPPING)
            with suppress(ReidError, OSError):  # `stop`, which comes after, says what is wrong
                self.run.ask_to_stop()
                self._asked = pid

    def stop(self) -> str:
        """Ask whichever process writes into the folder to save and exit.

        A child of our own that has not begun to write is ended by a signal; somebody else's is
        asked as soon as it writes.
        """
        asked, self._asked, pid = self._asked, None, self.run.writer_pid()
        if asked is not None:  # and may have ended since
            message = f"asked process {asked} to save and stop"
        elif pid is not None:
            self.run.ask_to_stop()
            message = f"asked process {pid} to save and stop"
        elif self.process is not None and self._child_alive():
            self.process.terminate()
            message = f"ended process {self.process.pid}, which had not begun"
        elif self.starting:
            self._stop_wanted = True
            message = "it is just starting in another notebook; it is stopped once it has begun"
        else:
            return "nothing is running here"
        self.draw()
        return message

    def begin(self) -> None:
        """What a notebook does in place of a hand: start, resume or just watch, as is needed."""
        if not self.alive and not self.run.finished:
            self.attempt(self.resume if self.run.has_checkpoint() else self.start, drawing=False)

    def wait(self, seconds: float = 600) -> RunFolder:
        """Come back when the process has ended, at the latest after `seconds`.

        The panel stays live meanwhile.
        """
        end = time.monotonic() + seconds
        while self.alive and time.monotonic() < end:
            time.sleep(0.2)
        self.attempt(self.draw)
        return self.run

    # -- what is seen ------------------------------------------------------------------------------

    def look(self) -> None:
        """Redraw if anything changed since the last look; called by the watching thread."""
        seen = self._fingerprint()
        if seen != self._seen:
            self.attempt(self.draw)

    def _fingerprint(self) -> tuple[Any, ...]:
        def size(name: str) -> int:
            try:
                return (self.run.path / name).stat().st_size
            except OSError:
                return -1

        sizes = [size(name) for name in ("history.jsonl", "log.txt", "config.json")]
        states = self.run.finished, self.run.writer_pid(), self.starting, self.stopping
        return (*sizes, *states)

    def draw(self) -> str | None:
        self._hand_on_the_wish()
        self._seen = self._fingerprint()
        pid, alive, exists = self.run.writer_pid(), self.alive, self.run.exists
        stopping = self.stopping
        finished, lines = self.run.finished, self.run.lines()
        epochs = [line for line in lines if line.get("kind") == "epoch"]
        total = self.run.config().epochs if exists else 1
        self.bar.max, self.bar.value = total, len(epochs)
        if stopping:
            state = STOPPING
        elif alive:
            state = "starting" if pid is None else "running"
        else:
            state = "finished" if finished else "stopped" if exists else "not started"
        process = pid or (self.process.pid if self._child_alive() and self.process else None)
        words = [
            bold(state, GOOD if alive or finished else QUIET),
            *([f"process {process}"] if process else []),
            *([f"epoch {len(epochs)} of {total}"] if exists else []),
        ]
        self.tell("state", ", ".join(words) + time_left(epochs, total, alive))
        self.start_button.disabled = alive or exists or not self.command
        self.stop_button.disabled = not alive or stopping
        self.resume_button.disabled = alive or not exists or finished or not self.command
        kind = self.run.config().KIND if exists else "".join(self.command[:1])
        self._pictures(kind, lines)
        return self._words(alive)

    def _child_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _hand_on_the_wish(self) -> None:
        """What was to be stopped while it was only starting is asked once it writes."""
        if self._stop_wanted and not self.starting:
            self._stop_wanted = False
            if self.run.writer_pid() is not None:
                self.run.ask_to_stop()

    def _pictures(self, kind: str, lines: Lines) -> None:
        if kind == "train":
            self.show("curves", apart(training_parts(lines), NOTHING_YET))
            self.hide("weights")
            self.hide("entropy")
            return
        self.show("curves", apart(search_parts(lines), NOTHING_YET))
        history = SearchHistory.from_lines(lines)
        if len(history):
            sheet = weights_sheet(history, -1, range(1, NUM_STAGES + 1))
            self.show("weights", sheet, lambda: alpha_heatmap(history))
            self.show("entropy", entropy_heatmap(history))
        else:
            self.show("weights", empty_figure("The weights appear after the first epoch."))
            self.hide("entropy")

    def _words(self, alive: bool) -> str | None:
        """The log's last lines; and, if our process failed, its last words as an error."""
        text = tail(self.run.path / "log.txt", 4)
        self.tell("log", f"<pre style='margin:0'>{html.escape(text)}</pre>" if text else "")
        code = None if self.process is None else self.process.poll()
        if not alive and code not in STOPPED:
            last = tail(self.run.path / TERMINAL, 1)
            raise ReidError(f"the process ended with code {code}: {last}")
        return None

    def stop_watching(self) -> None:
        """End the thread that looks at the folder; the run itself goes on."""
        self._closing.set()

    def close(self) -> None:
        self.stop_watching()
        super().close()


def bold(state: str, colour: str = QUIET) -> str:
    """The state of a run as it stands in the panel."""
    return f'<b style="color:{colour}">{state}</b>'


def _watch(panel: weakref.ref[RunPanel], closing: threading.Event, poll: float) -> None:
    """Look at the folder every `poll` seconds for as long as the panel is there.

    Drawing takes at most a fifth of the time, so that it does not slow down the run on a small
    machine.
    """
    pause = poll
    while not closing.wait(pause):
        shown, start = panel(), time.monotonic()
        if shown is None:
            return
        try:
            shown.look()
        except Exception as error:  # a thread's exceptions are seen nowhere else
            shown.say(str(error), BAD)
        del shown
        pause = max(poll, 4 * (time.monotonic() - start))


def time_left(epochs: Lines, total: int, alive: bool) -> str:
    """`, about 3 min left`, from the last epochs' durations."""
    seconds = [line["seconds"] for line in epochs[-5:] if line.get("seconds")]
    if not alive or not seconds or len(epochs) >= total:
        return ""
    left = sum(seconds) / len(seconds) * (total - len(epochs))
    since = time.time() - float(epochs[-1].get("time", time.time()))
    left = max(0.0, left - max(0.0, since))
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if left < limit:
            return f", about {left / unit:.0f} {name} left"
    return f", about {left / 3600:.1f} h left"
