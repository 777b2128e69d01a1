"""What every benchmark hands back: rows of name, figure, unit, limit and whether the limit was kept."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    return {"name": name, "figure": figure, "unit": unit, "limit": limit, "ok": verdict(figure, limit)}


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
