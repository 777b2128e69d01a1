"""A search with a panel on its folder for minutes: memory and open files of both processes must not
grow.

    python -m benchmarks.soak --minutes 10

Needs Linux (/proc) and the extra `lab`. Prints a line every so often, then for each process the
slope of its memory after a warm-up, and the change of its open files; ends with status 1 above the
limits. The history that the panel reads grows all the while, by a line an epoch and one a step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.kill import photographs
from msinet_lab.panels import RunPanel

MOST_MB_PER_MINUTE = 1.0  # a leak of a redraw's picture, 50 kB once a second, would be three
MOST_FILES = 2
WARM_UP = 200  # epochs, about a minute: until then allocators and caches fill
INTERVAL = 5.0  # seconds between samples
TOO_MANY = 1_000_000  # epochs; the soak ends before them


def memory(pid: int) -> float:
    """Resident memory, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def samples(panel: RunPanel, search: int, minutes: float) -> np.ndarray:
    """Rows of minute, MB and open files of the search, MB and open files of the panel's process."""
    rows, began = [], time.monotonic()
    while (now := (time.monotonic() - began) / 60) < minutes:
        own = os.getpid()
        rows.append((now, memory(search), open_files(search), memory(own), open_files(own)))
        if len(rows) % 6 == 1:
            minute, mb, files, own_mb, own_files = rows[-1]
            print(
                f"{minute:5.1f} min   search {mb:7.1f} MB {files:3d} files   "
                f"panel {own_mb:7.1f} MB {own_files:3d} files   epoch {panel.bar.value}",
                flush=True,
            )
        time.sleep(INTERVAL)
    return np.array(rows)


def steady_slope(minutes: np.ndarray, values: np.ndarray) -> float:
    """Per minute: the median slope of all pairs of samples (Theil and Sen), which a single jump of
    an allocator moves little.
    """
    first, last = np.triu_indices(len(minutes), 1)
    return float(np.median((values[last] - values[first]) / (minutes[last] - minutes[first])))


def report(rows: np.ndarray) -> bool:
    """Print slopes; whether all are within the limits."""
    good = True
    for name, mb, files in (("search", 1, 2), ("panel", 3, 4)):
        slope = steady_slope(rows[:, 0], rows[:, mb])
        grown = int(rows[-1, files] - rows[0, files])
        within = slope <= MOST_MB_PER_MINUTE and grown <= MOST_FILES
        good &= bool(within)
        print(
            f"{name}: memory {slope:+.3f} MB a minute (limit {MOST_MB_PER_MINUTE}), "
            f"open files {grown:+d} (limit {MOST_FILES}): {'flat' if within else 'GROWS'}"
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as place:
        root = photographs(Path(place) / "photographs", identities=60, images=8)
        command = [
            "search",
            "--root",
            str(root),
            "--height",
            "64",
            "--width",
            "32",
            "--channels",
            "16",
            "64",
            "64",
            "64",
            "--epochs",
            str(TOO_MANY),
            "--identities-per-batch",
            "8",
            "--images-per-identity",
            "4",
            "--device",
            "cpu",
            "--quiet",
        ]
        panel = RunPanel(Path(place) / "run", command, poll=1.0)
        panel.start()
        try:
            while len(panel.run.epochs()) < WARM_UP:
                if not panel.alive:
                    said = (Path(place) / "run/terminal.txt").read_text()
                    raise SystemExit(f"the search ended by itself: {said}")
                time.sleep(0.2)
            pid = panel.run.writer_pid()
            assert pid is not None
            rows = samples(panel, pid, minutes)
        finally:
            panel.stop()
            panel.wait(60)
            panel.close()
    if not report(rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
