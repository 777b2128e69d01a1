"""Protocols print themselves, fit their data, and draw galleries that a seed fixes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from msinet_core.data.protocol import Protocol, draw_gallery, protocol_for
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError


def dataset(name="mine", cameras=True, **options):
    table = pd.DataFrame({"path": ["a", "b"], "identity": [1, 1], "split": ["query", "gallery"]})
    return ReidDataset(name, ".", table.assign(camera=[1, 2]) if cameras else table, **options)


def test_text():
    market = protocol_for(dataset(junk_identities=(-1,), distractor_identities=(0,)))
    assert str(market) == "standard: same camera left out; junk -1; distractors 0"
    assert str(protocol_for(dataset(cameras=False))) == "camera-less: same camera kept"
    assert (
        str(protocol_for(dataset("vehicleid", cameras=False)))
        == "vehicleid: same camera kept; 10 gallery draws, seed 0"
    )


def test_values():
    assert protocol_for(dataset()) == Protocol()
    assert Protocol(junk_identities=[-1]) == Protocol(junk_identities=(-1,))
    assert hash(Protocol(junk_identities=[-1]))
    with pytest.raises(ReidError, match="gallery_draws is -1"):
        Protocol(gallery_draws=-1)


def test_a_draw_takes_one_image_of_each_identity():
    identities = np.random.default_rng(0).integers(0, 20, 300)
    for draw in range(10):
        chosen = draw_gallery(identities, 0, draw)
        assert sorted(identities[chosen]) == list(range(20))


def test_the_ten_galleries_of_a_seed_are_fixed():
    """Written down: no machine, version or order of drawing may change published figures."""
    identities = np.repeat([3, 1, 2], [4, 3, 5])
    drawn = [np.flatnonzero(draw_gallery(identities, 0, draw)).tolist() for draw in range(10)]
    assert drawn == GALLERIES
    again = [
        np.flatnonzero(draw_gallery(identities, 0, draw)).tolist() for draw in reversed(range(10))
    ]
    assert again[::-1] == drawn
    assert drawn != [
        np.flatnonzero(draw_gallery(identities, 1, draw)).tolist() for draw in range(10)
    ]


GALLERIES = [
    [0, 5, 8],
    [3, 6, 9],
    [2, 4, 9],
    [1, 6, 11],
    [1, 6, 8],
    [1, 5, 9],
    [2, 5, 8],
    [3, 4, 10],
    [0, 6, 10],
    [0, 5, 11],
]


def test_every_image_is_drawn_equally_often():
    identities = np.repeat([0, 1], [4, 2])
    counts = sum(draw_gallery(identities, 0, draw).astype(int) for draw in range(2000))
    assert np.abs(counts / 2000 - np.repeat([0.25, 0.5], [4, 2])).max() < 0.05


def test_an_identity_with_one_image_stays_out():
    assert draw_gallery(["a", "b", "b"], 0).tolist()[0] is False
    assert draw_gallery(["a", "b", "b"], 0).sum() == 1


def test_numbers_or_text():
    numbers = np.array([1, 2, 1, 2, 2])
    assert draw_gallery(numbers, 4).tolist() == draw_gallery(numbers.astype(str), 4).tolist()
