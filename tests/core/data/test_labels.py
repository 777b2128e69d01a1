"""Identities and cameras as people write them, and names of junk that find theirs."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from msinet_core.data.labels import in_kind, integers_or_text, label_column, tidy
from msinet_core.data.matches import Matches
from msinet_core.data.protocol import Protocol
from msinet_core.data.table import ReidDataset


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("c1 ", "c1"),
        ("\tc1\u00a0", "c1"),
        ("Ann  Lee", "Ann Lee"),
        ("\ufeffAnn", "Ann"),
        ("Zoe\u0301", "Zo\u00e9"),
        ("", ""),
    ],
)
def test_tidy(given, expected):
    assert tidy(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1.0, 2.0], [1, 2]),
        ([1.5, 2.0], ["1.5", "2"]),
        (["a ", "a"], ["a", "a"]),
        ([1, "n2"], ["1", "n2"]),
        (pd.Categorical(["x", "y"]), ["x", "y"]),
        (pd.Categorical([3, 1]), [3, 1]),
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), ["2024-01-01", "2024-01-02"]),
        (pd.to_datetime(["2024-01-01 10:30"]), ["2024-01-01 10:30:00"]),
        ([dt.date(2024, 1, 1)], ["2024-01-01"]),
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
        (pd.array(["a", "b "], dtype="string"), ["a", "b"]),
        ([True, False], ["True", "False"]),
        (np.array([1, 2], dtype=object), [1, 2]),
        ([], []),
    ],
)
def test_label_column(given, expected):
    labels, _ = label_column(pd.Series(given))
    assert labels.tolist() == expected
    if expected:
        assert labels.dtype.kind == ("i" if isinstance(expected[0], int) else "O")
    again, told = label_column(labels)
    assert again.tolist() == expected
    assert told == ""


def test_what_was_changed_is_told():
    assert label_column(pd.Series(["a ", "a", " b"]))[1] == (
        "blanks taken away around 2 of its values"
    )
    assert "mixes numbers and text" in label_column(pd.Series([1, "n2"]))[1]


def test_spreadsheets_whole_numbers():
    assert integers_or_text(pd.Series(["1.0", "12.00"]), padded=False).tolist() == [1, 12]
    assert integers_or_text(pd.Series(["1.5", "12.0"])).tolist() == ["1.5", "12.0"]


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        ((-1,), ["-1", "p1"], ("-1",)),
        (("-1",), [-1, 1], (-1,)),
        (("-1", "0"), [-1, 1], (-1, "0")),
        ((0,), ["0000", "0001"], ("0000",)),
        ((0,), ["0", "0000"], ("0",)),
        (("0000",), ["0000", "0"], ("0000",)),
        (("0",), ["0000"], ("0",)),
        ((" rex",), ["rex"], ("rex",)),
        ((-1,), ["rex"], (-1,)),
        ((-1, "-1"), [-1], (-1,)),
    ],
)
def test_names_in_the_kind_of_the_labels(names, labels, expected):
    assert in_kind(names, labels) == expected


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize("named", [(-1,), ("-1",)])
def test_junk_by_number_or_text(kind, named):
    """Junk named -1 is junk whether identities are numbers or texts."""
    table = pd.DataFrame({"identity": [kind(1), kind(-1), kind(0)], "camera": ["a"] * 3})
    protocol = Protocol(junk_identities=named, distractor_identities=(0,))
    matches = Matches.find(table, table.assign(camera="b"), protocol)
    assert matches.kept_columns.tolist() == [True, False, True]
    assert matches.num_matches.tolist() == [1, 0, 0]
    assert Matches.find(table, table, protocol).num_matches.tolist() == [0, 0, 0]
    assert Matches.find(table, table[["identity"]], Protocol(exclude_same_camera=False)).kept.all()
    data = ReidDataset("x", "/", table.assign(path="a", split="query"), junk_identities=named)
    assert data.junk_identities == (kind(-1),)
