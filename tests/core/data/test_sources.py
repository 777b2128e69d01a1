"""Data sets by name, their options, and the sizes they are published with."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest

from msinet_core.data.sources import PUBLISHED, SOURCES, load_dataset, size_notes
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError


def test_unknown_name(tmp_path):
    with pytest.raises(
        ReidError,
        match="no data set called 'market'; there are market1501, msmt17, veri776, vehicleid",
    ):
        load_dataset("market", tmp_path)


def test_misspelt_options(market, cuhk03):
    with pytest.raises(ReidError, match="'cuhk03' has no option 'box'; its options are boxes"):
        load_dataset("cuhk03", cuhk03, box="labeled")
    with pytest.raises(ReidError, match="'market1501' has no option 'camera'; it has none"):
        load_dataset("market1501", market, camera=1)


def test_every_source_explains_itself():
    for name, source in SOURCES.items():
        text = " ".join(source.__doc__.split())
        for option, parameter in inspect.signature(source).parameters.items():
            assert parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY), name
            if option not in ("root", "file", "seed", "junk_identities", "distractor_identities"):
                assert option in text, (name, option)


def published(name, **change):
    """A table of the published size."""
    rows = []
    for part, counts in {**PUBLISHED[name], **change}.items():
        if part != "identities":
            rows += [
                (f"{part}{n}", n % PUBLISHED[name]["identities"][0], part) for n in range(counts[0])
            ]
    return ReidDataset(name, "/nowhere", pd.DataFrame(rows, columns=["path", "identity", "split"]))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_sizes_pass(name):
    assert size_notes(published(name)) == []


def test_other_sizes_are_told_with_both_figures():
    assert size_notes(published("veri776", query=(1677,))) == [
        "1,677 query images, where 1,678 are published"
    ]
    short = published("msmt17", train=(32_000,))
    assert size_notes(short) == ["32,000 train images, where 32,621 or 30,248 are published"]
    assert size_notes(ReidDataset("msmt17_v2", "/nowhere", short.table)) == size_notes(short)


def test_notes_of_loading_hold_them(market):
    assert "12 train images, where 12,936 are published" in load_dataset("market1501", market).notes
