"""`Matches` against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.data import Protocol
from msinet_core.data.matches import Matches
from msinet_core.errors import ReidError

rows = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1, 2]), st.sampled_from([0, 1])), min_size=1, max_size=9
)


@settings(max_examples=300, deadline=None)
@given(rows, rows, st.booleans(), st.sampled_from([(), (-1,)]), st.sampled_from([(), (0,)]))
def test_every_pair_is_what_the_protocol_says(query, gallery, excluding, junk, distractors):
    tables = [pd.DataFrame(side, columns=["identity", "camera"]) for side in (query, gallery)]
    found = Matches.find(*tables, Protocol("p", excluding, junk, distractors))
    never = {*junk, *distractors}
    for q, (who, where) in enumerate(query):
        same = [g for g, (other, _) in enumerate(gallery) if other == who and who not in never]
        gone = {g for g in same if excluding and gallery[g][1] == where}
        gone |= {g for g, (other, _) in enumerate(gallery) if other in junk}
        assert found.of(q).tolist() == [g for g in same if g not in gone]
        assert found.removed(q).tolist() == sorted(gone)
        assert found.ranked(q).tolist() == [g for g in range(len(gallery)) if g not in gone]
        assert found.num_matches[q] == len(found.of(q))
    compact = found.without_junk()
    kept = np.flatnonzero(found.kept_columns)
    for q in range(len(query)):
        assert kept[compact.of(q)].tolist() == found.of(q).tolist()


def test_junk_is_named_as_a_number_or_a_text():
    query, gallery = pd.DataFrame({"identity": ["7"]}), pd.DataFrame({"identity": ["-1", "7"]})
    assert Matches.find(query, gallery, Protocol(junk_identities=(-1,))).removed(0).tolist() == [0]


def test_cameras_are_not_asked_for_where_they_do_not_matter():
    query = pd.DataFrame({"identity": [1], "camera": [0]})
    gallery = pd.DataFrame({"identity": [1, 1], "camera": [0, np.nan]})
    assert Matches.find(query, gallery, Protocol(exclude_same_camera=False)).of(0).tolist() == [
        0,
        1,
    ]
    with pytest.raises(ReidError, match="row 2 has no gallery camera"):
        Matches.find(query, gallery, Protocol())
