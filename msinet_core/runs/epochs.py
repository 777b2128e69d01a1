"""Carrying out a run: the loop over epochs and steps, with its progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from msinet_core import speed
from msinet_core.errors import Stopped
from msinet_core.replay import NotFinite, Reports
from msinet_core.runs import guards
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.processes import join
from msinet_core.runs.resuming import begin, claimed, save
from msinet_core.runs.stopping import Stop
from msinet_core.runs.tracking import require_tracker, tracked
from msinet_core.runs.worker import Job, Worker

STEP_LINES_PER_EPOCH = 20
MOST_UNDER_WAY = 8  # steps whose losses may still be on their way from a GPU


class Progress:
    """One bar over all steps of a run, with an estimate of the time left, and a clock."""

    def __init__(self, epochs: int, steps: int, done: int, shown: bool, name: str) -> None:
        from tqdm.auto import tqdm  # only a run under way has a use for it

        self.epochs, self.steps = epochs, steps
        self.bar = tqdm(
            total=epochs * steps,
            initial=done,
            desc=name,
            unit="step",
            disable=not shown,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.started = time.perf_counter()

    def step(self, epoch: int, **values: float) -> None:
        shown = " ".join(f"{name} {value:.3g}" for name, value in values.items())
        self.bar.set_postfix_str(f"epoch {epoch}/{self.epochs} {shown}", refresh=False)
        self.bar.update()

    def restart_clock(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        elapsed, self.started = now - self.started, now
        return elapsed

    def close(self) -> None:
        self.bar.close()


def told(values: Mapping[str, Any]) -> str:
    """Numbers by name in a line of the log: `epoch 12, mAP 0.2634`."""
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def carry_out(kind: type[Worker], job: Job, resume: bool, stop: Stop | None) -> RunFolder:
    """One run from its start, or from its folder's last checkpoint, to its end; gives the folder
    back.

    Raises what `run_epochs` raises, and `ReidError` where the folder cannot be claimed.
    """
    processes = join(job.config.device == "cpu")
    stop = Stop() if stop is None else stop  # one that is not set is false
    require_tracker(job.config.track)
    with claimed(job, resume, processes) as mine, stop.listening():
        worker = kind(mine)
        begin(worker, resume)
        if worker.progress:
            print(
                f"{job.config.KIND}: {speed.in_words(job.config, worker.device)}", file=sys.stderr
            )
        with speed.arithmetic(job.config, worker.device), tracked(worker):
            run_epochs(worker, stop)
        mine.run.log(worker.result())
    return job.run


def run_epochs(worker: Worker, stop: Stop) -> None:
    """Drive `worker` from where it stands to its last epoch, saving as it goes.

    Raises `Stopped` after saving when `stop` is set on any process, and `ReidError` without saving
    when a loss is not finite.
    """
    config = worker.config
    bar = Progress(
        config.epochs,
        worker.steps,
        worker.epoch * worker.steps + worker.step,
        worker.progress,
        config.KIND,
    )
    batches = worker.batches()
    try:
        while worker.epoch < config.epochs:
            worker.begin_epoch()
            _run_epoch(worker, batches, stop, bar)
            worker.finish_epoch(bar.restart_clock())
            last = worker.epoch == config.epochs
            if last or worker.epoch % config.save_every == 0:
                save(worker, finished=last)
    except NotFinite as error:
        raise guards.break_down(worker, worker.run, error) from error
    finally:
        bar.close()


def _run_epoch(worker: Worker, batches: Iterator[Any], stop: Stop, bar: Progress) -> None:
    """The steps that are left of the current epoch."""
    reports = Reports(MOST_UNDER_WAY if worker.replays else 0)
    while worker.step < worker.steps:
        values = worker.run_step(batches)
        for number, found in reports.add(worker.step, values):
            _note(worker, bar, number, found)
        if requested := worker.run.stop_asked():
            stop.stop()
        asked = worker.processes.any(requested or bool(stop))
        if asked and not (worker.epoch + 1 == worker.config.epochs and worker.step == worker.steps):
            for number, found in reports.rest():
                _note(worker, bar, number, found)
            save(worker)
            reason = stop.reason or "another process was asked to"
            worker.run.log(
                f"stopped ({reason}) in epoch {worker.epoch + 1} after step {worker.step}"
            )
            raise Stopped(reason)
    for number, found in reports.rest():
        _note(worker, bar, number, found)


def _note(worker: Worker, bar: Progress, number: int, values: dict[str, float]) -> None:
    """Take in what the epoch's step of that number (from 1) said."""
    worker.averages.add(**values)
    bar.step(worker.epoch + 1, **{k: v for k, v in values.items() if k.endswith("loss")})
    if number % max(1, worker.steps // STEP_LINES_PER_EPOCH) == 0:
        worker.run.append("step", epoch=worker.epoch + 1, step=number, **values)
