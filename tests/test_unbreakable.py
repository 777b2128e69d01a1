"""What may go wrong around a run, and what is left then: a clear error or a safe recovery."""

import ast
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from msinet_core import Genotype, ReidError, loop, runs
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import load_dataset
from msinet_core.loop import Stop, Stopped
from msinet_core.runs import Onlooker, RunFolder
from msinet_core.search import ContrastiveMemory, search
from msinet_core.training import train
from msinet_core.training import train as train_module

PROJECT = Path(__file__).parent.parent
CONFIG = TrainConfig(epochs=3)
MEASURED = ("time", "seconds", "images_per_second")
training_room = sys.modules[train_module.__module__]


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def save(run, value, size=3, **options):
    run.save({"w": torch.full((size,), float(value))}, {"epoch": value}, **options)


def small_training(settings, folder, stop=None, **changes):
    config = TrainConfig(**{**settings, "channels": (16, 16, 16, 16), "identities_per_batch": 4, **changes})
    return train(config, folder, progress=False, stop=stop, resume=RunFolder(folder).has_checkpoint())


def same_weights(one, other):
    first, second = one.checkpoint().weights, other.checkpoint().weights
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def lines_without_clock(run):
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in run.lines()]


class AfterSteps(Stop):
    """Calls `action` at the end of a step, counted from 1; asks for a stop if that returns true."""

    def __init__(self, step, action=lambda: True):
        super().__init__()
        self.left, self.action = step, action

    def __bool__(self):
        self.left -= 1
        return self.left == 0 and bool(self.action())


# -- struck down --------------------------------------------------------------------------------------


def test_struck_at_random_moments_and_resumed_gives_the_same_bits():
    words = [sys.executable, "-m", "benchmarks.kill", "--kills", "4", "--signal", "BOTH", "--epochs", "3"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all bits equal") == 2


def test_a_signal_handed_on_by_a_launcher_is_one_request(monkeypatch):
    stop = Stop()
    with stop.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop
        monkeypatch.setattr(loop, "SAME_REQUEST", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# -- a folder that was tampered with ------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", '{"sha256": {}}', '{"sha256": {"../../config.json": "0"}}', '{"sha256": 3}']
)
def test_a_checkpoints_table_of_contents_that_was_altered(run, content):
    with run.writing(CONFIG):
        save(run, 1)
    (run.path / "checkpoints/last/checkpoint.json").write_text(content)
    with pytest.raises(ReidError, match=r"checkpoint\.json.*(altered|not JSON)"):
        run.checkpoint()


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def test_a_strangers_checkpoint_runs_no_code(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with run.writing(CONFIG):
        save(run, 1)
    folder = run.path / "checkpoints" / "last"
    torch.save({"epoch": Attack()}, folder / "state.pt")
    about = json.loads((folder / "checkpoint.json").read_text())
    about["sha256"]["state.pt"] = hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps(about))  # the stranger made all of the folder
    with pytest.raises(ReidError, match="foreign code"):
        run.checkpoint()
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("lost", ["schedule", "weights"])
def test_a_checkpoint_of_another_version_is_refused(tiny_settings, tmp_path, lost):
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "run", stop=AfterSteps(1))
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint()
    weights = {"old." * (lost == "weights") + name: value for name, value in checkpoint.weights.items()}
    with run.writing(run.config(), resume=True):
        run.save(weights, {name: value for name, value in checkpoint.state.items() if name != lost})
    with pytest.raises(ReidError, match="another version"):
        small_training(tiny_settings, run.path)


def test_a_folder_from_before_a_setting_existed_is_read(run):
    with run.writing(CONFIG):
        pass
    path = run.path / "config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "accumulate"}))
    assert run.config() == CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "spoon": 1}))
    with pytest.raises(ReidError, match="another version"):
        run.config()


def test_a_half_written_line_and_lines_after_the_checkpoint_are_done_again(tiny_settings, tmp_path):
    whole = small_training(tiny_settings, tmp_path / "whole")
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "parts", stop=AfterSteps(3))
    parts = RunFolder(tmp_path / "parts")
    with (parts.path / "history.jsonl").open("a") as file:
        file.write('{"kind": "step", "epoch": 1, "step": 4, "loss": 7}\n{"kind": "ep')
    small_training(tiny_settings, parts.path)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)


def test_what_a_killed_process_was_just_writing_is_cleared(run):
    run.path.mkdir()
    for name in (".config.json.4711", ".genotype.json.12"):
        (run.path / name).write_text("{")
    with run.writing(CONFIG):
        pass
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "pid"]


# -- two writers --------------------------------------------------------------------------------------


def test_of_two_that_start_together_one_writes(run):
    def write():
        status = 3
        try:
            with run.writing(CONFIG):
                time.sleep(1.0)  # nothing is written yet that the other could see
                run.append("step", loss=1.0)
            status = 0
        except ReidError:
            status = 2
        finally:
            os._exit(status)

    children = []
    for _ in range(2):
        children.append(os.fork())
        if not children[-1]:
            write()
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(ended) == [0, 2]
    assert len(run.lines()) == 1


def test_a_reader_that_asks_who_writes_is_not_taken_for_a_writer(run):
    with run.writing(CONFIG):
        pass
    held = []

    class Reader(RunFolder):
        def writer_pid(self):
            held.append(1)
            return super().writer_pid()

    reader = Reader(run.path)
    assert reader.writer_pid() is None
    import fcntl
    import threading

    with (run.path / "pid").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as a reader does, for a moment
        threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with run.writing(CONFIG, resume=True):
            assert reader.writer_pid() == os.getpid()
            with pytest.raises(ReidError, match=f"in use by process {os.getpid()}"), Reader(run.path).writing(CONFIG):
                pass


# -- clock and data -----------------------------------------------------------------------------------


def test_a_clock_that_jumps_changes_nothing(tiny_settings, tmp_path, monkeypatch):
    straight = small_training(tiny_settings, tmp_path / "straight")
    jumps = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: jumps.uniform(0, 4e9))
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "jumping", stop=AfterSteps(5))
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
            start(config, tmp_path / kind, progress=False, stop=AfterSteps(1))
    path = root / tiny_dataset.train["path"].iloc[3]
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    for kind, start, config in (
        ("train", train, TrainConfig(**settings)),
        ("search", search, SearchConfig(**settings)),
    ):
        with pytest.raises(ReidError, match=r"data changed.*replaced"):
            start(config, tmp_path / kind, progress=False, resume=True)


# -- numbers that are none ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_leaves_a_report(tiny_settings, tmp_path, monkeypatch):
    true_loss, calls = training_room.training_loss, []

    def loss(output, labels, **options):
        calls.append(1)
        if len(calls) == 6:  # the second step of the second epoch
            output.global_logits.data[0, 0] = float("inf")
        return true_loss(output, labels, **options)

    monkeypatch.setattr(training_room, "training_loss", loss)
    with pytest.raises(ReidError, match=r"not finite in epoch 2 after step 1 .*failure\.json"):
        small_training(tiny_settings, tmp_path / "run", images_per_identity=4)
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint()
    assert checkpoint.state["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in checkpoint.weights.values())
    report = json.loads((run.path / "failure.json").read_text())
    assert (report["epoch"], report["steps_done"]) == (2, 1)
    assert report["learning_rates"] == [pytest.approx(0.065, rel=1)]
    assert len(report["batch"]["train"]) == 16
    assert all((Path(tiny_settings["root"]) / path).is_file() for path in report["batch"]["train"])
    assert not report["weight_norms"]["not_finite"]  # looked at before the step that would have spoilt them
    assert report["gradient_norms"]["not_finite"]
    assert report["values"]["loss"] in ("nan", "inf")
    monkeypatch.setattr(training_room, "training_loss", true_loss)
    small_training(tiny_settings, run.path, images_per_identity=4)  # goes on from there
    assert not (run.path / "failure.json").exists()
    whole = small_training(tiny_settings, tmp_path / "whole", images_per_identity=4)
    assert same_weights(run, whole)


@pytest.mark.parametrize("side", [0, 1])
def test_a_search_loss_that_is_not_finite(tiny_settings, tmp_path, monkeypatch, side):
    true_loss, calls = ContrastiveMemory.loss, []

    def loss(self, x, y):
        calls.append(1)
        value = true_loss(self, x, y)
        return value * float("nan") if len(calls) == 4 + side else value  # step 1: one loss; then two each

    monkeypatch.setattr(ContrastiveMemory, "loss", loss)
    with pytest.raises(ReidError, match=("validation_loss", "train_loss")[side] + " is not finite in epoch 1 after step 2"):
        search(SearchConfig(**tiny_settings, overlap=1.0), tmp_path / "run", progress=False)
    report = json.loads((tmp_path / "run/failure.json").read_text())
    assert len(report["batch"]["train"]) == len(report["batch"]["validation"]) == 4
    assert len(report["learning_rates"]) == 2
    assert not RunFolder(tmp_path / "run").has_checkpoint()


def test_spoilt_weights_are_not_saved(tiny_settings, tmp_path):
    """Weights tell of a spoilt gradient one step before the loss does."""
    worker = []
    true_init = training_room.Training.__init__

    def init(self, *words, **options):
        true_init(self, *words, **options)
        worker.append(self)

    def spoil():
        next(worker[0].model.parameters()).data.mul_(float("inf"))
        return True

    training_room.Training.__init__ = init
    try:
        with pytest.raises(ReidError, match="not finite"):
            small_training(tiny_settings, tmp_path / "run", stop=AfterSteps(1, spoil))
    finally:
        training_room.Training.__init__ = true_init
    assert not RunFolder(tmp_path / "run").has_checkpoint()


# -- a full disk --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB, and a function that fills it, leaving some bytes free."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True, check=False
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
        with pytest.raises(ReidError, match=rf"{run.path}/checkpoints.*No space left.*mounted at '{place}'.*is whole"):
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
        run.write_json("metrics.json", {"mAP": 0.5})
        fill()
        for _ in range(2):
            with pytest.raises(ReidError, match=r"history\.jsonl.*No space left"):
                run.append("epoch", text="x" * 9000)
        with pytest.raises(ReidError, match=r"metrics\.json.*No space left"):
            run.write_json("metrics.json", {"text": "x" * 9000})
        assert run.metrics() == {"mAP": 0.5}
        assert (run.path / "history.jsonl").read_bytes().endswith(b"}\n")
        (place / "ballast").unlink()
        run.append("epoch", epoch=2)
    assert [line["epoch"] for line in run.lines()] == [1, 2]


@pytest.mark.parametrize("asked", [False, True])
def test_a_training_that_fills_the_disk_goes_on_after_making_room(small_disk, tiny_settings, tmp_path, asked):
    """At the end of an epoch, and when a SIGTERM asks it to save."""
    place, fill = small_disk
    whole = small_training(tiny_settings, tmp_path / "whole")

    def trouble():
        fill()
        return asked

    with pytest.raises(ReidError, match="No space left"):
        small_training(tiny_settings, place / "run", stop=AfterSteps(12, trouble))
    run = RunFolder(place / "run")
    assert run.checkpoint().state["epoch"] == 1
    (place / "ballast").unlink()
    small_training(tiny_settings, run.path)
    assert same_weights(whole, run)
    assert lines_without_clock(whole) == lines_without_clock(run)


def test_a_write_that_takes_only_a_part_goes_on_with_the_rest(monkeypatch, tmp_path):
    class Slow(runs.io.FileIO):
        def write(self, data):
            return super().write(bytes(data)[:7])

    with Slow(tmp_path / "x", "w") as file:
        runs.write_all(file, b"0123456789" * 5)
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 5


# -- strangers' files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "/etc/secret.png", "a\0b.png"])
def test_names_in_manifests_and_lists_cannot_leave_their_folder(tmp_path, path):
    root = tmp_path / "data"
    rows = [("inside.png", 0, 0, "train"), (path, 1, 0, "train")]
    root.mkdir()
    table = pd.DataFrame(rows, columns=["path", "identity", "camera", "split"])
    if "\0" not in path:  # which no CSV can hold
        for name, source in (("manifest.csv", "manifest"), ("metadata.csv", "table")):
            table.to_csv(root / name, index=False)
            with pytest.raises(ReidError, match=r"secret\.png.*outside of"):
                load_dataset(source, root)
    (root / "VehicleID/image").mkdir(parents=True)
    (root / "VehicleID/train_test_split").mkdir()
    for name in ("train_list.txt", "test_list_800.txt"):
        (root / "VehicleID/train_test_split" / name).write_text(f"inside 1\n{path.removesuffix('.png')} 2\n")
    with pytest.raises(ReidError, match="outside of"):
        load_dataset("vehicleid", root)
    msmt = root / "MSMT17_V1"
    for folder in ("train", "test"):
        (msmt / folder).mkdir(parents=True)
    line = f"{path.removesuffix('.png')}/0000/0000_000_01_0303morning_0008_0.jpg 0\n"
    for name in ("train", "val", "query", "gallery"):
        (msmt / f"list_{name}.txt").write_text(line)
    with pytest.raises(ReidError, match="outside of"):
        load_dataset("msmt17", root)


def test_absolute_and_dotted_names_that_stay_inside_are_taken(tmp_path):
    rows = [("./a.png", 0, "train"), ("x/../b.png", 0, "train"), (str(tmp_path / "c..d.png"), 0, "train")]
    pd.DataFrame(rows, columns=["path", "identity", "split"]).to_csv(tmp_path / "manifest.csv", index=False)
    assert len(load_dataset("manifest", tmp_path)) == 3


def calls(path):
    """(dotted name, keywords) of every call in a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_nothing_unpickles_or_executes_what_it_reads():
    sources = [*(PROJECT / "msinet_core").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]
    loads = 0
    for path in sources:
        for name, keywords in calls(path):
            leaf = name.rsplit(".", 1)[-1]
            if name == "torch.load":
                loads += 1
                assert keywords.get("weights_only") == "True", path
            assert keywords.get("allow_pickle", "False") == "False", path
            assert name not in ("eval", "exec", "compile", "__import__"), (path, name)
            assert leaf not in ("Unpickler", "read_pickle", "unsafe_load", "extractall", "gather_object",
                                "broadcast_object_list", "all_gather_object"), (path, name)  # fmt: skip
            assert not (leaf in ("load", "loads") and name.split(".")[0] in ("pickle", "joblib", "dill", "marshal", "yaml"))
    assert loads >= 2  # the test sees them


def test_jupyter_is_started_on_loopback_with_its_token():
    """JupyterLab's own defaults; nothing of ours may widen them."""
    for path in [PROJECT / "Makefile", *(PROJECT / "notebooks").glob("*.ipynb"), *(PROJECT / "msinet_core").rglob("*.py")]:
        text = path.read_text()
        for word in ("0.0.0.0", "ServerApp.ip", "--ip", "NotebookApp.token", "ServerApp.token", "IdentityProvider.token"):
            assert word not in text, (path, word)


def test_onlookers_write_nothing(tmp_path):
    run = Onlooker(tmp_path / "run")
    run.append("step", loss=1.0)
    run.log("x")
    run.save({}, {})
    run.write_json("metrics.json", {})
    run.write_genotype(Genotype.uniform("none"))
    run.rewind_history(3)
    assert not run.path.exists()
