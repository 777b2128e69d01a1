"""P x K batches: exact length, distinct identities, coverage, shards, cameras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msinet_core.data.sampler import IdentitySampler
from msinet_core.errors import ReidError


def balanced(identities=12, images=16):
    return np.repeat(np.arange(identities), images)


def uneven(seed=0, identities=30, most=40):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), rng.integers(1, most, identities))
    return rng.permutation(labels)


def check_batches(labels, batches, p, k):
    """Naive: every batch has p identities of k images; images repeat only where there are fewer
    than k.
    """
    labels = np.asarray(labels)
    for batch in batches:
        assert batch.shape == (p * k,)
        groups = batch.reshape(p, k)
        assert all(len(set(labels[group])) == 1 for group in groups)
        assert len({labels[group[0]] for group in groups}) == p
        for group in groups:
            has = np.flatnonzero(labels == labels[group[0]])
            assert len(set(group)) == min(k, len(has))


@given(
    counts=st.lists(st.integers(1, 25), min_size=1, max_size=20),
    p=st.integers(1, 6),
    k=st.integers(1, 6),
    world=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_any_counts(counts, p, k, world, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    if len(counts) < p:
        with pytest.raises(ReidError):
            IdentitySampler(labels, p, k, seed)
        return
    samplers = [IdentitySampler(labels, p, k, seed, rank=r, world_size=world) for r in range(world)]
    for sampler in samplers:
        assert len(sampler) == max(1, len(labels) // (p * k * world))
        assert len(sampler.epoch(3)) == len(sampler)
        check_batches(labels, sampler.epoch(3), p, k)


def test_balanced_identities_show_every_image_once():
    sampler = IdentitySampler(balanced(), 4, 4, seed=1)
    for epoch in range(3):
        seen = np.concatenate(sampler.epoch(epoch))
        assert sorted(seen) == list(range(192))


def test_nearly_every_image_once_when_counts_do_not_divide():
    labels = balanced(20, 15)  # 15 = 3 x 4 + 3
    seen = np.concatenate(IdentitySampler(labels, 5, 4, seed=0).epoch(0))
    assert len(seen) == 300
    assert len(set(seen)) >= 0.92 * 300


def test_every_image_of_uneven_data_is_seen_within_a_few_epochs():
    labels = uneven()
    sampler = IdentitySampler(labels, 8, 4, seed=0)
    seen = np.bincount(
        np.concatenate([np.concatenate(sampler.epoch(e)) for e in range(25)]), minlength=len(labels)
    )
    assert (seen > 0).all()


def test_small_identities_show_each_image():
    labels = [0] * 4 + [1] * 2 + [2] * 1
    batch = IdentitySampler(labels, 3, 4, seed=0).batch(0, 0)
    assert sorted(set(batch)) == list(range(7))
    assert len(batch) == 12


def test_pure_function_of_seed_and_epoch():
    labels = uneven()
    a, b = (IdentitySampler(labels, 8, 4, seed=7) for _ in range(2))
    a.epoch(0), a.epoch(5)
    for x, y in zip(a.epoch(9), b.epoch(9), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.batch(9, 2), b.epoch(9)[2])
    assert not np.array_equal(np.concatenate(a.epoch(9)), np.concatenate(a.epoch(8)))
    other = IdentitySampler(labels, 8, 4, seed=8)
    assert not np.array_equal(np.concatenate(a.epoch(9)), np.concatenate(other.epoch(9)))


def test_what_a_caller_does_to_an_epoch_stays_his():
    sampler = IdentitySampler(balanced(), 4, 4, seed=1)
    sampler.epoch(0).clear()
    assert len(sampler.epoch(0)) == len(sampler) == 12


def test_identities_meet_different_companions():
    """No fixed blocks: over epochs an identity shares batches with all others."""
    labels = balanced(16, 8)
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    met = {
        labels[i]
        for e in range(15)
        for batch in sampler.epoch(e)
        if 0 in labels[batch]
        for i in batch
    }
    assert len(met) == 16


def test_big_identities_are_not_bunched():
    """An identity with half of the images is in many batches, early and late ones alike."""
    labels = np.array([0] * 60 + [i for i in range(1, 13) for _ in range(5)])
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    where = [[0 in labels[batch] for batch in sampler.epoch(e)] for e in range(20)]
    assert np.mean(where) == 1.0  # 15 groups for 7 batches: in each
    labels = np.array([0] * 12 + [i for i in range(1, 25) for _ in range(4)])
    sampler = IdentitySampler(labels, 4, 4, seed=0)
    first_half = [np.mean([0 in labels[b] for b in sampler.epoch(e)[:3]]) for e in range(60)]
    assert abs(np.mean(first_half) - 3 / 6) < 0.15


@pytest.mark.parametrize("world", [2, 3])
def test_shards_share_no_image(world):
    labels = balanced(24, 8)
    shards = [
        np.concatenate(IdentitySampler(labels, 4, 4, seed=3, rank=r, world_size=world).epoch(2))
        for r in range(world)
    ]
    together = np.concatenate(shards)
    assert len({len(shard) for shard in shards}) == 1
    assert len(set(together)) == len(together) == 192
    whole = np.concatenate(IdentitySampler(labels, 4, 4, seed=3).epoch(2))
    assert sorted(together) == sorted(whole)


@given(seed=st.integers(0, 10_000), k=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_cameras(seed, k):
    """K different cameras where the identity has K, all of them in turn where it has fewer."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), rng.integers(1, 20, 6))
    cameras = rng.integers(0, rng.integers(1, 7), len(labels))
    sampler = IdentitySampler(labels, 3, k, seed, cameras=cameras)
    for batch in sampler.epoch(0):
        for group in batch.reshape(3, k):
            has = np.flatnonzero(labels == labels[group[0]])
            assert len(set(cameras[group])) == min(k, len(set(cameras[has])))
            assert set(labels[group]) == {labels[group[0]]}
            if len(has) <= k:
                assert set(group) == set(has)


def test_cameras_still_show_every_image():
    labels, cameras = balanced(8, 16), np.tile(np.repeat(range(4), 4), 8)
    seen = np.concatenate(IdentitySampler(labels, 4, 4, seed=0, cameras=cameras).epoch(0))
    assert sorted(seen) == list(range(128))
    without = IdentitySampler(labels, 4, 4, seed=0).epoch(0)
    spread = [len(set(cameras[g])) for batch in without for g in batch.reshape(4, 4)]
    assert np.mean(spread) < 3.9  # the option matters


def test_camera_option_does_not_repeat_an_image_in_a_group_needlessly():
    labels, cameras = np.zeros(6, int), np.array([0, 0, 0, 0, 0, 1])
    for batch in IdentitySampler(labels, 1, 4, seed=0, cameras=cameras).epoch(0):
        assert sorted(np.bincount(cameras[batch])) == [2, 2]
        assert len(set(batch[cameras[batch] == 0])) == 2


def test_text_labels_and_cameras():
    labels = np.array(["b", "a", "b", "a"])
    batch = IdentitySampler(labels, 2, 2, seed=0, cameras=["x", "x", "y", "y"]).batch(0, 0)
    assert sorted(batch) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            ([0, 0, 1], 4, 4, 0),
            {},
            "takes 4 different identities, but the data has 2; take at most 2",
        ),
        (([0, 1], 0, 4, 0), {}, "must be at least 1"),
        (([0, 1], 2, 0, 0), {}, "must be at least 1"),
        (([0, 1], 2, 1, 0), {"rank": 2, "world_size": 2}, "rank 2 is not one of 0 to 1"),
        (([0, 1], 2, 1, 0), {"cameras": [1]}, "1 cameras for 2 labels"),
    ],
)
def test_what_cannot_be(arguments, options, message):
    with pytest.raises(ReidError, match=message):
        IdentitySampler(*arguments, **options)


def test_thirteen_thousand_identities_are_planned_in_seconds():
    labels = np.repeat(np.arange(13_164), 8)
    batches = IdentitySampler(labels, 16, 4, seed=0).epoch(0)
    assert len(batches) == len(labels) // 64
