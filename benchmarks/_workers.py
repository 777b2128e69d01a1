"""Processes that import once and then do one job after the other, until a clock stops them.

What is next is asked anew whenever a process is free, so that later jobs may depend on what earlier
ones found.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

Work = Callable[[Any], Any]


def _serve(connection: Connection, work: Work, prepare: Callable[[], None]) -> None:
    """A process: a job in, what became of it out."""
    prepare()
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            connection.send((work(job), ""))
        except Exception:  # the others go on
            connection.send((None, traceback.format_exc(limit=-3)))


def carry_out(
    work: Work,
    next_job: Callable[[], Any],
    done: Callable[[Any, Any, str], None],
    *,
    processes: int,
    until: float,
    prepare: Callable[[], None],
    module: str,
) -> bool:
    """`work(job)` in `processes` at once, until there is none left or the clock
    (`time.monotonic()`) says `until`; gives whether all was done.

    next_job(): the next job, None where there is none at present. done(job, result, error): as
    soon as one has ended. What is under way when the time is up is ended, and lost. prepare():
    first thing in each process. module: what all of them import.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([module])
    started: dict[Connection, tuple[Any, Any]] = {}  # the process, and what it is at
    try:
        while True:
            idle = [end for end, (_, job) in started.items() if job is None]
            while time.monotonic() < until and (idle or len(started) < processes):
                job = next_job()
                if job is None:
                    break
                end = idle.pop() if idle else _start(context, work, prepare, started)
                started[end] = started[end][0], job
                end.send(job)
            busy = [end for end, (_, job) in started.items() if job is not None]
            left = until - time.monotonic()
            if not busy or left <= 0:
                return not busy and left > 0
            for end in wait(busy, left):
                process, job = started[end]
                try:
                    result, error = end.recv()
                    started[end] = process, None
                except EOFError:
                    process.join()
                    result, error = None, f"its process ended with {process.exitcode}"
                    del started[end]
                done(job, result, error)
    finally:
        for end, (process, _) in started.items():
            process.kill()
            process.join()
            end.close()


def _start(
    context: Any, work: Work, prepare: Callable[[], None], started: dict[Connection, Any]
) -> Connection:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, prepare), daemon=True)
    process.start()
    theirs.close()
    started[ours] = process, None
    return ours
