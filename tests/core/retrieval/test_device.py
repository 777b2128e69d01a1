"""The torch form of ranking and re-ranking, on a processor, against the compiled one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from msinet_core.retrieval import (
    Embedder,
    Matches,
    Reranking,
    RetrievalResult,
    counting,
    evaluate,
    rank,
    rank_features,
    ranking,
    rerank,
    reranking,
)
from msinet_core.retrieval import device as module
from msinet_core.retrieval.device import (
    count_on_device,
    in_blocks,
    nearest_on_device,
    place_of,
)
from msinet_core.retrieval.features import unit_rows
from msinet_core.retrieval.nearest import nearest_rows
from msinet_core.retrieval.ranking import JUNK, Protocol, label_table


@pytest.fixture
def on_gpu(monkeypatch):
    """`on_gpu(True)`: from now on the processor is taken for a GPU."""

    def pretend(yes):
        for user in (ranking, reranking):
            monkeypatch.setattr(user, "computes", lambda device: yes)

    return pretend


def hard(crowd, seed, **options):
    """Copies within the gallery and of queries in it; junk, and distractors."""
    case = crowd(seed, **{"queries": 60, "gallery": 400, "length": 24, "spread": 0.8, **options})
    rng = np.random.default_rng(seed + 100)
    gallery, query = case.gallery, case.query
    gallery[rng.permutation(len(gallery))[:150]] = gallery[rng.integers(0, len(gallery), 150)]
    gallery[rng.integers(0, len(gallery), 20)] = query[rng.integers(0, len(query), 20)]
    case.gallery_identity[rng.integers(0, len(gallery), 30)] = -1
    case.gallery_identity[rng.integers(0, len(gallery), 30)] = 0
    case.labels = (
        *(case.query_identity, case.gallery_identity),
        *(case.query_camera, case.gallery_camera),
    )
    return case


def matches_of(case):
    sides = (
        label_table(identity, camera, len(identity), "")
        for identity, camera in zip(case.labels[:2], case.labels[2:], strict=True)
    )
    return Matches.find(*sides, Protocol(junk_identities=JUNK, distractor_identities=(0,)))


def same(one, other):
    for name in ("average_precision", "first_match_rank", "inverse_negative_penalty"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# -- ranks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("entries", [1, 5_000, 1 << 26])
def test_ranks_are_the_same_to_the_last_bit(crowd, on_gpu, monkeypatch, seed, entries):
    case = hard(crowd, seed)
    options = {"same_camera": ("exclude", "keep")[seed % 2], "distractor_identities": (0,)}
    expected = rank(case.query, case.gallery, *case.labels, **options)
    on_gpu(True)
    monkeypatch.setattr(count_on_device, "__defaults__", (entries,))
    monkeypatch.setattr(module, "COLUMNS", 37)
    same(rank(case.query, case.gallery, *case.labels, **options), expected)


def test_no_queries_no_gallery_and_no_matches(on_gpu):
    on_gpu(True)
    two, none = np.eye(2, dtype=np.float32), np.zeros((0, 2), np.float32)
    assert rank(two, two, [1, 2], [3, 4]).num_counted == 0
    assert rank(none, two, [], [3, 4]).num_queries == 0
    assert rank(two, none, [1, 2], []).num_counted == 0


def test_features_are_ranked_where_they_are():
    here, there = torch.zeros(2, 2), torch.zeros(2, 2, device="meta")
    assert place_of(here, here.numpy()) == torch.device("cpu")
    assert place_of(there, there) == torch.device("meta")
    assert place_of(here, there) == torch.device("cpu")
    assert [module.computes(name) for name in ("cuda:1", "cpu", "mps", "xpu")] == [
        True,
        *[False] * 3,
    ]


# -- re-ranking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 2, 15])
@pytest.mark.parametrize("spare", [0, 1, 11])
@pytest.mark.parametrize("entries", [1, 1_000, 1 << 26])
def test_nearest_rows_are_the_same(copies, spare, entries):
    rng = np.random.default_rng(copies)
    unit = unit_rows(np.repeat(rng.normal(size=(12, 8)), copies, axis=0), "rows")
    unit = np.concatenate([unit, unit_rows(rng.normal(size=(30, 8)), "rows")])
    half = np.array([0.5 * counting.dot(row, row) for row in unit])
    expected = nearest_rows(unit, half, 6)
    found = nearest_on_device(unit, half, 6, "cpu", entries=entries, spare=spare)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (5, 1, 0.0), (7, 9, 1.0)])
def test_reranked_distances_are_the_same_but_for_rounding(crowd, on_gpu, seed, k1, k2, share):
    case = hard(crowd, seed)
    expected = rerank(case.query, case.gallery, k1, k2, share)
    on_gpu(True)
    found = rerank(case.query, case.gallery, k1, k2, share)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_reranked_metrics_are_those_of_the_distances(crowd, on_gpu):
    case = hard(crowd, 7)
    matches = matches_of(case)
    expected = Reranking.prepare(case.query, case.gallery).rank(matches)
    on_gpu(True)
    found = Reranking.prepare(case.query, case.gallery).rank(matches)
    same(found, ranking.rank_distance(rerank(case.query, case.gallery), matches))
    assert found.metrics() == pytest.approx(expected.metrics(), abs=1e-6)
    assert found.rank_list(3, 5).gallery_index.shape == (5,)


def test_blocks_change_no_distance(crowd, on_gpu, monkeypatch):
    case = hard(crowd, 8)
    on_gpu(True)
    prepared = Reranking.prepare(case.query, case.gallery)
    whole = rerank(case.query, case.gallery)
    monkeypatch.setattr(module, "PAIRS", 100)
    for first, block in prepared.on_device().blocks(entries=7 * 400):
        assert len(block) <= 7
        np.testing.assert_array_equal(block.numpy(), whole[first : first + len(block)])


def test_overlaps_are_the_same_bits_in_any_order_of_addition(crowd):
    """A GPU adds in no fixed order."""
    case = hard(crowd, 8)
    prepared = Reranking.prepare(case.query, case.gallery)
    expected = prepared.on_device()._overlap(0, 60)
    shuffled, rng = prepared.encodings.copy(), np.random.default_rng(0)
    for a, b in pairwise(shuffled.indptr):
        order = a + rng.permutation(b - a)
        shuffled.indices[a:b], shuffled.data[a:b] = shuffled.indices[order], shuffled.data[order]
    found = replace(prepared, encodings=shuffled).on_device()._overlap(0, 60)
    assert torch.equal(found, expected)
    assert expected.unique().numel() > 500


# -- memory --------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives, in bytes of its storage."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self.bytes = max(self.bytes, x.untyped_storage().nbytes())
        return out


def test_blocks_follow_from_the_sizes():
    for count, width in ((11_659, 82_161), (3, 10**9), (0, 5), (100, 7)):
        blocks = list(in_blocks(count, width, module.ENTRIES))
        assert [row for a, b in blocks for row in range(a, b)] == list(range(count))
        assert all((b - a) * width <= max(module.ENTRIES, width) for a, b in blocks)
    assert len(list(in_blocks(11_659, 82_161, module.ENTRIES))) == 15


@pytest.mark.parametrize("gallery", [2_000, 8_000])
def test_memory_does_not_grow_with_queries_times_gallery(crowd, on_gpu, monkeypatch, gallery):
    entries = 40_000
    case = crowd(9, queries=200, gallery=gallery, identities=400, length=8)
    case.labels = case.query_identity, case.gallery_identity, None, None
    for function in (count_on_device, module.Mixer.blocks):
        monkeypatch.setattr(function, "__defaults__", (entries,))
    monkeypatch.setattr(nearest_on_device, "__kwdefaults__", {"entries": entries, "spare": 11})
    monkeypatch.setattr(module, "PAIRS", entries)
    on_gpu(True)
    matches = Matches.find(
        *(pd.DataFrame({"identity": labels}) for labels in case.labels[:2]), Protocol()
    )
    most = 8 * (entries + 9 * gallery)  # float64: a block and a row; the features
    with Largest() as plain:
        rank_features(case.query, case.gallery, matches)
    assert 0 < plain.bytes <= most
    prepared = Reranking.prepare(case.query, case.gallery)
    most = max(most, 8 * prepared.encodings.nnz)
    with Largest() as mixed:
        prepared.rank(matches)
    assert 0 < mixed.bytes <= most < 8 * 200 * gallery


def test_shared_neighbours_are_looked_at_in_parts(crowd, monkeypatch):
    case = hard(crowd, 8, identities=3)
    prepared = Reranking.prepare(case.query, case.gallery)
    mixer, largest = prepared.on_device(), []
    for most in (1 << 23, 1_000):
        monkeypatch.setattr(module, "PAIRS", most)
        with Largest() as found:
            mixer.distances(0, 60)
        largest.append(found.bytes)
    assert largest[1] == 8 * 60 * 400  # the distances themselves
    assert largest[0] > 3 * largest[1]


# -- the way there -------------------------------------------------------------------------------


def asked(monkeypatch):
    """The devices that `rank_features` and `Reranking.prepare` are asked for, none of them used."""
    devices = []

    def note(device):
        devices.append(str(device))
        return False

    for user in (ranking, reranking):
        monkeypatch.setattr(user, "computes", note)
    return devices


def test_a_network_is_scored_where_it_computes(tiny_dataset, monkeypatch):
    class Means(nn.Module):
        def forward(self, images):
            return images.float().mean(3).flatten(1)

    devices = asked(monkeypatch)
    monkeypatch.setattr(Embedder, "place", torch.device("cpu", 0))
    result = evaluate(Embedder(Means(), 32, 32), tiny_dataset)
    again = result.reranked(5, 3)
    assert set(devices) == {"cpu:0"}
    devices.clear()
    assert again.averaged("camera").device == torch.device("cpu", 0)
    assert devices
    assert set(devices) == {"cpu:0"}


def test_a_saved_result_is_scored_on_the_processor(crowd, monkeypatch, tmp_path):
    case = crowd(3, queries=30, gallery=60)
    tables = (pd.DataFrame({"identity": x}) for x in (case.query_identity, case.gallery_identity))
    result = RetrievalResult.score(case.query, case.gallery, *tables, device="cpu:0")
    assert result.device == "cpu:0"
    devices = asked(monkeypatch)
    loaded = RetrievalResult.load(result.save(tmp_path / "result"))
    loaded.reranked(5, 3)
    assert set(devices) == {"cpu"}


def test_where_an_embedder_computes():
    model = nn.Linear(2, 2)
    assert Embedder(model).place == torch.device("cpu")
    assert Embedder(nn.Linear(2, 2, device="meta")).place == torch.device("meta")
    assert Embedder(model, device="cuda").place == torch.device("cuda")
    assert Embedder(lambda x: x).place == torch.device("cpu")
