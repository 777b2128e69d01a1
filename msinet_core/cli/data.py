"""`msinet data check`."""

from __future__ import annotations

from pathlib import Path

from msinet_core.cli.parsing import DataSet, Options
from msinet_core.config import parse_options


def check(
    *, data: DataSet = "manifest", root: Path, options: Options = (), quick: bool = False
) -> None:
    """Check a data set before work: files, identities, splits, cameras, duplicates.

    Args:
        root: Its folder.
        quick: Look at the table only, open no image.
    """
    from msinet_core.data import check_dataset, load_dataset

    dataset = load_dataset(data, root, **parse_options(options))
    report = check_dataset(dataset, quick=quick, progress=True)
    print(dataset, *(f"note: {note}" for note in dataset.notes), report, sep="\n")
    report.raise_if_broken()
