"""`load_dataset`: every data set by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from msinet_core.data import layouts, manifests
from msinet_core.data.layouts import Root
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError

SOURCES: dict[str, Callable[..., ReidDataset]] = {
    "market1501": layouts.market1501,
    "veri776": layouts.veri776,
    "cuhk03": layouts.cuhk03,
    "folders": layouts.folders,
    "manifest": manifests.manifest,
}


def load_dataset(name: str, root: Root, **options: Any) -> ReidDataset:
    """The data set `name` from the folder `root` (the data set's own, or the one that holds it).

    No image is opened. Options belong to the source: `msinet_core.data.sources.SOURCES` maps each
    name to the function that lists and explains them. Raises `ReidError` for an unknown name or
    option, and for a folder that does not hold what it should.
    """
    if name not in SOURCES:
        raise ReidError(f"there is no data set called {name!r}; there are {', '.join(SOURCES)}")
    known = [option for option in inspect.signature(SOURCES[name]).parameters if option != "root"]
    for option in options:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise ReidError(f"the data set {name!r} has no option {option!r}; {has}")
    return SOURCES[name](root, **options)
