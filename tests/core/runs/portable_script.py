"""What `test_portable.py` starts: `python portable_script.py PHOTOGRAPHS FOLDER`, in a world that
has no `fcntl`, no `resource` and no `/proc`, and where processes are spawned.

The head of this file makes that world; spawned processes run it too.
"""

import builtins
import importlib
import io
import multiprocessing
import os
import pkgutil
import sys
import time
from pathlib import Path

MISSING = ("fcntl", "resource")


def without_proc(function):
    def wrapper(path, *args, **kwargs):
        if isinstance(path, str | bytes | os.PathLike):
            text = os.fsdecode(path)
            if text == "/proc" or text.startswith("/proc/"):
                raise FileNotFoundError(2, "No such file or directory", text)
        return function(path, *args, **kwargs)

    return wrapper


def hide():
    for name in MISSING:
        sys.modules[name] = None
    for module, name in (
        (builtins, "open"),
        (io, "open"),
        *((os, name) for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink")),
    ):
        setattr(module, name, without_proc(getattr(module, name)))


if __name__ in ("__main__", "__mp_main__"):  # not where pytest looks for doctests
    hide()

from msinet_core.config import SearchConfig, TrainConfig  # noqa: E402
from msinet_core.errors import Stopped  # noqa: E402
from msinet_core.runs import RunFolder  # noqa: E402
from msinet_core.runs.stopping import Stop  # noqa: E402

SETTINGS = {
    "height": 32,
    "width": 32,
    "channels": (16, 16, 16, 16),
    "epochs": 2,
    "identities_per_batch": 2,
    "images_per_identity": 2,
    "device": "cpu",
    "workers": 1,
    "cache": "disk",
}


class Leisure(Stop):
    """A rest after every step, so that a request to stop finds the run at work."""

    def __bool__(self):
        time.sleep(0.1)
        return super().__bool__()


def start(kind, root, folder, resume=False, stop=None):
    from msinet_core.search import search
    from msinet_core.training import train

    make, work = {"search": (SearchConfig, search), "train": (TrainConfig, train)}[kind]
    config = make(**SETTINGS, root=root, cache_dir=f"{folder}-cache")
    return work(config, folder, resume=resume, progress=False, stop=stop)


def child(kind, root, folder):
    try:
        start(kind, root, folder, stop=Leisure())
    except Stopped as stopped:
        print(kind, "stopped:", stopped, flush=True)
        sys.exit(7)


def import_all(package):
    yield package
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            yield found.name


def run(kind, root, place):
    folder = place / kind
    process = multiprocessing.Process(target=child, args=(kind, root, str(folder)))
    process.start()
    end = time.monotonic() + 120
    while not (folder / "history.jsonl").exists():
        assert process.is_alive(), f"{kind} ended by itself"
        assert time.monotonic() < end
        time.sleep(0.05)
    run = RunFolder(folder)
    assert run.writer_pid() == process.pid
    assert "running" in repr(run)
    run.ask_to_stop()
    process.join(120)
    assert process.exitcode == 7, process.exitcode
    assert run.writer_pid() is None
    assert not run.finished
    assert "asked to stop" in (folder / "log.txt").read_text()
    before = len(run.lines())
    start(kind, root, folder, resume=True)
    assert run.finished
    assert len(run.lines()) > before
    assert run.epochs()["epoch"].tolist() == [1, 2]
    print(kind, "resumed and finished", flush=True)


def main():
    for name in MISSING:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        raise AssertionError(f"{name} is there")
    assert not Path("/proc/self").exists()
    names = [name for package in ("msinet_core", "msinet_lab") for name in import_all(package)]
    assert len(names) > 100
    print(len(names), "modules imported", flush=True)
    multiprocessing.set_start_method("spawn")
    root, place = sys.argv[1], Path(sys.argv[2])
    for kind in ("search", "train"):
        run(kind, root, place)


if __name__ == "__main__":
    main()
