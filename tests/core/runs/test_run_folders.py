"""Run folders that were tampered with, and two that write into one."""

import errno
import hashlib
import json
import os
import shutil
import threading
import time
import warnings
from contextlib import ExitStack

import pytest
import torch
from common import Attack, on_posix, save

from msinet_core import Genotype, ReidError
from msinet_core.config import TrainConfig
from msinet_core.files import replacing_folder
from msinet_core.locks import UNKNOWN, Lock
from msinet_core.runs import folder
from msinet_core.runs import locks as runs_locks
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
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.json"]


def test_what_a_save_could_not_delete_is_cleared_by_the_next_writer(run):
    with run.writing(CONFIG):
        save(run, 1)
    for name in ("writing", "leaving"):
        (run.path / "checkpoints" / name).mkdir()
        (run.path / "checkpoints" / name / "state.pt").write_text("half")
    with run.writing(CONFIG, resume=True):
        pass
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["last"]


@on_posix
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
    lock = Lock(run.path / ".lock")
    assert lock.acquire(0)  # as a reader does, for a moment
    threading.Timer(0.05, lock.release).start()
    with run.writing(CONFIG, resume=True):
        assert run.writer_pid() == os.getpid()
        with (
            pytest.raises(ReidError, match=f"in use by process {os.getpid()}"),
            RunFolder(run.path).writing(CONFIG),
        ):
            pass
    assert run.writer_pid() is None


def test_a_run_of_an_older_version_that_goes_on_keeps_its_folder(run):
    """Those locked the file `pid`."""
    with run.writing(CONFIG):
        pass
    (run.path / "pid").write_text("4711")
    old = Lock(run.path / "pid")
    assert old.acquire(0)
    assert run.writer_pid() == 4711
    with (
        pytest.raises(ReidError, match="in use by process 4711"),
        run.writing(CONFIG, resume=True),
    ):
        pass
    old.release()
    with run.writing(CONFIG, resume=True):
        save(run, 1)


@on_posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_warned_of_once(run, number, monkeypatch):
    def flock(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        with run.writing(CONFIG):
            save(run, 1)
            run.append("step", loss=1.0)
            assert run.writer_pid() == os.getpid()
            assert "running" in repr(run)
        assert run.writer_pid() is None
        assert "stopped" in repr(run)
    said = [str(w.message) for w in caught if "no locks" in str(w.message)]
    assert len(said) == 1
    assert str(run.path) in said[0]
    assert "second process" in said[0]


@on_posix  # where an open file's folder can be moved
@pytest.mark.parametrize("what", ["moved", "deleted", "begun anew"])
def test_who_lost_the_folder_writes_no_more(run, tmp_path, what):
    def lose():
        if what == "deleted":
            shutil.rmtree(run.path)
        else:
            run.path.rename(tmp_path / "elsewhere")

    other = RunFolder(run.path)
    with ExitStack() as stack:
        stack.enter_context(run.writing(CONFIG))
        save(run, 1)
        lose()
        if what == "begun anew":
            stack.enter_context(other.writing(CONFIG))
            save(other, 7)
        for write in (
            lambda: save(run, 2),
            lambda: run.append("step", loss=1.0),
            lambda: run.log("x"),
            lambda: run.write_json("metrics.json", {}),
        ):
            with pytest.raises(ReidError, match="moved, deleted or begun anew"):
                write()
        if what == "begun anew":
            assert other.checkpoint().state["epoch"] == 7
            assert other.writer_pid() == os.getpid()
            save(other, 8)
    if what == "moved":
        assert RunFolder(tmp_path / "elsewhere").checkpoint().state["epoch"] == 1
    assert run.path.exists() == (what == "begun anew")


def test_a_folder_with_other_things_is_no_place_for_a_run(run):
    run.path.mkdir()
    for name in ("config.json", "metrics.json"):
        (run.path / name).write_text('{"theirs": 1}')
        with pytest.raises(ReidError, match=r"another version|holds metrics\.json and is no run"):
            run.writing(CONFIG).__enter__()
        assert json.loads((run.path / name).read_text()) == {"theirs": 1}
        (run.path / name).unlink()
    (run.path / "notes.txt").write_text("theirs")
    with run.writing(CONFIG):
        pass
    assert (run.path / "notes.txt").read_text() == "theirs"


@pytest.mark.parametrize("name", ["log.txt", "failure.json", "stop", "pid", "tracking"])
def test_files_of_others_under_names_of_ours_are_neither_added_to_nor_deleted(run, name):
    run.path.mkdir()
    (run.path / name).write_text("theirs")
    with pytest.raises(ReidError, match=f"holds {name} and is no run folder"):
        run.writing(CONFIG).__enter__()
    assert (run.path / name).read_text() == "theirs"


def test_a_run_that_was_killed_at_its_very_start_is_begun_again(run):
    run.path.mkdir()
    (run.path / "pid").write_text("12345")
    (run.path / "stop").write_text("")
    with run.writing(CONFIG):
        save(run, 1)
    assert not (run.path / "stop").exists()


@pytest.mark.parametrize("name", ["file", "file/below", "link", "a\0b"])
def test_a_place_that_cannot_be_a_folder_is_one_sentence(tmp_path, name):
    (tmp_path / "file").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(ReidError, match=r"(is a file, where a folder is to be|null)") as error:
        RunFolder(tmp_path / name).writing(CONFIG).__enter__()
    assert "room" not in str(error.value)
    assert (tmp_path / "file").read_text() == "theirs"


def test_a_request_to_stop_reaches_who_writes(run, monkeypatch):
    with pytest.raises(ReidError, match="no process writes"):
        run.ask_to_stop()
    monkeypatch.setattr(folder, "LOOK_EVERY", 0.0)
    with run.writing(CONFIG):
        assert not run.stop_asked()
        RunFolder(run.path).ask_to_stop()
        assert run.stop_asked()
    assert not (run.path / "stop").exists()
    (run.path / "stop").write_text("")  # to a process that was killed
    with run.writing(CONFIG):
        assert not run.stop_asked()


@on_posix
def test_what_is_no_file_stops_no_reader(run):
    with run.writing(CONFIG):
        save(run, 1)
    for name in ("history.jsonl", "genotype.json", "metrics.json", "pid"):
        os.mkfifo(run.path / name)
    assert run.writer_pid() is None
    for read in (run.lines, run.genotype, run.metrics):
        with pytest.raises(ReidError, match="named pipe"):
            read()
    assert "named pipe" in repr(run)


@on_posix
def test_what_is_no_file_stops_no_writer(run):
    for name in ("history.jsonl", "log.txt"):
        with run.writing(CONFIG):
            os.mkfifo(run.path / name)
            with pytest.raises(ReidError, match="named pipe"):
                _ = run.append("step") if name == "history.jsonl" else run.log("x")
        (run.path / name).unlink()


@pytest.mark.parametrize("number", ["-1", "0", "-2147483648", "1.5", "x", "", "9" * 40])
def test_a_number_that_is_no_process(run, number, monkeypatch):
    """Where there are no locks the number alone tells who writes."""
    with run.writing(CONFIG):
        save(run, 1)
    (run.path / "pid").write_text(number)
    monkeypatch.setattr(runs_locks, "look", lambda path: UNKNOWN)
    assert run.writer_pid() is None


def test_a_folder_of_another_kind_is_no_place_for_a_run(run):
    with replacing_folder(run.path, "store") as place:
        (place / "store.json").write_text("{}")
    with pytest.raises(ReidError, match=r"holds \.msinet and is no run folder"):
        run.writing(CONFIG).__enter__()


def test_onlookers_write_nothing(tmp_path):
    run = Onlooker(tmp_path / "run")
    run.append("step", loss=1.0)
    run.log("x")
    run.save({}, {})
    run.write_json("metrics.json", {})
    run.write_genotype(Genotype.uniform("none"))
    run.rewind_history(3)
    assert not run.path.exists()
