"""The cache on disk: keyed by content and size, whole or absent, shared by processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import cache as module
from msinet_core.data import decode, decoding, images
from msinet_core.data.decoding import Picture, Resize
from msinet_core.data.images import open_images
from msinet_core.errors import ReidError
from msinet_core.locks import Lock

N = 6


@pytest.fixture
def data(tmp_path, images):
    names = [f"{n}.png" for n in range(N)]
    images(tmp_path / "root", names)
    return tmp_path / "root", pd.DataFrame({"path": names})


@pytest.fixture
def open_disk(data, tmp_path):
    def opened(root=data[0], table=data[1], size=(16, 8), **options):
        return open_images(
            table, root, *size, cache="disk", cache_dir=tmp_path / "cache", **options
        )

    return opened


@pytest.fixture
def files(tmp_path):
    return lambda: sorted((tmp_path / "cache").glob("*.u8"))


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*_args):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr(images, "decode_each", fail)


def test_second_opening_decodes_nothing(open_disk, files, no_decoding):
    first = open_disk().read(range(N))
    no_decoding()
    assert (open_disk().read(range(N)) == first).all()
    assert len(files()) == 1
    assert files()[0].stat().st_size == N * 3 * 16 * 8 + N + 16  # pixels, goodness, checksum


def test_the_same_content_elsewhere_finds_it(open_disk, data, files, tmp_path, no_decoding):
    first = open_disk().read(range(N))
    for n in range(N):  # other folder, other names, other times
        (tmp_path / "copy").mkdir(exist_ok=True)
        shutil.copyfile(data[0] / f"{n}.png", tmp_path / "copy" / f"x{n}.png")
    no_decoding()
    renamed = pd.DataFrame({"path": [f"x{n}.png" for n in range(N)]})
    assert (open_disk(tmp_path / "copy", renamed).read(range(N)) == first).all()


def test_other_content_order_or_size_is_another_cache(open_disk, data, files, image):
    open_disk()
    open_disk(size=(8, 16))
    assert len(files()) == 2
    open_disk(table=data[1][::-1].reset_index(drop=True))
    assert len(files()) == 3
    before = (data[0] / "3.png").stat()
    image(data[0] / "sub" / "3.png")
    (data[0] / "3.png").write_bytes((data[0] / "sub" / "3.png").read_bytes())
    os.utime(
        data[0] / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns)
    )  # even with the old time
    changed = open_disk().read([3])[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(changed, decode(data[0] / "3.png", 16, 8))
    assert len(files()) == 4


def test_a_failed_making_leaves_nothing(open_disk, data, tmp_path):
    (data[0] / "2.png").write_bytes(b"")
    with pytest.raises(ReidError, match=r"2\.png"):
        open_disk()
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_killed_process_left_is_neither_used_nor_kept(open_disk, files, tmp_path):
    expected = open_disk().read(range(N))
    target = files()[0]
    target.rename(target.with_name(f"{target.stem}abc.part"))
    assert (open_disk().read(range(N)) == expected).all()
    assert not list(tmp_path.glob("cache/*.part"))
    whole = target.read_bytes()
    target.write_bytes(whole[:-9])  # not by us: a disk that was full, a broken copy
    assert (open_disk().read(range(N)) == expected).all()
    assert target.read_bytes() == whole


def test_a_lock_that_could_not_be_taken_away_goes_with_the_next_use(
    open_disk, files, tmp_path, monkeypatch
):
    unlink = Path.unlink

    def but_locks(self, missing_ok=False):
        if self.suffix == ".lock":
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok)

    with monkeypatch.context() as once:
        once.setattr(Path, "unlink", but_locks)
        open_disk()
    lock = files()[0].with_suffix(".lock")
    assert lock.exists()
    held = Lock(lock)
    assert held.acquire(1.0)
    open_disk()
    assert held.lies_there
    held.release()
    open_disk()
    assert [*(tmp_path / "cache").iterdir()] == files()


@pytest.mark.parametrize("place", [0, 1000, N * 3 * 16 * 8, N * 3 * 16 * 8 + N, -1])
def test_a_file_altered_at_its_size_is_made_anew(open_disk, files, place):
    """Pixels, the marks of good images, and the checksum itself."""
    expected = open_disk().read(range(N))
    whole = bytearray(files()[0].read_bytes())
    altered = whole.copy()
    altered[place] ^= 1
    files()[0].write_bytes(altered)
    reader = open_disk()
    assert len(reader) == N
    assert (reader.read(range(N)) == expected).all()
    assert files()[0].read_bytes() == whole


def test_a_file_under_anothers_name_is_made_anew(open_disk, files, data):
    open_disk()
    turned = data[1][::-1].reset_index(drop=True)
    expected = open_disk(table=turned).read(range(N))
    one, two = files()
    one.write_bytes(two.read_bytes())
    two.write_bytes(one.read_bytes())
    assert (open_disk(table=turned).read(range(N)) == expected).all()


def test_in_several_blocks(open_disk, files, monkeypatch, no_decoding):
    expected = open_disk().read(range(N))
    whole = files()[0].read_bytes()
    files()[0].unlink()
    monkeypatch.setattr(module, "BLOCK", 2 * 3 * 16 * 8 + 1)
    assert (open_disk().read(range(N)) == expected).all()
    assert files()[0].read_bytes()[:-16] == whole[:-16]
    no_decoding()
    assert (open_disk(workers=3).read(range(N)) == expected).all()


def test_images_that_change_while_they_are_decoded_make_no_cache(
    open_disk, data, files, monkeypatch
):
    """Nor those that a failing disk gave only at the second try: the name would be another's."""
    read, path = decoding.read_rgb, data[0] / "3.png"

    def changed(file):
        pixels = read(file)
        path.write_bytes(path.read_bytes() + b"\0")
        return pixels

    monkeypatch.setattr(decoding, "read_rgb", changed)
    with pytest.raises(ReidError, match="images changed, or could not be read"):
        open_disk(workers=1)
    assert not files()
    monkeypatch.setattr(decoding, "read_rgb", read)
    open_disk()
    assert len(files()) == 1
    assert {path.suffix for path in files()[0].parent.iterdir()} == {".u8"}


def test_a_disk_that_fills_up_is_a_sentence(open_disk, tmp_path, monkeypatch):
    """Written, not mapped: SIGBUS would end the process without a word."""

    class Full:
        def __init__(self, path, mode):
            self.path = path
            path.write_bytes(b"")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _):
            raise OSError(28, "No space left on device", str(self.path))

    real = open
    monkeypatch.setattr(
        module, "open", lambda p, mode: (Full if mode == "wb" else real)(p, mode), raising=False
    )
    with pytest.raises(ReidError, match=r"cannot be written.*No space left.*another cache_dir"):
        open_disk()
    assert not list(tmp_path.glob("cache/*.part"))


def test_writing_into_pixels_never_reaches_the_file(open_disk, files):
    reader = open_disk()
    before = files()[0].read_bytes()
    reader._store.zero_()
    assert files()[0].read_bytes() == before


def test_folder_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReidError, match=r"cannot be written in .*file.*pass another cache_dir"):
        open_images(data[1], data[0], 16, 8, cache="disk", cache_dir=tmp_path / "file" / "x")


def test_no_room(open_disk, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(ReidError, match="has no room"):
        open_disk()


def test_auto(monkeypatch, tmp_path):
    shape, size = (10, 3, 16, 8), 10 * 3 * 16 * 8
    usage = shutil.disk_usage("/")
    for memory, disk, expected in (
        (2 * size, 0, "memory"),
        (2 * size - 2, 2 * size, "disk"),
        (size, size, "none"),
    ):
        monkeypatch.setattr(module, "free_memory", lambda value=memory: value)
        monkeypatch.setattr(
            module.shutil, "disk_usage", lambda _, value=disk: usage._replace(free=value)
        )
        assert module.choose(shape, tmp_path / "not" / "there") == expected


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert module.default_dir() == tmp_path / "msinet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.default_dir() == tmp_path / ".cache" / "msinet"


def test_free_memory_is_plausible():
    assert 1 << 26 < module.free_memory() < 1 << 46


def make_at_once(files, folder, barrier, queue):
    """What each of two processes does."""

    def fill(out, start):
        time.sleep(0.3)
        out[:] = np.arange(start, start + len(out), dtype=np.uint8)[:, None, None, None]
        made.append(1)
        return [1]

    made = []
    barrier.wait()
    pixels, good = module.load_or_make(files, Resize(4, 2), fill, folder, 1)
    queue.put((pixels[:, 0, 0, 0].tolist(), good.tolist(), len(made)))


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
@pytest.mark.parametrize("locks", [True, False])
def test_two_processes_at_once(data, tmp_path, monkeypatch, locks):
    """With locks one of them makes the file; where the file system has none, both do, and all is
    well.
    """
    if not locks:

        def flock(*_args):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", flock)
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(2), context.Queue()
    given = ([Picture(data[0] / f"{n}.png") for n in range(N)], tmp_path / "cache", barrier, queue)
    both = [context.Process(target=make_at_once, args=given) for _ in range(2)]
    for process in both:
        process.start()
    said = [queue.get(timeout=30) for _ in both]
    for process in both:
        process.join()
    assert [part[:2] for part in said] == [(list(range(N)), [n != 1 for n in range(N)])] * 2
    assert sum(part[2] for part in said) == (1 if locks else 2)
    assert len(list(tmp_path.glob("cache/*.u8"))) == 1
    assert not list(tmp_path.glob("cache/*.part"))


def test_a_file_made_anew_leaves_its_readers_alone(open_disk, files, tmp_path):
    """Renamed into place, never written in place: what a reader has mapped stays as it was."""
    reader = open_disk()
    before = reader.read(range(N))

    def other(out, _):
        out[:] = 7
        return []

    module._make(files()[0], (N, 3, 16, 8), other)
    assert (reader.read(range(N)) == before).all()
    assert (open_disk().read(range(N)) == 7).all()


def test_other_users_may_read_it(open_disk, files, no_decoding, monkeypatch):
    before = os.umask(0o022)
    try:
        open_disk()
    finally:
        os.umask(before)
    assert files()[0].stat().st_mode & 0o777 == 0o644
    no_decoding()
    monkeypatch.setattr(module, "_one_at_a_time", None)  # theirs is no folder to lock in
    assert len(open_disk()) == N
