"""Batches are a function of the seed, the epoch and the step, and of nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from msinet_core.data.augmentation import Augmentation, augment, normalise, step_generator
from msinet_core.data.batches import TrainBatches, iterate_images
from msinet_core.data.images import open_images
from msinet_core.data.sampler import IdentitySampler
from msinet_core.errors import ReidError

LABELS = np.repeat(np.arange(5), 6)


@pytest.fixture
def reader(tmp_path, images):
    names = [f"{i:02d}.png" for i in range(len(LABELS))]
    images(tmp_path, names)
    return lambda cache="memory", workers=2: open_images(
        pd.DataFrame({"path": names}),
        tmp_path,
        16,
        8,
        cache=cache,
        cache_dir=tmp_path / "c",
        workers=workers,
    )


def batches(reader, workers=0, seed=3, augmentation=None, **shard):
    sampler = IdentitySampler(LABELS, 3, 2, seed, **shard)
    return TrainBatches(
        reader,
        LABELS,
        sampler,
        augmentation or Augmentation.within_domain(),
        seed=seed,
        workers=workers,
    )


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_same_batches_whatever_workers_and_cache(reader, cache, workers):
    expected = list(batches(reader()).epoch(2))
    assert same(list(batches(reader(cache, 1 + workers), workers).epoch(2)), expected)


def test_a_batch_is_what_it_says(reader):
    opened, settings = reader(), Augmentation.across_domains()
    made = batches(opened, augmentation=settings)
    assert len(made) == 5
    for step, (images, labels, rows) in enumerate(made.epoch(4)):
        assert images.dtype == torch.float32
        assert images.shape == (6, 3, 16, 8)
        assert labels.tolist() == LABELS[rows].tolist()
        assert rows.tolist() == IdentitySampler(LABELS, 3, 2, 3).batch(4, step).tolist()
        assert torch.equal(
            images, augment(opened.read(rows), settings, step_generator(3, 4, step, 0))
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_anywhere(reader, workers):
    made = batches(reader(), workers)
    list(made.epoch(0))
    whole = list(made.epoch(1))
    assert same(list(made.epoch(1, start=3)), whole[3:])
    assert list(made.epoch(1, start=5)) == []


def test_epochs_and_seeds_differ(reader):
    opened = reader()
    first = torch.cat([b[0] for b in batches(opened).epoch(0)])
    assert not torch.equal(first, torch.cat([b[0] for b in batches(opened).epoch(1)]))
    assert not torch.equal(first, torch.cat([b[0] for b in batches(opened, seed=4).epoch(0)]))


def test_processes_draw_differently(reader):
    shards = [list(batches(reader(), rank=r, world_size=2).epoch(0)) for r in range(2)]
    assert [len(s) for s in shards] == [2, 2]
    rows = [torch.cat([b[2] for b in s]).tolist() for s in shards]
    assert not set(rows[0]) & set(rows[1])


def test_global_random_state_is_neither_read_nor_moved(reader):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = list(batches(reader()).epoch(0))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert same(list(batches(reader()).epoch(0)), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_must_fit(reader):
    with pytest.raises(
        ReidError, match="29 labels for 30 images; take them from the reader's table"
    ):
        TrainBatches(reader(), LABELS[:29], IdentitySampler(LABELS, 3, 2, 0), Augmentation.none())


@pytest.mark.parametrize("workers", [0, 3])
def test_iterate_images(reader, workers):
    opened = reader()
    parts = list(iterate_images(opened, 8, workers=workers))
    assert [len(p) for p in parts] == [8, 8, 8, 6]
    assert torch.equal(torch.cat(parts), normalise(opened.read(range(30))))
    with pytest.raises(ReidError, match="batch_size is 0"):
        list(iterate_images(opened, 0))
