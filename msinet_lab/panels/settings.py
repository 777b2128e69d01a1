"""What is chosen once, in notebook 00, and used by all: the data, its size, where runs lie.

It lies in `settings.json` in the folder above the runs, where every notebook finds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.data import ReidDataset, load_dataset, read_rgb
from msinet_core.data.sources import SOURCES
from msinet_core.data.twins import PAPER_OVERLAP
from msinet_core.errors import ReidError
from msinet_core.files import read_json, replace_file
from msinet_lab.synthetic import generate

GENERATED = {"generated people": "people", "generated vehicles": "vehicles"}
LAYOUT = {"people": "market1501", "vehicles": "veri776"}
HOME, FILE = "../runs", "settings.json"  # seen from a notebook
SMALL_SIDE = 64  # pixels of a small run's longer side: then it takes seconds
STRIDE = 16  # of the network: its input has whole multiples of it
LEAST, LOOKED_AT = 32, 8  # pixels of a side; photographs from which the data's shape is read


@dataclass(frozen=True)
class Settings:
    """Data, size and places; `height` and `width` None: the shape of the data."""

    source: str = "generated people"
    data: str = "../data"
    runs: str = "../runs/notebooks"
    height: int | None = None
    width: int | None = None
    overlap: float = PAPER_OVERLAP
    stratify_by_camera: bool = False

    def open(self, seed: int = 0, **options: Any) -> ReidDataset:
        """The data set; options are those of `open_data`."""
        return open_data(self.source, self.data, seed=seed, **options)

    def size(self, dataset: ReidDataset, longest: int = SMALL_SIDE) -> tuple[int, int]:
        """Height and width of the network's input, pixels: as chosen, else in the data's shape."""
        height, width = data_shape(dataset, longest)
        return self.height or height, self.width or width


def read_settings(home: str | Path = HOME, **given: Any) -> Settings:
    """What is given and not None; else what `remember` wrote into `home`; else the defaults.

    `ReidError` where that file holds something else.
    """
    path = Path(home) / FILE
    found = read_json(path)
    known = {field.name for field in fields(Settings)}
    try:
        settings = Settings(**{k: v for k, v in (found or {}).items() if k in known})
        _check(settings)
    except (TypeError, AttributeError, ReidError) as error:
        raise ReidError(
            f"{str(path)!r} does not hold what a notebook remembers ({error}); delete it and "
            "choose anew in notebook 00"
        ) from error
    settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
    _check(settings)
    return settings


def remember(settings: Settings, home: str | Path = HOME) -> Path:
    """Write settings where every notebook finds them; their folders as absolute paths."""
    _check(settings)
    data, runs = (str(Path(place).resolve()) for place in (settings.data, settings.runs))
    path = Path(home) / FILE
    replace_file(path, json.dumps(asdict(replace(settings, data=data, runs=runs)), indent=1))
    return path


def _check(settings: Settings) -> None:
    if settings.source not in (*GENERATED, *SOURCES):
        raise ReidError(
            f"there is no data source {settings.source!r}; there are "
            f"{', '.join([*GENERATED, *SOURCES])}"
        )
    for name in ("data", "runs"):
        if not isinstance(getattr(settings, name), str | Path):
            raise ReidError(f"{name} is a folder; got {getattr(settings, name)!r}")
    for name in ("height", "width"):
        value = getattr(settings, name)
        if value is not None and (type(value) is not int or value < LEAST):
            raise ReidError(f"{name} is {LEAST} pixels or more, or None; got {value!r}")
    if not isinstance(settings.overlap, int | float) or not 0 <= settings.overlap <= 1:
        raise ReidError(f"overlap is a share between 0 and 1; got {settings.overlap!r}")


def data_shape(dataset: ReidDataset, longest: int = SMALL_SIDE) -> tuple[int, int]:
    """Height and width with the proportions of a data set's photographs (median of a few).

    `longest` pixels at the longer side, the other one a multiple of the network's stride.
    """
    shares = []
    for path in dataset.table["path"].head(LOOKED_AT):
        with suppress(Exception):  # a broken file may raise anything from within a decoder
            width, height = read_rgb(dataset.root / path).size
            shares.append(height / width)
    share = float(np.median(shares)) if shares else 1.0
    shorter = max(LEAST, STRIDE * round(longest * min(share, 1 / share) / STRIDE))
    return (longest, shorter) if share >= 1 else (shorter, longest)


def open_data(
    source: str,
    folder: str | Path,
    identities: int = 20,
    seed: int = 0,
    domain: str = "A",
    told: Callable[[str], object] = print,
) -> ReidDataset:
    """A data set by the name of its source; `generated people` and `vehicles` are drawn if need be.

    Generated data goes below `folder` into a place of its own for each size, domain and seed, and
    is called what it is. `identities` are those to train on; half as many are there for tests.
    Domain B has other cameras, clothes and places. Where another notebook draws the same just now,
    `told` is called with a sentence and that notebook waited for.
    """
    if source in SOURCES:
        return load_dataset(source, folder)
    if source not in GENERATED:
        raise ReidError(
            f"there is no data source {source!r}; there are {', '.join([*GENERATED, *SOURCES])}"
        )
    kind = GENERATED[source]
    root = generate(
        kind,
        Path(folder) / f"generated-{kind}-{domain}-{identities}-seed-{seed}",
        domain=domain,
        train_identities=identities,
        test_identities=max(4, identities // 2),
        seed=seed,
        told=told,
    )
    name = source if domain == "A" else f"{source}, domain {domain}"
    return replace(load_dataset(LAYOUT[kind], root), name=name)


def source_of(dataset: ReidDataset) -> str:
    """The name under which `load_dataset` finds this data again."""
    for name, kind in GENERATED.items():
        if dataset.name.startswith(name):
            return LAYOUT[kind]
    first = dataset.name.replace("_", " ").split()[0]
    return first if first in SOURCES else dataset.name
