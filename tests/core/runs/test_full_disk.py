"""A disk that is full: what was saved stays whole, and the error says where there is no room."""

import io
import os
import subprocess

import pytest
from common import StopAfter, lines_without_clock, same_weights, save, small_training

from msinet_core import ReidError
from msinet_core.config import TrainConfig
from msinet_core.files import write_all
from msinet_core.runs.folder import RunFolder

CONFIG = TrainConfig(epochs=3)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB, and a function that fills it, leaving some bytes free."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small disk with")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")

    def fill(leave=0):
        room = os.statvfs(place)
        (place / "ballast").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - leave)))

    yield place, fill
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_the_checkpoint_and_says_where(small_disk):
    place, fill = small_disk
    run = RunFolder(place / "run")
    with run.writing(CONFIG):
        save(run, 1, 10_000)
        run.append("epoch", epoch=1)
        fill(leave=20_000)
        with pytest.raises(
            ReidError,
            match=rf"{run.path}/checkpoints.*No space left.*mounted at '{place}'.*is whole",
        ):
            save(run, 2, 10_000)
        assert not (run.path / "checkpoints" / "writing").exists()  # its room is free again
        assert run.checkpoint().state["epoch"] == 1
        (place / "ballast").unlink()
        save(run, 2, 10_000)
    assert run.checkpoint().state["epoch"] == 2


def test_a_full_disk_leaves_no_half_lines_and_no_empty_files(small_disk):
    place, fill = small_disk
    run = RunFolder(place / "run")
    with run.writing(CONFIG):
        run.append("epoch", epoch=1)
        scores = dict.fromkeys(
            ("mAP", "rank1", "rank5", "rank10", "mINP", "queries", "counted"), 0.5
        )
        run.write_json("metrics.json", scores)
        fill()
        for _ in range(2):
            with pytest.raises(ReidError, match=r"history\.jsonl.*No space left"):
                run.append("epoch", text="x" * 9000)
        with pytest.raises(ReidError, match=r"metrics\.json.*No space left"):
            run.write_json("metrics.json", {"text": "x" * 9000})
        assert run.metrics() == scores
        assert (run.path / "history.jsonl").read_bytes().endswith(b"}\n")
        (place / "ballast").unlink()
        run.append("epoch", epoch=2)
    assert [line["epoch"] for line in run.lines()] == [1, 2]


@pytest.mark.parametrize("asked", [False, True])
def test_a_training_that_fills_the_disk_goes_on_after_making_room(
    small_disk, tiny_settings, tmp_path, asked
):
    """At the end of an epoch, and when a SIGTERM asks it to save."""
    place, fill = small_disk
    whole = small_training(tiny_settings, tmp_path / "whole")

    def trouble():
        fill()
        return asked

    with pytest.raises(ReidError, match="No space left"):
        small_training(tiny_settings, place / "run", stop=StopAfter(12, trouble))
    run = RunFolder(place / "run")
    assert run.checkpoint().state["epoch"] == 1
    (place / "ballast").unlink()
    small_training(tiny_settings, run.path)
    assert same_weights(whole, run)
    assert lines_without_clock(whole) == lines_without_clock(run)


def test_a_write_that_takes_only_a_part_goes_on_with_the_rest(monkeypatch, tmp_path):
    class Slow(io.FileIO):
        def write(self, data):
            return super().write(bytes(data)[:7])

    with Slow(tmp_path / "x", "w") as file:
        write_all(file, b"0123456789" * 5)
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 5
