"""What every benchmark hands back: rows of name, figure, unit, limit and whether the limit was
kept.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def verdict(figure: float, limit: str) -> bool | None:
    """Whether a figure keeps a limit such as `<= 1.5`; None where there is none."""
    if not limit:
        return None
    sign, _, bound = limit.partition(" ")
    return figure <= float(bound) if sign == "<=" else figure >= float(bound)


def row(name: str, figure: float, unit: str, limit: str = "") -> Row:
    figure = float(figure)
    return {
        "name": name,
        "figure": figure,
        "unit": unit,
        "limit": limit,
        "ok": verdict(figure, limit),
    }


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def peak() -> float:
    """The most memory that this process has held, GB.

    Linux keeps it for each program; what `getrusage` tells would begin with that of the process
    which started this one.
    """
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def resident() -> float:
    """The memory that this process holds now, GB (Linux; 0 elsewhere)."""
    return _status("VmRSS")


def _status(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith(f"{name}:")), 0.0)
