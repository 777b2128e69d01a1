"""The run panel drives real processes over tiny photographs: start, stop, resume, fail."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from common import on_posix

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.runs.folder import RunFolder
from msinet_core.space import PAPER_GENOTYPE, Genotype
from msinet_lab.panels import RunPanel, RunsPanel, TrainPanel
from msinet_lab.panels.run import time_left
from msinet_lab.panels.small_runs import (
    command_of,
    ensure_run,
    evaluate_run,
    example_manifest,
    genotypes_in,
    labelled,
    run_folder,
    run_table,
    runs_in,
    searches_in,
)


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def config(tiny_settings):
    return SearchConfig(**{**tiny_settings, "epochs": 400})


@pytest.fixture
def ended():
    """Panels whose processes, if any, end with the test, however it ends."""
    panels = []
    yield panels.append
    for panel in panels:
        if panel.process is not None and panel.process.poll() is None:
            panel.process.kill()
            panel.process.wait(30)
        panel.close()


def test_start_stop_resume_and_reattach(tmp_path, config, status, ended):
    folder = tmp_path / "run"
    panel = RunPanel(folder, command_of(config), poll=0.1)
    ended(panel)
    assert panel.stop_button.disabled
    assert panel.resume_button.disabled
    panel.start_button.click()
    assert "started process" in status(panel)
    until(lambda: panel.bar.value >= 2)
    assert "running" in panel.state.value
    assert panel.start_button.disabled
    first = panel.pictures["curves"].value
    until(lambda: panel.pictures["curves"].value != first)

    # A new kernel: another panel finds the same process, and does not start a second one.
    pid = panel.run.writer_pid()
    other = RunPanel(folder, command_of(config), poll=0.1)
    ended(other)
    assert f"process {pid}" in other.state.value
    other.attempt(other.start)
    assert "already running" in status(other)
    until(lambda: other.bar.value > panel.bar.min + 2)

    other.stop_button.click()
    until(lambda: other.run.writer_pid() is None and "stopped" in other.state.value)
    done = other.bar.value
    assert done < 400
    assert not other.resume_button.disabled
    other.resume_button.click()
    until(lambda: other.bar.value > done)
    other.stop()
    until(lambda: not other.alive)


ANOTHER = """
import sys
from msinet_lab.panels import RunPanel
panel = RunPanel(sys.argv[1], sys.argv[2:], poll=60)
panel.attempt(panel.start)
print(panel.status.value, panel.state.value, panel.process, flush=True)
panel.attempt(panel.stop)
print(panel.status.value, flush=True)
"""


def test_start_in_two_notebooks_starts_one_process(tmp_path, config, status, ended):
    """While the first is only starting, which takes seconds and in which it holds no lock yet."""
    folder = tmp_path / "run"
    panel = RunPanel(folder, command_of(config), poll=60)
    ended(panel)
    panel.attempt(panel.start)
    assert panel.run.writer_pid() is None
    os.kill(panel.process.pid, signal.SIGSTOP)  # it starts for as long as we like
    words = [sys.executable, "-c", ANOTHER, str(folder), *command_of(config)]
    told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "just starting" in told
    assert "another notebook" in told
    assert "None</b>" not in told
    assert "process None" not in told
    assert told.split("\n")[0].endswith("None")  # it has no process of its own
    assert panel.process.poll() is None
    os.kill(panel.process.pid, signal.SIGCONT)
    until(lambda: panel.run.writer_pid() is not None)
    assert panel.run.writer_pid() == panel.process.pid
    panel.attempt(panel.stop)
    assert "stopping" in panel.state.value  # at once
    assert panel.stop_button.disabled
    until(lambda: not panel.alive)
    panel.attempt(panel.draw)
    assert "stopping" not in panel.state.value
    assert not (folder / ".starting").exists()


def test_stop_waits_for_no_drawing(tmp_path, config, ended, monkeypatch):
    """It asks, and says so, while a drawing holds the panel."""
    panel = RunPanel(tmp_path / "run", command_of(config), poll=60)
    ended(panel)
    panel.attempt(panel.start)
    until(lambda: panel.run.writer_pid() is not None)
    panel.attempt(panel.draw)
    os.kill(panel.process.pid, signal.SIGSTOP)  # so that it does not end meanwhile
    seen = []

    def slow():
        press = threading.Thread(target=panel.stop_button.click)
        press.start()
        until((panel.run.path / "stop").exists, 5)
        seen.extend((panel.state.value, panel.stop_button.disabled, press))

    panel.attempt(slow)
    state, disabled, press = seen
    assert "stopping" in state
    assert disabled
    os.kill(panel.process.pid, signal.SIGCONT)
    press.join()
    until(lambda: not panel.alive)
    panel.attempt(panel.draw)
    assert ">stopped<" in panel.state.value or ">finished<" in panel.state.value


def test_what_is_only_starting_elsewhere_is_stopped_once_it_writes(tmp_path, status):
    """No process is signalled by a panel that did not start it."""
    from msinet_core.locks import Lock

    folder = tmp_path / "run"
    folder.mkdir()
    claim = Lock(folder / ".starting")
    assert claim.acquire(0)
    panel = RunPanel(folder, ["search"], poll=60)
    assert "starting" in panel.state.value
    assert panel.start_button.disabled
    panel.attempt(panel.stop)
    assert "once it has begun" in status(panel)
    assert "stopping" in panel.state.value
    claim.release(remove=True)
    panel.attempt(panel.draw)
    assert "not started" in panel.state.value
    panel.close()


def test_a_stranger_named_in_the_folder_is_never_signalled(tmp_path, status, monkeypatch):
    """`pid` may hold any number, of a dead run, another program or -1, which means everybody."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    sent = []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, lambda *what: sent.append(what), raising=False)
    try:
        for number in (stranger.pid, -1, os.getpid()):
            (tmp_path / "pid").write_text(str(number))
            panel = RunPanel(tmp_path, ["search"], poll=60)
            panel.attempt(panel.stop)
            assert "nothing is running" in status(panel)
            panel.close()
        assert stranger.poll() is None
        assert not sent
    finally:
        monkeypatch.undo()
        stranger.kill()
        stranger.wait(30)


def test_another_process_is_asked_not_signalled(tmp_path, config, status, ended, monkeypatch):
    folder = tmp_path / "run"
    panel = RunPanel(folder, command_of(config), poll=60)
    ended(panel)
    panel.attempt(panel.start)
    assert "starting" in panel.state.value
    assert f"process {panel.process.pid}" in panel.state.value
    until(lambda: panel.run.writer_pid() is not None and len(panel.run.lines()))
    panel.attempt(panel.draw)
    assert "running" in panel.state.value
    watcher = RunPanel(folder, poll=60)
    monkeypatch.setattr(os, "kill", lambda *_: 1 / 0)
    watcher.attempt(watcher.stop)
    assert f"asked process {panel.process.pid} to save and stop" in status(watcher)
    monkeypatch.undo()
    assert panel.process.wait(120) in (0, 130, 143, -signal.SIGTERM)
    watcher.attempt(watcher.draw)
    assert "stopped" in watcher.state.value
    assert "None" not in watcher.state.value
    watcher.close()


def test_a_command_that_fails_says_why(tmp_path, status):
    panel = RunPanel(
        tmp_path / "run",
        ["search", "--data", "manifest", "--root", str(tmp_path / "nowhere")],
        poll=0.1,
    )
    panel.start_button.click()
    until(lambda: "error-color" in panel.status.value)
    words = status(panel, error=True)
    assert "ended with code 2" in words
    assert "nowhere" in words
    assert "not started" in panel.state.value
    panel.close()


def test_watching_only(tmp_path, status):
    panel = RunPanel(tmp_path / "run", poll=0.1)
    assert panel.start_button.disabled
    assert all(panel.pictures[part].value for part in ("curves", "weights"))
    panel.attempt(panel.start)
    assert "without a command" in status(panel, error=True)
    panel.attempt(panel.resume)
    assert "nothing to resume" in status(panel, error=True)
    panel.attempt(panel.stop)
    assert "nothing is running" in status(panel)
    panel.close()


@on_posix
def test_a_log_that_is_a_pipe_is_not_waited_for(tmp_path, status):
    for name in ("log.txt", "terminal.txt"):
        os.mkfifo(tmp_path / name)
    panel = RunPanel(tmp_path, ["train"], poll=1000)
    assert panel.last_words.value == ""
    panel.attempt(panel.start)
    assert "named pipe" in status(panel, error=True)
    panel.close()


def test_a_finished_run_is_shown_and_not_started_again(
    tmp_path, tiny_settings, tiny_dataset, status
):
    run = ensure_run(SearchConfig(**tiny_settings), tmp_path, tiny_dataset)
    panel = RunPanel(run.path, command_of(run.config()))
    assert "finished" in panel.state.value
    assert panel.bar.value == panel.bar.max == 2
    panel.begin()
    assert panel.process is None
    assert panel.wait(1).finished
    panel.attempt(panel.start)
    assert "holds a run already" in status(panel, error=True)
    panel.close()


def test_what_another_notebook_computes_is_waited_for(
    tmp_path, tiny_settings, tiny_dataset, ended, capsys
):
    config = SearchConfig(**{**tiny_settings, "epochs": 3})
    panel = RunPanel(run_folder(tmp_path, config), command_of(config), poll=60)
    ended(panel)
    panel.attempt(panel.start)
    until(lambda: panel.run.writer_pid() is not None)
    os.kill(panel.process.pid, signal.SIGSTOP)  # it takes as long as we like
    found, said = [], ""
    second = threading.Thread(target=lambda: found.append(ensure_run(config, tmp_path)))
    second.start()
    end = time.monotonic() + 60
    while "waiting until" not in said:
        assert time.monotonic() < end
        said += capsys.readouterr().out
    assert f"process {panel.process.pid} is computing {panel.run.path.name}" in said
    os.kill(panel.process.pid, signal.SIGCONT)
    second.join()
    assert found[0].path == panel.run.path
    assert found[0].finished
    assert len(found[0].epochs()) == 3


def watchers():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "msinet run watch" and thread.is_alive()
    ]


def test_a_panel_that_is_closed_is_not_watched(tmp_path):
    until(lambda: not watchers(), 30)
    panel = RunPanel(tmp_path / "run", poll=0.02)
    assert len(watchers()) == 1
    again = RunPanel(tmp_path / "run", poll=0.02)  # the cell run again
    until(lambda: len(watchers()) == 1, 30)
    again.close()
    until(lambda: not watchers(), 30)
    assert not panel.alive


def test_time_left():
    lines = [{"seconds": 10.0, "time": time.time()} for _ in range(3)]
    assert time_left(lines, 6, True) == ", about 30 s left"
    assert "min" in time_left(lines, 100, True)
    assert "h left" in time_left(lines, 10_000, True)
    assert time_left(lines, 3, True) == time_left([], 3, True) == time_left(lines, 6, False) == ""


def test_training_with_a_genotype_of_choice(tmp_path, tiny_settings, tiny_dataset, status):
    settings = TrainConfig(**{**tiny_settings, "epochs": 1, "genotype": str(PAPER_GENOTYPE)})
    panel = TrainPanel(tmp_path, settings, {"search": Genotype.uniform("exchange")}, poll=0.2)
    paper = panel.pictures["network"].value, panel.run.path
    panel.choice.value = "search"
    assert panel.pictures["network"].value != paper[0]
    assert panel.run.path != paper[1]
    assert str(Genotype.uniform("exchange")) in panel.command
    panel.choice.value = "my own (text below)"
    assert not panel.own.disabled
    panel.own.value = "nonsense"
    assert "12" in status(panel, error=True) or "unknown operation" in status(panel, error=True)
    panel.own.value = str(PAPER_GENOTYPE)
    status(panel)
    assert panel.run.path == paper[1]
    run = ensure_run(settings, tmp_path, tiny_dataset)
    assert run.path == panel.run.path
    panel.attempt(panel.draw)
    assert "finished" in panel.state.value
    assert evaluate_run(run, tiny_dataset).metrics()["mAP"] == pytest.approx(run.metrics()["mAP"])
    panel.close()


def test_runs_on_drawn_data_say_what_was_drawn(tmp_path):
    """And not the folder's name, which is that of a published data set."""
    runs = {}
    for domain, content in (("A", '"seed": 3'), ("B", '"seed": 3'), ("C", '"seed"')):
        place = tmp_path / domain / "Market-1501-v15.09.15"
        place.mkdir(parents=True)
        record = f'{{"kind": "people", "domain": "{domain}", {content}}}'
        (place / "generated.json").write_text(record)
        run = RunFolder(tmp_path / "runs" / domain)
        with run.writing(SearchConfig(data="market1501", root=str(place))):
            runs[domain] = run
    assert list(labelled(runs)) == [
        "search, seed 0, data generated people, domain A, seed 3",
        "search, seed 0, data generated people, domain B, seed 3",
        "search, seed 0, data Market-1501-v15.09.15",  # whose record is damaged
    ]


def test_command_round_trip(tiny_settings):
    import tyro

    config = SearchConfig(
        **{**tiny_settings, "stratify_by_camera": True, "milestones": (1, 5), "cache_dir": "x y"}
    )
    words = command_of(config)
    assert words[0] == "search"
    assert "--temperature" not in words
    assert tyro.cli(SearchConfig, args=words[1:]) == config


def test_tables_of_runs(tmp_path, tiny_settings, tiny_dataset):
    config = SearchConfig(**tiny_settings)
    run = ensure_run(config, tmp_path / "a", tiny_dataset)
    before = run.path.stat().st_mtime_ns
    assert ensure_run(config, tmp_path / "a").path.stat().st_mtime_ns == before  # taken as it is
    name = f"a/{run.path.name}"
    assert name.startswith("a/search-seed-0-")
    assert list(runs_in(tmp_path)) == [name]
    assert list(searches_in(tmp_path)) == ["search, seed 0"]
    assert genotypes_in(tmp_path) == {"search, seed 0": run.genotype()}
    other = tmp_path / "b"
    for place, changed in (("longer", {"epochs": 40}), ("copy", {}), ("seed", {"seed": 3})):
        with RunFolder(other / place).writing(replace(config, **changed)):
            pass
    assert set(searches_in(tmp_path)) == {
        f"search, seed 0, epochs 2, in {name}",
        "search, seed 0, epochs 2, in b/copy",
        "search, seed 0, epochs 40",
        "search, seed 3, epochs 2",
    }
    shutil.rmtree(other)
    table = run_table(tmp_path)
    assert table.loc["search, seed 0", ["state", "folder"]].tolist() == ["finished", name]
    others = {
        run_folder("x", replace(config, **change))
        for change in ({"epochs": 9}, {"seed": 1}, {"root": "/b"}, {"device": "auto"})
    }
    assert len(others) == 4
    assert run_folder("x", replace(config, device="auto")) == run_folder("x", config)
    assert run_table(tmp_path / "nothing").empty


def test_runs_of_a_table_are_shown_over_each_other(tmp_path, tiny_settings, status):
    lines = [{"epoch": e, "train_loss": 3.0 / e, "alphas": np.eye(12, 4).tolist()} for e in (1, 2)]
    for seed, epochs in ((0, 2), (1, 4)):
        config = SearchConfig(**{**tiny_settings, "seed": seed, "epochs": epochs})
        with (run := RunFolder(tmp_path / f"run{seed}")).writing(config):
            for line in lines:
                run.append("epoch", **line)
    panel = RunsPanel(tmp_path)
    status(panel)
    one = panel.pictures["curves"].value
    assert len(panel.chosen) == 1
    number = next(n for n, name in enumerate(panel.runs) if name not in panel.chosen)
    panel.click(f"run-{number}", None)
    assert sorted(panel.chosen) == ["search, seed 0, epochs 2", "search, seed 1, epochs 4"]
    assert panel.pictures["curves"].value != one
    assert "<td>4</td>" in panel.different.value
    assert "height" not in panel.different.value  # the same in both
    plain = panel.pictures["curves"].value
    panel.smoothing.value = 0.8
    status(panel)
    assert panel.pictures["curves"].value.count("<path") > plain.count("<path")
    panel.click(f"run-{number}", None)
    assert len(panel.chosen) == 1
    assert panel.different.value == ""
    status(RunsPanel(tmp_path / "nothing"))


def test_example_manifest(tmp_path, tiny_dataset):
    from msinet_core.data import load_dataset

    dataset = load_dataset("manifest", example_manifest(tiny_dataset, tmp_path / "made" / "m.csv"))
    assert len(dataset) == len(tiny_dataset)
    assert not dataset.has_cameras
    assert not (tmp_path / "made" / "images").is_symlink()
    first = dataset.table["path"].iloc[0]
    source = tiny_dataset.root / first.removeprefix("images/")
    assert (dataset.root / first).read_bytes() == source.read_bytes()
