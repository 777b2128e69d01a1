"""Experiment trackers: what a run writes into its history is also sent to one of accelerate's."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.worker import Worker

PROJECT = "msinet"
NOT_SENT = ("epoch", "step", "time", "seconds", "name")


def require_tracker(name: str | None) -> None:
    """`ReidError` where the package is missing, or accelerate is too old for it."""
    if name is None:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # slow to import

    if importlib.util.find_spec(name) is None:
        raise ReidError(f"--track {name}: {name} is not installed: pip install {name}")
    if name not in LOGGER_TYPE_TO_CLASS:
        raise ReidError(
            f"--track {name}: this version of accelerate knows no such tracker: "
            "pip install -U accelerate"
        )


@contextmanager
def tracked(worker: Worker) -> Iterator[None]:
    """For as long as it lasts, the numbers of each line of history go to the tracker that the
    configuration names, under their step, as `epoch/loss` or `evaluation/mAP`.

    A tracker that fails ends in a warning, never the run.
    """
    name = worker.config.track
    if name is None or not worker.processes.is_main_process:
        yield
        return
    try:
        tracker = start(name, worker.run)
        tracker.store_init_configuration(_plain(worker.config.to_dict()))
    except Exception as error:  # whatever a foreign service throws
        raise ReidError(f"--track {name} could not be started: {error}") from error

    def send(kind: str, values: Mapping[str, Any]) -> None:
        done = (values["epoch"] - 1) * worker.steps + values.get("step", worker.steps)
        where = f"{kind} {values['name']}" if "name" in values else kind
        numbers = {f"{where}/{key}": value for key, value in values.items() if _is_sent(key, value)}
        try:
            tracker.log(numbers, step=done)
        except Exception as error:
            worker.run.listeners.clear()
            warnings.warn(f"{name} takes no more ({error}); the run goes on", stacklevel=2)

    worker.run.listeners.append(send)
    try:
        yield
    finally:
        worker.run.listeners.clear()
        _finish(tracker, name)


def start(name: str, run: RunFolder) -> Any:
    """accelerate's tracker of that name, begun for a run."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    options: dict[str, dict[str, str]] = {
        "tensorboard": {"run_name": "tracking", "logging_dir": str(run.path)},
        "mlflow": {"experiment_name": PROJECT, "run_name": run.path.name},
        "wandb": {"run_name": PROJECT, "name": run.path.name, "dir": str(run.path)},
        "trackio": {"run_name": PROJECT, "name": run.path.name},
    }
    tracker = LOGGER_TYPE_TO_CLASS[name](**options[name])
    if hasattr(tracker, "start"):  # which older versions did when they were made
        tracker.start()
    return tracker


def _finish(tracker: Any, name: str) -> None:
    try:
        tracker.finish()
    except Exception as error:
        warnings.warn(f"{name} could not be closed ({error})", stacklevel=2)


def _is_sent(key: str, value: Any) -> bool:
    return key not in NOT_SENT and isinstance(value, int | float)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists and None as text, which trackers want."""
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in values.items()
    }
