"""`load_dataset`: every data set by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from msinet_core.data import layouts, lists, manifests, tables
from msinet_core.data.layouts import Root
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError

SOURCES: dict[str, Callable[..., ReidDataset]] = {
    "market1501": layouts.market1501,
    "msmt17": lists.msmt17,
    "veri776": layouts.veri776,
    "vehicleid": lists.vehicleid,
    "cuhk03": layouts.cuhk03,
    "folders": layouts.folders,
    "manifest": manifests.manifest,
    "table": tables.table,
}

# Images of each split as published, where each figure of a tuple is right (Market-1501's gallery
# is handed around with and without its junk), and training identities.
PUBLISHED: dict[str, dict[str, tuple[int, ...]]] = {
    "market1501": {
        "train": (12936,),
        "query": (3368,),
        "gallery": (19732, 15913),
        "identities": (751,),
    },
    "msmt17": {
        "train": (32621, 30248),
        "query": (11659,),
        "gallery": (82161,),
        "identities": (1041,),
    },
    "veri776": {"train": (37778,), "query": (1678,), "gallery": (11579,), "identities": (576,)},
    "vehicleid": {"train": (110178,), "identities": (13164,)},
    "cuhk03_detected": {
        "train": (7365,),
        "query": (1400,),
        "gallery": (5332,),
        "identities": (767,),
    },
    "cuhk03_labeled": {
        "train": (7368,),
        "query": (1400,),
        "gallery": (5328,),
        "identities": (767,),
    },
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
    known = [option for option in inspect.signature(SOURCES[name]).parameters if option != "root"]
    for option in options:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise ReidError(f"the data set {name!r} has no option {option!r}; {has}")
    wanted = get_type_hints(SOURCES[name])
    typed = {key: _number(key, given, wanted[key]) for key, given in options.items()}
    dataset = SOURCES[name](root, **typed)
    return replace(dataset, notes=(*dataset.notes, *size_notes(dataset)))


def _number(option: str, given: Any, annotation: Any) -> Any:
    """A text as the number that the option is; what an option wants as text stays text."""
    kind = next(
        (kind for kind in (int, float) if kind in (annotation, *get_args(annotation))), None
    )
    if kind is None or not isinstance(given, str):
        return given
    try:
        return kind(given)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ReidError(f"the option {option!r} is {what}; got {given!r}") from None


def size_notes(dataset: ReidDataset) -> list[str]:
    """One sentence with both figures for each count that differs from the published one. Generated
    data, in the layout of a published set, has none.
    """
    if (dataset.root / GENERATED).is_file():
        return []
    counts = dataset.table["split"].value_counts()
    training = dataset.table.loc[dataset.table["split"] == "train", "identity"].nunique()
    notes = []
    for part, published in PUBLISHED.get(
        dataset.name.removesuffix("_v1").removesuffix("_v2"), {}
    ).items():
        what = "training identities" if part == "identities" else f"{part} images"
        here = training if part == "identities" else int(counts.get(part, 0))
        if here not in published:
            notes.append(
                f"{here:,} {what}, where {' or '.join(f'{n:,}' for n in published)} are published"
            )
    return notes
