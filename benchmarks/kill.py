"""A search and a training, struck down at random moments and resumed each time, against undisturbed
ones.

    python -m benchmarks.kill --kills 20 --signal KILL

Needs Linux (/proc). Prints how often each was struck, and where, and ends with status 1 unless
every run that was struck ends in the same bits as the undisturbed one: weights, alpha, optimisers,
memories, history, genotype and metrics. Each run is forked from this process, which has torch
loaded, so that a stroke costs no start.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a process with threads must not be forked

import argparse
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.errors import Stopped
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.training import train

MEASURED = ("time", "seconds", "images_per_second")  # of the clock, not of the computation
Start = Callable[..., RunFolder]


def photographs(root: Path, identities: int = 12, images: int = 4) -> Path:
    """A manifest of noisy coloured squares, 32 x 32, two cameras; half of the identities are for
    testing.
    """
    rng = np.random.default_rng(0)
    rows = []
    root.mkdir(parents=True)
    for identity in range(identities):
        colour = rng.integers(40, 216, 3)
        for number in range(images):
            pixels = np.clip(colour + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{identity}_{number}.png")
            split = "train" if identity < identities // 2 else "query" if number < 2 else "gallery"
            rows.append((f"{identity}_{number}.png", identity, number % 2, split))
    pd.DataFrame(rows, columns=["path", "identity", "camera", "split"]).to_csv(
        root / "manifest.csv", index=False
    )
    return root


def tasks(root: Path, epochs: int) -> dict[str, tuple[Start, RunConfig]]:
    """A search and a training of a few seconds, with a checkpoint after every second or fourth
    step.
    """
    shared: dict[str, Any] = {
        "root": str(root),
        "height": 32,
        "width": 32,
        "channels": (16, 16, 16, 16),
        "epochs": epochs,
        "identities_per_batch": 2,
        "images_per_identity": 2,
        "device": "cpu",
        "workers": 0,
        "pad": 2,
        "cache": "memory",
    }
    return {
        "search": (search, SearchConfig(**shared, overlap=1.0)),
        "train": (train, TrainConfig(**shared, alignment="pos", evaluate_every=2)),
    }


def fork(start: Start, config: RunConfig, folder: Path) -> int:
    """Run or resume in a child process; gives its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        start(config, folder, resume=RunFolder(folder).exists, progress=False)
        status = 0
    except Stopped:
        status = 0
    except BaseException:  # a forked child must not go on into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def busy(child: int) -> float:
    """Seconds of processor time that a child has had (on Linux): moments then do not depend on what
    else runs.
    """
    return int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) / 1e9


def strike(child: int, number: int, after: float) -> bool:
    """Send the signal after so many seconds of the child's work; whether it was still at work."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _require_success(status)
            return False
        if busy(child) >= after:
            break
        time.sleep(0.001)
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    if not (
        os.WIFSIGNALED(status) and os.WTERMSIG(status) == number
    ):  # SIGTERM, too, while it is still starting
        _require_success(status)
    return True


def _require_success(status: int) -> None:
    if status:
        raise SystemExit(f"a run failed by itself (status {status}); what it said stands above")


def outcome(folder: Path) -> dict[str, Any]:
    """All that two equal runs have in common."""
    run = RunFolder(folder)
    checkpoint = run.checkpoint()
    state = {name: value for name, value in checkpoint.state.items() if name != "history_bytes"}
    lines = [{k: v for k, v in line.items() if k not in MEASURED} for line in run.lines()]
    return {
        "weights": checkpoint.weights,
        "state": state,
        "history": json.dumps(lines),
        "genotype": str(run.genotype()),
        "metrics": run.metrics(),
        "finished": run.finished,
        "files": sorted(p.name for p in folder.iterdir()),
    }


def difference(one: Any, other: Any, name: str = "") -> str | None:
    """Where two values differ in a bit or more; None where they do not."""
    if isinstance(one, torch.Tensor):
        same = (
            isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
        )
        return None if same else name
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{name}: {sorted(map(str, one.keys() ^ other.keys()))}"
        return next((d for k in one if (d := difference(one[k], other[k], f"{name}/{k}"))), None)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return name
        return next(
            (
                d
                for k, pair in enumerate(zip(one, other, strict=True))
                if (d := difference(*pair, f"{name}/{k}"))
            ),
            None,
        )
    return None if one == other else name


def torment(
    start: Start,
    config: RunConfig,
    folder: Path,
    strokes: int,
    signals: Sequence[int],
    rng: random.Random,
) -> dict[str, Any]:
    """Run undisturbed, then again and again with strokes at random moments, until there were
    enough.
    """
    _, status, used = os.wait4(fork(start, config, folder / "whole"), 0)
    _require_success(status)
    duration = used.ru_utime + used.ru_stime
    expected = outcome(folder / "whole")
    places: list[int] = []
    runs = 0
    while len(places) < strokes:
        current = folder / f"struck{runs}"
        while len(places) < strokes:
            number = signals[len(places) % len(signals)]
            if not strike(fork(start, config, current), number, rng.uniform(0, 0.7 * duration)):
                break
            places.append(len(RunFolder(current).lines()))
        _require_success(
            os.waitpid(fork(start, config, current), 0)[1]
        )  # a finished run is left as it is
        differing = difference(expected, outcome(current))
        if differing:
            raise SystemExit(
                f"{config.KIND}: {differing} differs from the undisturbed run after strokes "
                f"at {places}"
            )
        runs += 1
    return {
        "kind": config.KIND,
        "strokes": len(places),
        "runs": runs,
        "seconds": round(duration, 2),
        "at": places,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "TERM", "BOTH"), default="KILL")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = ("KILL", "TERM") if options.signal == "BOTH" else (options.signal,)
    signals = [signal.Signals[f"SIG{name}"] for name in names]
    with tempfile.TemporaryDirectory() as place:
        root = photographs(Path(place) / "photographs")
        for name, (start, config) in tasks(root, 1).items():  # loads what torch loads late
            start(config, Path(place) / f"warm {name}", progress=False)
        for name, (start, config) in tasks(root, options.epochs).items():
            found = torment(
                start,
                config,
                Path(place) / name,
                options.kills,
                signals,
                random.Random(options.seed),
            )
            print(
                f"{found['kind']}: {found['strokes']} times {' or '.join(names)} in "
                f"{found['runs']} runs of {found['seconds']} s of processor time, when the history "
                f"had {found['at']} lines: all bits equal",
                flush=True,
            )


if __name__ == "__main__":
    main()
