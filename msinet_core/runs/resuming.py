"""Claiming a run folder, taking up its last checkpoint and writing the next, on one process or
several.
"""

from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch

from msinet_core import speed
from msinet_core.errors import ReidError
from msinet_core.runs import guards
from msinet_core.runs.checkpoints import STATE, WEIGHTS, Checkpoint, fitting
from msinet_core.runs.folder import Onlooker, RunFolder
from msinet_core.runs.processes import Processes
from msinet_core.runs.worker import Job, Worker


@contextmanager
def claimed(job: Job, resume: bool, processes: Processes) -> Iterator[Job]:
    """The job, its run folder claimed by the main process; the others write nothing."""
    main = processes.is_main_process
    with ExitStack() as stack:

        def claim() -> None:
            stack.enter_context(job.run.writing(job.config, resume))

        processes.on_main_process(claim)
        run = job.run if main else Onlooker(job.run.path)
        yield replace(job, run=run, progress=job.progress and main, processes=processes)


def begin(worker: Worker, resume: bool) -> None:
    """Bring `worker` and the history to its folder's last checkpoint, or to a clean start."""
    run = worker.run
    checkpoint = shared_checkpoint(run, worker.processes) if resume else None
    if checkpoint is None:
        worker.processes.on_main_process(lambda: run.rewind_history(0))
        run.log(f"started on {circumstances(worker)}")
        return
    if checkpoint.state.get("given_away"):
        raise ReidError(
            f"{str(run.path)!r} was given away without the optimiser's state, so it can be scored "
            "and embedded but not resumed; resume the original, or push it with --optimizer"
        )
    with fitting(run):
        guards.check_same_processes(checkpoint, worker.processes, run)
        _warn_of_others(checkpoint, worker)
        worker.data.check(checkpoint.state, run.path)
        length = operator.index(checkpoint.state["history_bytes"])
        worker.restore(checkpoint)
    before, now = checkpoint.state.get("epochs", worker.config.epochs), worker.config.epochs
    worker.processes.on_main_process(lambda: run.rewind_history(length))
    run.log(
        f"resumed in epoch {worker.epoch + 1} after step {worker.step} on {circumstances(worker)}"
    )
    if before != now:
        run.log(f"from {before} to {now} epochs: the schedule is that of {now} epochs from here on")


def circumstances(worker: Worker) -> str:
    """What decides bits beside configuration and data: device, precision, threads, torch."""
    return f"{speed.in_words(worker.config, worker.device)}, torch {torch.__version__}"


def shared_checkpoint(run: RunFolder, processes: Processes) -> Checkpoint | None:
    """The folder's last checkpoint, as the main process reads it, on all; None if there is none."""
    found: list[Checkpoint] = []

    def read() -> None:
        if run.has_checkpoint():
            found.append(run.checkpoint())

    processes.on_main_process(read)
    if processes.size == 1:
        return found[0] if found else None
    files = found[0].files() if found else {}
    if not json.loads(processes.broadcast(json.dumps(bool(files)).encode())):
        return None
    return Checkpoint.from_files(
        {n: processes.broadcast(files.get(n, b"")) for n in (WEIGHTS, STATE)}, str(run.path)
    )


def _warn_of_others(checkpoint: Checkpoint, worker: Worker) -> None:
    """Where a run goes on with other threads than it was begun with (on a CPU sums are split among
    them, and their order decides the last bit), or in another precision.
    """
    before, now = checkpoint.state.get("threads"), torch.get_num_threads()
    if worker.device.type == "cpu" and isinstance(before, int) and before != now:
        warnings.warn(
            f"the run was begun with {before} thread{'s' * (before > 1)} and goes on with {now}: "
            f"its last bits will differ from an undisturbed run's (OMP_NUM_THREADS={before} keeps "
            "them)",
            stacklevel=3,
        )
    was, used = checkpoint.state.get("precision"), speed.precision_of(worker.config, worker.device)
    if isinstance(was, str) and was != used:
        warnings.warn(
            f"the run was begun in {was} and goes on in {used}, as --precision auto has it on this "
            f"device; --precision {was} in a new run keeps one throughout",
            stacklevel=3,
        )


def save(worker: Worker, *, finished: bool = False) -> None:
    """Write a checkpoint, once it is known to be sound and the same on all processes."""
    checkpoint, processes = worker.checkpoint(), worker.processes
    weights = checkpoint.weights
    guards.require_finite_weights(weights)
    if processes.size > 1:
        processes.require_equal(
            guards.digest(weights, *worker.memory_rows()), "weights or memories"
        )
    processes.on_main_process(lambda: worker.run.save(weights, checkpoint.state, finished=finished))
