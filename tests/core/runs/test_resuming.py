"""Runs that are struck down, or whose clock or data change, and what resuming them gives."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from common import PROJECT, StopAfter, lines_without_clock, same_weights, small_training
from PIL import Image

from msinet_core import ReidError
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import Stopped
from msinet_core.runs import stopping
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.stopping import Stop
from msinet_core.search import search
from msinet_core.training import train


def test_struck_at_random_moments_and_resumed_gives_the_same_bits():
    words = [
        sys.executable,
        "-m",
        "benchmarks.kill",
        "--kills",
        "4",
        "--signal",
        "BOTH",
        "--epochs",
        "3",
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        words,
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all bits equal") == 2


def test_a_signal_handed_on_by_a_launcher_is_one_request(monkeypatch):
    stop = Stop()
    with stop.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop
        monkeypatch.setattr(stopping, "SAME_REQUEST", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("lost", ["schedule", "weights"])
def test_a_checkpoint_of_another_version_is_refused(tiny_settings, tmp_path, lost):
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "run", stop=StopAfter(1))
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint()
    weights = {
        "old." * (lost == "weights") + name: value for name, value in checkpoint.weights.items()
    }
    with run.writing(run.config(), resume=True):
        run.save(weights, {name: value for name, value in checkpoint.state.items() if name != lost})
    with pytest.raises(ReidError, match="another version"):
        small_training(tiny_settings, run.path)


def test_a_half_written_line_and_lines_after_the_checkpoint_are_done_again(tiny_settings, tmp_path):
    whole = small_training(tiny_settings, tmp_path / "whole")
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "parts", stop=StopAfter(3))
    parts = RunFolder(tmp_path / "parts")
    with (parts.path / "history.jsonl").open("a") as file:
        file.write('{"kind": "step", "epoch": 1, "step": 4, "loss": 7}\n{"kind": "ep')
    small_training(tiny_settings, parts.path)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)


def test_a_clock_that_jumps_changes_nothing(tiny_settings, tmp_path, monkeypatch):
    straight = small_training(tiny_settings, tmp_path / "straight")
    jumps = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(0, 4e9))
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "jumping", stop=StopAfter(5))
    jumping = small_training(tiny_settings, tmp_path / "jumping")
    assert same_weights(straight, jumping)
    assert lines_without_clock(straight) == lines_without_clock(jumping)
    times = [line["time"] for line in jumping.lines()]
    assert times != sorted(times)


def test_an_image_that_was_replaced_is_noticed_on_resume(tiny_settings, tiny_dataset, tmp_path):
    root = tmp_path / "photographs"
    (root / "images").mkdir(parents=True)
    for path in tiny_dataset.table["path"]:
        (root / path).write_bytes((tiny_dataset.root / path).read_bytes())
    tiny_dataset.table.to_csv(root / "manifest.csv", index=False)
    settings = {**tiny_settings, "root": str(root)}
    for kind, start, config in (
        ("train", train, TrainConfig(**settings)),
        ("search", search, SearchConfig(**settings)),
    ):
        with pytest.raises(Stopped):
            start(config, tmp_path / kind, progress=False, stop=StopAfter(1))
    path = root / tiny_dataset.train["path"].iloc[3]
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    for kind, start, config in (
        ("train", train, TrainConfig(**settings)),
        ("search", search, SearchConfig(**settings)),
    ):
        with pytest.raises(ReidError, match=r"data changed.*replaced"):
            start(config, tmp_path / kind, progress=False, resume=True)
