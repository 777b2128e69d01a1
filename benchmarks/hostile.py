"""The short form of `make kill` for the tests: file faults, and bad inputs that once failed.

    python -m benchmarks.hostile [--folder FOLDER]

Both in one process, since most of the time goes into imports and into making the inputs. One
command of each way to write, and one kind of bad input for each reader.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import faults, fuzz

COMMANDS = (
    *("a training that goes on", "a result that is there", "a store that is there"),
    *("export over a file", "notebooks", "data check"),
)
KINDS = (
    *("run folder", "search that is looked at", "checkpoint of a search", "manifest", "table"),
    *("listing", "genotype", "operation", "store", "result", "index", "places"),
)
FAULTS, ROUNDS, SEED = 18, 2, 1


def serve(folder: str | None) -> int:
    """All of it, in the process that has the library of faults preloaded."""
    faults.preload()
    commands = [one for one in faults.COMMANDS if one.name in COMMANDS]
    kinds = [one for one in fuzz.KINDS if one.name in KINDS]
    seeds = [(kind, SEED + number) for number in range(ROUNDS) for kind in kinds]
    workshop = Path(tempfile.mkdtemp(prefix="hostile-", dir=folder))
    faults.prepare(workshop, faults.needs(commands).union(*(kind.needs for kind in kinds)))
    bad = faults.strike(commands, FAULTS, SEED, workshop)
    bad += fuzz.throw(fuzz.corpus(kinds) + seeds, workshop)
    if not bad:
        shutil.rmtree(workshop)
    return int(bad > 0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", default=None, help="where to work; default: a temporary one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        return serve(options.folder)
    return faults.with_library("benchmarks.hostile", argv)


if __name__ == "__main__":
    raise SystemExit(main())
