"""`load_dataset`: every data set by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from msinet_core.data import layouts, lists, tables
from msinet_core.data.roots import Root
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.errors import ReidError

SOURCES: dict[str, Callable[..., ReidDataset]] = {
    "market1501": layouts.market1501,
    "msmt17": lists.msmt17,
    "veri776": layouts.veri776,
    "vehicleid": lists.vehicleid,
    "cuhk03": layouts.cuhk03,
    "folders": layouts.folders,
    "classes": layouts.classes,
    "manifest": tables.manifest,
    "table": tables.table,
}

# Images of each split and training identities as published, where each figure of a tuple is right
# (Market-1501's gallery is handed around with and without its junk).
PARTS = (*SPLITS, "identities")
PUBLISHED: dict[str, dict[str, tuple[int, ...]]] = {
    name: {part: figures for part, figures in zip(PARTS, counts, strict=True) if figures}
    for name, *counts in (
        ("market1501", (12936,), (3368,), (19732, 15913), (751,)),
        ("msmt17", (32621, 30248), (11659,), (82161,), (1041,)),
        ("veri776", (37778,), (1678,), (11579,), (576,)),
        ("vehicleid", (110178,), (), (), (13164,)),
        ("cuhk03_detected", (7365,), (1400,), (5332,), (767,)),
        ("cuhk03_labeled", (7368,), (1400,), (5328,), (767,)),
    )
}
GENERATED = "generated.json"  # lies beside data that `synthetic.generate` drew


def load_dataset(name: str, root: Root, **options: Any) -> ReidDataset:
    """The data set `name` from the folder `root` (the data set's own, or the one that holds it).

    No image is opened. A size other than the published one is noted in `.notes`, with both figures.
    Options belong to the source: `SOURCES` maps each name to the function that lists and explains
    them; where one is a number, its text will do (`test_size="1600"`). Raises `ReidError` for an
    unknown name or option, and for a folder that does not hold what it should, saying what was
    looked for, what was found and what to do.
    """
    if name not in SOURCES:
        raise ReidError(f"there is no data set called {name!r}; there are {', '.join(SOURCES)}")
    kinds, known = get_type_hints(SOURCES[name]), options_of(name)
    for option in options:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise ReidError(f"the data set {name!r} has no option {option!r}; {has}")
    values = {option: _as_kind(option, value, kinds[option]) for option, value in options.items()}
    dataset = SOURCES[name](root, **values)
    return replace(dataset, notes=(*dataset.notes, *size_notes(dataset)))


def options_of(name: str) -> list[str]:
    """The options that a data set has."""
    return [option for option in get_type_hints(SOURCES[name]) if option not in ("root", "return")]


def sharing_options(names: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each of several data sets those of the options that it has; `ReidError` for one that none
    of them has.
    """
    known = [options_of(name) if name in SOURCES else [] for name in names]
    for option in options:
        if not any(option in own for own in known):
            raise ReidError(f"none of the data sets {', '.join(names)} has an option {option!r}")
    return [{o: value for o, value in options.items() if o in own} for own in known]


def _as_kind(option: str, value: Any, kind: Any) -> Any:
    """An option as its source wants it: the command line gives texts, a notebook may give a path
    or the number 2024 where a folder's name is meant.
    """
    number = next((type_ for type_ in (int, float) if type_ in (kind, *get_args(kind))), None)
    if number and isinstance(value, str):
        try:
            return number(value)
        except ValueError:
            what = "a whole number" if number is int else "a number"
            raise ReidError(f"the option {option!r} is {what}; got {value!r}") from None
    if kind in (str, str | None) and value is not None and not isinstance(value, str):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    return value


def size_notes(dataset: ReidDataset) -> list[str]:
    """One sentence with both figures for each count that differs from the published one. Generated
    data, in the layout of a published set, has none.
    """
    if (dataset.root / GENERATED).is_file():
        return []
    counts = dataset.table["split"].value_counts()
    training = dataset.table.loc[dataset.table["split"] == "train", "identity"].nunique()
    notes = []
    name = dataset.name.removesuffix("_v1").removesuffix("_v2")
    for part, published in PUBLISHED.get(name, {}).items():
        what = "training identities" if part == "identities" else f"{part} images"
        here = training if part == "identities" else int(counts.get(part, 0))
        if here not in published:
            figures = " or ".join(f"{n:,}" for n in published)
            notes.append(f"{here:,} {what}, where {figures} are published")
    return notes
