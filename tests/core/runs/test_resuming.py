"""Runs that are struck down, or whose clock or data change, and what resuming them gives."""

import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from common import (
    PROJECT,
    StopAfter,
    lines_without_clock,
    on_linux,
    on_posix,
    same_weights,
    small_training,
)

from msinet_core import ReidError
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import Stopped
from msinet_core.runs import folder, stopping
from msinet_core.runs.fingerprint import sizes_hash
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.stopping import Stop
from msinet_core.search import search
from msinet_core.training import train


@on_linux
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


@on_posix
def test_a_signal_handed_on_by_a_launcher_is_one_request(monkeypatch):
    stop = Stop()
    with stop.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop
        monkeypatch.setattr(stopping, "SAME_REQUEST", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("lost", ["optimizer", "weights"])
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


def test_the_number_of_threads_is_recorded_and_a_change_is_told(tiny_settings, tmp_path):
    """Sums are split among threads, so that their number decides the last bits."""
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "run", stop=StopAfter(1))
    run, count = RunFolder(tmp_path / "run"), torch.get_num_threads()
    assert run.checkpoint().state["threads"] == count
    assert f"started on cpu with {count} thread" in (run.path / "log.txt").read_text()
    told = f"begun with {count} thread.*OMP_NUM_THREADS={count}"
    torch.set_num_threads(count + 1)
    try:
        with pytest.warns(UserWarning, match=told), pytest.raises(Stopped):
            small_training(tiny_settings, run.path, stop=StopAfter(1))
    finally:
        torch.set_num_threads(count)


@pytest.fixture
def begun(tiny_settings, tiny_dataset, tmp_path):
    """A folder of photographs of one's own, and a function that goes on with runs begun on it."""
    root = tmp_path / "photographs"
    (root / "images").mkdir(parents=True)
    for path in tiny_dataset.table["path"]:
        (root / path).write_bytes((tiny_dataset.root / path).read_bytes())
    tiny_dataset.table.to_csv(root / "manifest.csv", index=False)
    configs = {
        train: TrainConfig(**{**tiny_settings, "root": str(root)}),
        search: SearchConfig(**{**tiny_settings, "root": str(root)}),
    }
    for work, config in configs.items():
        with pytest.raises(Stopped):
            work(config, tmp_path / config.KIND, progress=False, stop=StopAfter(1))

    def go_on(work, **options):
        config = configs[work]
        return work(config, tmp_path / config.KIND, progress=False, resume=True, **options)

    return SimpleNamespace(root=root, go_on=go_on)


def test_an_image_that_was_replaced_is_noticed_on_resume(begun, tiny_dataset):
    """Also by one of the same size."""
    path = begun.root / tiny_dataset.train["path"].iloc[3]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    for work in (train, search):
        with pytest.raises(ReidError, match=r"data changed.*replaced"):
            begun.go_on(work)
    path.write_bytes(content)
    for work in (train, search):
        with pytest.raises(Stopped):
            begun.go_on(work, stop=StopAfter(1))


def test_relabelled_test_rows_are_noticed_on_resume(begun, tiny_dataset):
    table = tiny_dataset.table.copy()
    row = table.index[table["split"] == "gallery"][2]
    for column, value in (("identity", 9), ("camera", 7), ("split", "query")):
        table.assign(**{column: table[column].where(table.index != row, value)}).to_csv(
            begun.root / "manifest.csv", index=False
        )
        with pytest.raises(ReidError, match=r"data changed.*to test with"):
            begun.go_on(train)


def test_of_an_older_run_sizes_are_compared(begun, tiny_dataset, tmp_path):
    run = RunFolder(tmp_path / "train")
    files = [begun.root / path for path in tiny_dataset.train["path"]]
    with run.writing(run.config(), resume=True):
        checkpoint = run.checkpoint()
        state = {k: v for k, v in checkpoint.state.items() if k not in ("contents", "test")}
        run.save(checkpoint.weights, {**state, "files": sizes_hash(files)})
    content = files[3].read_bytes()
    files[3].write_bytes(content + b"!")
    with pytest.raises(ReidError, match=r"data changed.*replaced"):
        begun.go_on(train)
    files[3].write_bytes(content)
    assert begun.go_on(train).finished


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.ones(2)), "opt"),
        (lambda state: state.update(step=10**6), "does not have"),
        (lambda state: state.update(epoch=-1), "does not have"),
        (lambda state: state.update(epoch="1"), "another version"),
        (lambda state: state.update(random=torch.ones(3)), "another version"),
    ],
)
def test_a_state_that_does_not_fit_reaches_no_optimiser(begun, tmp_path, damage, message):
    run = RunFolder(tmp_path / "train")
    with run.writing(run.config(), resume=True):
        checkpoint = run.checkpoint()
        damage(checkpoint.state)
        run.save(checkpoint.weights, checkpoint.state)
    with pytest.raises(ReidError, match=message):
        begun.go_on(train)


def test_a_request_in_the_folder_stops_a_run(tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LOOK_EVERY", 0.0)
    run = RunFolder(tmp_path / "run")

    def ask():
        RunFolder(run.path).ask_to_stop()
        return False

    with pytest.raises(Stopped, match="asked to stop"):
        small_training(tiny_settings, run.path, stop=StopAfter(3, ask))
    assert run.checkpoint().state["step"] == 4
    assert small_training(tiny_settings, run.path).finished
