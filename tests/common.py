"""What tests of several rooms share and no fixture could give; also for scripts of tests."""

import os
import sys
from pathlib import Path

import pytest
import torch

from msinet_core.config import TrainConfig
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.stopping import Stop
from msinet_core.training import train

PROJECT = Path(__file__).parent.parent
TINY = {  # configuration fields of a run over tiny photographs that takes a second or two
    "height": 32,
    "width": 32,
    "channels": (16, 64, 64, 64),
    "epochs": 2,
    "identities_per_batch": 2,
    "images_per_identity": 2,
    "device": "cpu",
    "workers": 0,
    "pad": 2,
}
NARROW = {**TINY, "channels": (16, 16, 16, 16)}
MEASURED = ("time", "seconds", "images_per_second")


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="forks, or reads /proc")
on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such thing")


def flags(settings):
    """Configuration fields as words of the command line."""
    words = []
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        words += ["--" + name.replace("_", "-"), *map(str, values)]
    return words


class StopAfter(Stop):
    """Calls `action` at the end of a step, counted from 1; asks for a stop if that returns true."""

    def __init__(self, step, action=lambda: True):
        super().__init__()
        self.left, self.action = step, action

    def __bool__(self):
        self.left -= 1
        return self.left == 0 and bool(self.action())


class Attack:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


def save(run, value, size=3, **options):
    """A checkpoint of a few numbers."""
    run.save({"w": torch.full((size,), float(value))}, {"epoch": value}, **options)


def small_training(settings, folder, stop=None, **changes):
    """A training of seconds, begun or taken up again where its folder has a checkpoint."""
    config = TrainConfig(
        **{**settings, "channels": (16, 16, 16, 16), "identities_per_batch": 4, **changes}
    )
    return train(
        config, folder, progress=False, stop=stop, resume=RunFolder(folder).has_checkpoint()
    )


def same_weights(one, other):
    first, second = one.checkpoint().weights, other.checkpoint().weights
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def lines_without_clock(run):
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in run.lines()]
