"""Files and folders whole or not at all, and only where they are ours."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from common import on_posix

from msinet_core import ReidError
from msinet_core.files import (
    MARK,
    OURS,
    clear_leftovers,
    open_to_append,
    own_folder,
    read_bytes,
    read_json,
    replace_file,
    replacing_folder,
    require_own,
    require_regular,
    safe_name,
    whole_folder,
)
from msinet_core.locks import FREE, TAKEN, Lock, look


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, text, kind="answer"):
    with replacing_folder(folder, kind) as place:
        (place / "answer.csv").write_text(text)


def test_a_file_is_replaced_and_nothing_is_left_beside(tmp_path):
    path = tmp_path / "new" / "x.json"
    replace_file(path, "one")
    path.chmod(0o600)
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listing(path.parent) == ["x.json"]


@on_posix
@pytest.mark.parametrize(
    "thing", ["folder", "pipe", "device", "link to a folder", "link to a device"]
)
def test_what_is_no_file_is_never_replaced(tmp_path, thing):
    path = tmp_path / "x"
    if thing == "folder":
        path.mkdir()
    elif thing == "pipe":
        os.mkfifo(path)
    elif thing == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes device nodes")
    else:
        path.symlink_to("/dev/null" if thing.endswith("device") else tmp_path.parent)
    before = os.lstat(path)
    with pytest.raises(ReidError, match="is not replaced"):
        replace_file(path, "x")
    assert os.lstat(path) == before
    for read in (lambda: read_bytes(path, 10), lambda: read_json(path)):
        with pytest.raises(ReidError, match="a regular file is needed"):
            read()
    with pytest.raises(ReidError):
        make(path, "x") if thing not in ("folder", "link to a folder") else replace_file(path, "x")


@on_posix
def test_a_link_to_a_file_is_written_through(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_reading_is_bounded_and_says_what_is_wrong(tmp_path):
    assert read_bytes(tmp_path / "absent", 10) is None
    assert read_json(tmp_path / "absent" / "deeper") is None
    (tmp_path / "x").write_bytes(b"[" * 100_000)
    with pytest.raises(ReidError, match=r"100,000 bytes, more than the 10 "):
        read_bytes(tmp_path / "x", 10)
    with pytest.raises(ReidError, match="not JSON"):
        read_json(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(ReidError, match="not JSON"):
        read_json(tmp_path / "x")
    with pytest.raises(ReidError, match="cannot read"):
        read_bytes(tmp_path / "a\0b", 10)
    for use in (whole_folder, clear_leftovers):
        with pytest.raises(ReidError, match="cannot be a path"):
            use(tmp_path / "a\0b")


@on_posix
def test_a_pipe_is_never_said_to_be_absent(tmp_path):
    from msinet_core.config import read_genotype
    from msinet_core.data import load_dataset
    from msinet_core.retrieval.onnx_model import OnnxModel

    for name in ("manifest.csv", "genotype.json", "network.onnx"):
        os.mkfifo(tmp_path / name)
    for read in (
        lambda: load_dataset("manifest", tmp_path),
        lambda: load_dataset("manifest", tmp_path / "manifest.csv"),
        lambda: read_genotype(tmp_path / "genotype.json"),
        lambda: OnnxModel(tmp_path / "network.onnx"),
    ):
        with pytest.raises(ReidError, match="is a named pipe; a regular file is needed here"):
            read()


def test_a_folder_is_replaced_whole_and_only_by_its_kind(tmp_path):
    target = tmp_path / "result"
    for text in ("one", "two"):
        make(target, text)
        assert (target / "answer.csv").read_text() == text
        assert json.loads((target / MARK).read_text()) == {"kind": "answer", "format": 1}
    with pytest.raises(
        ReidError, match=r"holds an answer \(answer\.csv\) and is not replaced by a store"
    ):
        make(target, "three", "store")

    def fail():
        with replacing_folder(target, "answer") as place:
            (place / "answer.csv").write_text("half")
            (tmp_path.parent / "absent").read_text()

    with pytest.raises(FileNotFoundError):
        fail()
    assert (target / "answer.csv").read_text() == "two"
    assert listing(tmp_path) == ["result"]


def test_folders_of_others_are_left_alone(tmp_path):
    empty, theirs, both = (tmp_path / name for name in ("empty", "theirs", "both"))
    for folder in (empty, theirs, both):
        folder.mkdir()
    (theirs / "thesis.tex").write_text("years")
    (both / "result.json").write_text("{}")
    (both / "thesis.tex").write_text("years")
    make(empty, "x")
    for folder in (theirs, both, tmp_path):
        with pytest.raises(ReidError, match=r"other things .* is not replaced"):
            make(folder, "x", "result")
    assert (theirs / "thesis.tex").read_text() == (both / "thesis.tex").read_text() == "years"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReidError, match="is a file"):
        make(tmp_path / "file", "x")


@pytest.mark.parametrize(
    "kind, names",
    [
        ("store", ["features-0000.npy", "files.jsonl", "store.json", "table.jsonl"]),
        (
            "result",
            ["features.safetensors", "gallery.jsonl", "query.jsonl", "result.json"],
        ),
    ],
)
def test_results_and_stores_without_a_mark_are_known(tmp_path, kind, names):
    target = tmp_path / "old"
    target.mkdir()
    for name in names:
        (target / name).write_text("")
    with pytest.raises(ReidError, match="is not replaced by a report"):
        make(target, "x", "report")
    make(target, "x", kind)
    assert listing(target) == [MARK, "answer.csv"]


def test_what_was_put_beside_our_own_files_is_not_replaced_with_them(tmp_path):
    for kind, name in (("store", "store.json"), ("result", "result.json"), ("index", "index.json")):
        target = tmp_path / kind
        for _ in range(2):
            with replacing_folder(target, kind) as place:
                (place / name).write_text("{}")
        (target / "notes.txt").write_text("theirs")
        with pytest.raises(ReidError, match=r"other things \(notes\.txt\)"):
            require_own(target, kind)
        with pytest.raises(ReidError, match="is not replaced"), replacing_folder(target, kind):
            pass
        assert listing(target) == sorted([MARK, name, "notes.txt"])


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    "theirs", ["notes.txt", "mine/notes.txt", "checkpoints/notes.txt", "mine/"]
)
def test_at_any_depth_and_in_every_kind_of_folder(tmp_path, kind, theirs):
    with replacing_folder(tmp_path / "x", kind):
        pass
    require_own(tmp_path / "x", kind)
    put = tmp_path / "x" / theirs
    (put if theirs.endswith("/") else put.parent).mkdir(parents=True, exist_ok=True)
    if not theirs.endswith("/"):
        put.write_text("theirs")
    with pytest.raises(ReidError, match=r"(notes\.txt|mine/)\) and is not replaced by an? "):
        require_own(tmp_path / "x", kind)


def test_of_a_kind_that_nobody_described_nothing_is_replaced(tmp_path):
    with replacing_folder(tmp_path / "x", "novelty") as place:
        (place / "page.txt").write_text("x")
    with pytest.raises(ReidError, match="is not replaced"):
        require_own(tmp_path / "x", "novelty")


def test_a_folder_that_grows_is_marked_as_ours(tmp_path):
    target = tmp_path / "trust"
    for _ in range(2):
        assert own_folder(target, "diagnosis") == target
        replace_file(target / "gap.csv", "x")
    (target / MARK).unlink()
    (target / "verdicts.json").write_text("[]")  # as older versions left it
    own_folder(target, "diagnosis")
    assert listing(target) == [MARK, "gap.csv", "verdicts.json"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "gap.csv").write_text("theirs")
    for kind in ("diagnosis", "store"):
        with pytest.raises(ReidError, match="is not replaced"):
            own_folder(tmp_path / "photos", kind)
    assert listing(tmp_path / "photos") == ["gap.csv"]


def test_a_lock_that_could_not_be_taken_away_goes_with_the_next_use(tmp_path, monkeypatch):
    def but_locks(self, missing_ok=False):
        if self.name.endswith("lock"):
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok)

    unlink = Path.unlink
    with monkeypatch.context() as once:
        once.setattr(Path, "unlink", but_locks)
        own_folder(tmp_path / "trust", "diagnosis")
    assert len(listing(tmp_path / "trust")) == 2
    own_folder(tmp_path / "trust", "diagnosis")
    assert listing(tmp_path / "trust") == [MARK]


def test_a_lock_whose_removal_is_refused_once_goes_at_once(tmp_path, monkeypatch):
    def not_at_first(self, missing_ok=False):
        if self.name.endswith("lock") and not refused:
            refused.append(self)
            raise OSError(errno.EIO, "Input/output error", str(self))
        unlink(self, missing_ok)

    unlink, refused = Path.unlink, []
    monkeypatch.setattr(Path, "unlink", not_at_first)
    replace_file(tmp_path / "a", "x")
    assert refused
    assert listing(tmp_path) == ["a"]


def test_adding_to_a_file(tmp_path):
    for text in (b"one", b"two"):
        with open_to_append(tmp_path / "log") as file:
            file.write(text)
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReidError, match="is a folder"):
        open_to_append(tmp_path / "folder")


@on_posix
def test_a_pipe_is_not_added_to_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name, what in (("pipe", "a named pipe"), ("device", "a device")):
        with pytest.raises(ReidError, match=what):
            open_to_append(tmp_path / name)
        with pytest.raises(ReidError, match=what):
            require_regular(tmp_path / name)
    with pytest.raises(ReidError, match="cannot read"):
        require_regular(tmp_path / "absent")


KILLED = """
import os, sys
from pathlib import Path
from msinet_core.files import replacing_folder
moment, target = sys.argv[1], Path(sys.argv[2])
renames = [0]
rename = Path.rename
def killing(self, other):
    renames[0] += 1
    if moment == f"before rename {renames[0]}":
        os._exit(9)
    rename(self, other)
    if moment == f"after rename {renames[0]}":
        os._exit(9)
Path.rename = killing
with replacing_folder(target, "answer") as place:
    (place / "answer.csv").write_text("new")
    if moment == "writing":
        os._exit(9)
"""
MOMENTS = ["writing", *(f"{when} rename {n}" for n in (1, 2) for when in ("before", "after"))]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_the_old_or_the_new(tmp_path, moment):
    target = tmp_path / "result"
    make(target, "old")
    for _ in range(2):  # litter does not grow
        command = [sys.executable, "-c", KILLED, moment, str(target)]
        assert subprocess.run(command, check=False).returncode == 9
        assert len(listing(tmp_path)) <= 4
        text = (whole_folder(target) / "answer.csv").read_text()
        assert text == ("new" if moment == "after rename 2" else "old")
        shutil.rmtree(target / "nothing", ignore_errors=True)
        if moment == "after rename 2":
            break
    make(target, "next")
    assert (target / "answer.csv").read_text() == "next"
    assert listing(tmp_path) == ["result"]


def test_what_a_kill_left_beside_a_whole_folder_goes(tmp_path):
    target = tmp_path / "result"
    make(target, "old")
    command = [sys.executable, "-c", KILLED, "after rename 2", str(target)]
    assert subprocess.run(command, check=False).returncode == 9
    assert ".result.msinet-old" in listing(tmp_path)
    lock = Lock(tmp_path / ".result.msinet-lock")
    assert lock.acquire(0.0)
    clear_leftovers(target)  # somebody is writing it
    assert ".result.msinet-old" in listing(tmp_path)
    lock.release(remove=True)
    clear_leftovers(target)
    assert listing(tmp_path) == ["result"]
    assert (target / "answer.csv").read_text() == "new"
    (tmp_path / ".result.msinet-lock").touch()  # of a writer that was killed at its very end
    clear_leftovers(target)
    assert listing(tmp_path) == ["result"]
    clear_leftovers(tmp_path / "nothing")


def test_a_reader_meets_a_whole_folder_while_it_is_swapped(tmp_path):
    target, ended = tmp_path / "result", threading.Event()
    make(target, "0")

    def write():
        for number in range(30):
            make(target, str(number))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not ended.is_set():
        # One opened before a swap lies aside for the moment and goes away at its end.
        with suppress(FileNotFoundError):
            (whole_folder(target) / "answer.csv").read_text()
        assert whole_folder(target) == target
        reads += 1
    writer.join()
    assert reads


def test_two_writers_of_one_file_or_folder(tmp_path):
    def write(text):
        for _ in range(20):
            replace_file(tmp_path / "x", text * 10_000)

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set((tmp_path / "x").read_text()) in ({"a"}, {"b"})
    assert listing(tmp_path) == ["x"]
    with (
        replacing_folder(tmp_path / "y", "answer"),
        pytest.raises(ReidError, match="being written by another process"),
    ):
        make(tmp_path / "y", "x")


@pytest.mark.parametrize(
    "text", ["../../etc", "a/b", "a\\b", "..", ".", "", "c:d", "nul", "CON.txt", "a\0b", "x" * 300]
)
def test_names_from_outside_become_one_name(text):
    name = safe_name(text)
    assert name
    assert ".." not in name
    assert not set("/\\:\0") & set(name)
    assert len(name) < 120
    assert name not in (".", "..", "nul", "CON.txt")


def test_plain_names_stay_and_different_ones_stay_different():
    assert safe_name("market1501 (2. try)_ä") == "market1501 (2. try)_ä"
    assert len({safe_name(text) for text in ("a/b", "a\\b", "a_b", "a:b")}) == 4


@on_posix  # where an open file can be moved
def test_a_lock_knows_whether_it_lies_there(tmp_path):
    path = tmp_path / ".lock"
    assert look(path) == FREE
    lock = Lock(path)
    assert lock.acquire(0)
    assert look(path) == TAKEN
    assert not Lock(path).acquire(0)
    lock.check()
    path.rename(tmp_path / "moved")
    with pytest.raises(ReidError, match="moved, deleted or begun anew"):
        lock.check()
    other = Lock(path)
    assert other.acquire(0)
    with pytest.raises(ReidError, match="moved, deleted or begun anew"):
        lock.check()
    other.release(remove=True)
    lock.release()
    assert listing(tmp_path) == ["moved"]


def test_a_lock_takes_no_other_away(tmp_path):
    lock = Lock(tmp_path / ".lock")
    assert lock.acquire(0)
    lock.path.unlink()
    lock.path.write_text("another's")
    lock.release(remove=True)
    assert lock.path.read_text() == "another's"
    lock = Lock(tmp_path / "own")
    assert lock.acquire(0)
    lock.release(remove=True)
    assert not lock.path.exists()
