"""Runs the benchmarks and writes `results/<name>.csv`: `python -m benchmarks [NAME ...]`.

A benchmark is a module of this folder with a function `run() -> DataFrame` of columns name, figure,
unit, limit and ok (further ones are kept): what was measured, what it has to stay under or above
(`<= 1.5`, `>= 10`, or empty), and whether it did. Results carry the processor, the number of cores,
versions and the date; the tables of docs/results.md follow them. The exit status is 1 if a limit
was missed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from benchmarks import _pages

RESULTS = Path(__file__).parent / "results"
COLUMNS = ["name", "figure", "unit", "limit", "ok"]
VERSIONS = ("torch", "numpy", "numba", "faiss-cpu", "onnxruntime")


def names() -> list[str]:
    """The benchmarks that there are."""
    return [
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith("_")
    ]


def machine() -> dict[str, str]:
    """What a figure depends on besides the code."""
    found = {
        "machine": f"{processor()} ({instructions()}), {usable_cores()} cores",
        "python": platform.python_version(),
    }
    for package in VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return {**found, "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def processor() -> str:
    """The model of the processor, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def instructions() -> str:
    """The widest vector instructions that Linux says the processor has: processors of one name
    differ in them.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    return next(
        (name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags),
        platform.machine(),
    )


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shown(table: pd.DataFrame) -> str:
    """The table for a terminal: figures with four digits."""
    marks = {True: "yes", False: "NO", None: ""}
    return table.assign(
        figure=table["figure"].map("{:.4g}".format),
        ok=[marks[None if pd.isna(ok) else bool(ok)] for ok in table["ok"]],
    )[COLUMNS].to_string(index=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures what the package promises."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; default: all"
    )
    chosen = parser.parse_args().names or names()
    missed = 0
    for name in chosen:
        if name not in names():
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(names())}")
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "run"):
            print(
                f"{name}: has no run(); start it with `python -m benchmarks.{name}`",
                file=sys.stderr,
            )
            continue
        print(f"== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        table = module.run()
        print(shown(table), flush=True)
        # Where nothing could be measured, an earlier table stays.
        if (table["figure"] != 0).any():
            RESULTS.mkdir(exist_ok=True)
            table.assign(**machine()).to_csv(RESULTS / f"{name}.csv", index=False)
            _pages.write()
        missed += int((table["ok"].isin([False])).sum())
    if missed:
        print(f"{missed} limit{'s' * (missed > 1)} missed", file=sys.stderr)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
