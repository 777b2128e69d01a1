"""Run folders that were tampered with, and two that write into one."""

import fcntl
import hashlib
import json
import os
import threading
import time

import pytest
import torch
from common import Attack, save

from msinet_core import Genotype, ReidError
from msinet_core.config import TrainConfig
from msinet_core.runs.folder import Onlooker, RunFolder

CONFIG = TrainConfig(epochs=3)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    ["{", "{}", "[]", '{"sha256": {}}', '{"sha256": {"../../config.json": "0"}}', '{"sha256": 3}'],
)
def test_a_checkpoints_table_of_contents_that_was_altered(run, content):
    with run.writing(CONFIG):
        save(run, 1)
    (run.path / "checkpoints/last/checkpoint.json").write_text(content)
    with pytest.raises(ReidError, match=r"checkpoint\.json.*(altered|not JSON)"):
        run.checkpoint()


def test_a_strangers_checkpoint_runs_no_code(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with run.writing(CONFIG):
        save(run, 1)
    folder = run.path / "checkpoints" / "last"
    torch.save({"epoch": Attack()}, folder / "state.pt")
    about = json.loads((folder / "checkpoint.json").read_text())
    about["sha256"]["state.pt"] = hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()
    # the stranger made all of the folder
    (folder / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(ReidError, match="foreign code"):
        run.checkpoint()
    assert not (tmp_path / "attacked").exists()


def test_a_folder_from_before_a_setting_existed_is_read(run):
    with run.writing(CONFIG):
        pass
    path = run.path / "config.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "accumulate"})
    )
    assert run.config() == CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "spoon": 1}))
    with pytest.raises(ReidError, match="another version"):
        run.config()


def test_what_a_killed_process_was_just_writing_is_cleared(run):
    run.path.mkdir()
    for name in (".config.json.4711", ".genotype.json.12"):
        (run.path / name).write_text("{")
    with run.writing(CONFIG):
        pass
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "pid"]


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
    with (run.path / "pid").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as a reader does, for a moment
        threading.Timer(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with run.writing(CONFIG, resume=True):
            assert reader.writer_pid() == os.getpid()
            with (
                pytest.raises(ReidError, match=f"in use by process {os.getpid()}"),
                Reader(run.path).writing(CONFIG),
            ):
                pass


def test_onlookers_write_nothing(tmp_path):
    run = Onlooker(tmp_path / "run")
    run.append("step", loss=1.0)
    run.log("x")
    run.save({}, {})
    run.write_json("metrics.json", {})
    run.write_genotype(Genotype.uniform("none"))
    run.rewind_history(3)
    assert not run.path.exists()
