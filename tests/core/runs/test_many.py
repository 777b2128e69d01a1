"""Several seeds of one run at once, from the command line: each a process that can go on."""

import signal
import subprocess
import sys
import time

import pytest
from common import NARROW, flags

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.many import ManyRuns, tail

SMALL = flags({name: value for name, value in NARROW.items() if name != "epochs"})


@pytest.fixture
def search(tiny_dataset, tmp_path, monkeypatch):
    """The words of a search of two seeds, into the folder that is also given."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: the number decides bits
    run = tmp_path / "runs"
    data = ["--data", "manifest", "--root", str(tiny_dataset.root)]
    seeds = ["--seeds", "3", "4", "--jobs", "2", "--quiet"]
    return ["search", *data, *SMALL, "--run", str(run), *seeds], run


def test_each_seed_is_the_run_that_it_is_alone(search, tmp_path, capsys):
    words, run = search
    assert main([*words, "--epochs", "1", "--overlap", "1"]) == 0
    said = capsys.readouterr().out
    alone = tmp_path / "alone"
    cut = words.index("--seeds")
    plain = [*words[:cut], "--run", str(alone), "--seed", "4", "--quiet"]
    assert main([*plain, "--epochs", "1", "--overlap", "1"]) == 0
    for seed in (3, 4):
        folder = RunFolder(run / f"seed-{seed}")
        assert folder.finished
        assert folder.config().seed == seed
        assert str(folder.path) in said
    one, other = (RunFolder(path).checkpoint().weights for path in (run / "seed-4", alone))
    assert all(one[name].equal(other[name]) for name in other)
    # Once more: what has finished is taken as it is.
    before = (run / "seed-3" / "history.jsonl").stat().st_mtime_ns
    assert main([*words, "--epochs", "1", "--overlap", "1", "--resume"]) == 0
    assert (run / "seed-3" / "history.jsonl").stat().st_mtime_ns == before


def test_a_stop_saves_all_and_resume_goes_on_with_all(search, capsys):
    words, run = search
    words = [*words, "--epochs", "300", "--overlap", "1"]
    command = [sys.executable, "-m", "msinet_core.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    folders = [RunFolder(run / f"seed-{seed}") for seed in (3, 4)]
    end = time.monotonic() + 60
    while not all(len(folder.epochs()) for folder in folders) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--seeds 3 4" in said
    assert "--resume" in said
    for folder in folders:
        assert folder.has_checkpoint()
        assert not folder.finished
        assert folder.writer_pid() is None
    again = subprocess.Popen(
        [*command[:3], "search", "--run", str(run), "--seeds", "3", "4", "--resume"]
    )
    done = [len(folder.epochs()) for folder in folders]
    end = time.monotonic() + 60
    while len(folders[0].epochs()) <= done[0] and time.monotonic() < end:
        time.sleep(0.1)
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 130
    assert len(folders[0].epochs()) > done[0]


def test_a_run_that_fails_is_named_and_the_others_are_finished(search, capsys):
    words, run = search
    (run / "seed-3").mkdir(parents=True)
    (run / "seed-3" / "config.json").write_text("{}")
    assert main([*words, "--epochs", "1", "--overlap", "1"]) == 2
    said = capsys.readouterr().err
    assert "1 of 2 runs failed: seed-3: error:" in said
    assert RunFolder(run / "seed-4").finished


def test_no_jobs(search, tmp_path):
    with pytest.raises(ReidError, match="got --jobs 0"):
        ManyRuns({tmp_path: ["search"]}, 0)


def test_tail_of_a_progress_bar(tmp_path):
    path = tmp_path / "terminal.txt"
    assert tail(path) == ""
    path.write_bytes(b"one\n 1/2\r 2/2\n\n")
    assert tail(path) == " 2/2"
