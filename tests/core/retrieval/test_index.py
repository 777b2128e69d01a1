"""Large galleries: the index finds what a full sort finds, grows, and obeys the camera rule."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from msinet_core.errors import ReidError
from msinet_core.retrieval import GalleryIndex, rank, search_store, write_store

pytest.importorskip("faiss")


def table_of(case, rows=slice(None)):
    return pd.DataFrame(
        {"identity": case.gallery_identity[rows], "camera": case.gallery_camera[rows]}
    )


def expected_lists(case, k, cameras=True):
    places = (case.query_camera, case.gallery_camera) if cameras else ()
    ranking = rank(
        case.query,
        case.gallery,
        case.query_identity,
        case.gallery_identity,
        *places,
        junk_identities=(),
    )
    lists = [ranking.rank_list(q, k) for q in range(len(case.query))]
    return np.stack([found.gallery_index for found in lists]), np.stack(
        [found.distance for found in lists]
    )


@pytest.fixture
def case(crowd):
    return crowd(0, queries=25, gallery=500)


def stored(case, folder, shard_rows=90):
    return write_store(
        folder, table_of(case), iter(np.array_split(case.gallery, 6)), {}, shard_rows=shard_rows
    )


def test_exact_search_equals_a_full_sort(case, tmp_path):
    known = case.query_identity, case.query_camera
    index, store = (
        GalleryIndex.build(case.gallery, table_of(case)),
        stored(case, tmp_path / "store"),
    )
    for search in (
        index.search,
        GalleryIndex.build(store).search,
        lambda *a: search_store(store, *a),
    ):
        for labels in (known, ()):
            found = search(case.query, 12, *labels)
            rows, distances = expected_lists(case, 12, cameras=bool(labels))
            np.testing.assert_array_equal(found.gallery_index, rows)
            np.testing.assert_allclose(found.distance, distances, atol=1e-3)


def test_it_grows_without_being_rebuilt(case, tmp_path):
    index = GalleryIndex.build(case.gallery[:200], table_of(case, slice(200)))
    assert len(index) == 200
    index.add(case.gallery[200:450], table_of(case, slice(200, 450)))
    rest = write_store(
        tmp_path / "rest", table_of(case, slice(450, None)), iter([case.gallery[450:]]), {}
    )
    index.add(rest)
    assert len(index) == len(index.labels) == 500
    rows, _ = expected_lists(case, 9)
    np.testing.assert_array_equal(
        index.search(case.query, 9, case.query_identity, case.query_camera).gallery_index, rows
    )
    with pytest.raises(ReidError, match="length 16; these have length 3"):
        index.add(np.ones((2, 3)), table_of(case, slice(2)))
    with pytest.raises(ReidError, match="use one kind for both"):
        index.add(case.gallery[:2], pd.DataFrame({"identity": ["a", "b"], "camera": [0, 1]}))
    bad = case.gallery[:3].copy()
    bad[1] = np.nan
    with pytest.raises(ReidError, match="row 2 of the gallery features has NaN"):
        index.add(bad, table_of(case, slice(3)))
    assert len(index) == len(index.labels) == 500


def test_saved_and_loaded(case, tmp_path):
    for kind in ("exact", "approximate"):
        index = GalleryIndex.build(case.gallery, table_of(case), kind=kind, probes=3)
        index.save(tmp_path / kind)
        found = GalleryIndex.load(tmp_path / kind)
        assert repr(found) == repr(index)
        labels = case.query_identity, case.query_camera
        one, two = found.search(case.query, 7, *labels), index.search(case.query, 7, *labels)
        np.testing.assert_array_equal(one.gallery_index, two.gallery_index)
        assert found.labels.equals(index.labels)
    with pytest.raises(ReidError, match="holds no gallery index"):
        GalleryIndex.load(tmp_path)


@pytest.mark.parametrize("name", ["index.faiss", "labels.jsonl", "index.json"])
def test_a_changed_file_of_an_index_is_refused(case, tmp_path, name):
    GalleryIndex.build(case.gallery, table_of(case)).save(tmp_path / "i")
    content = bytearray((tmp_path / "i" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "i" / name).write_bytes(content)
    with pytest.raises(ReidError, match=rf"{name}.* (not what was written|damaged)"):
        GalleryIndex.load(tmp_path / "i")


def test_recall_is_what_it_says(crowd):
    case = crowd(1, queries=50, gallery=4000, identities=200)
    exact = GalleryIndex.build(case.gallery, table_of(case)).search(case.query, 10)
    recalls = []
    for probes in (1, 8, 60):
        index = GalleryIndex.build(
            case.gallery, table_of(case), kind="approximate", cells=60, probes=probes
        )
        found = index.search(case.query, 10)
        hits = [
            len(set(a) & set(b))
            for a, b in zip(found.gallery_index, exact.gallery_index, strict=True)
        ]
        assert index.recall(case.query, exact) == pytest.approx(np.mean(hits) / 10)
        recalls.append(np.mean(hits) / 10)
    assert recalls[0] < recalls[1] < recalls[2]
    assert recalls[2] > 0.95


def test_fewer_kept_than_asked_for(case):
    index = GalleryIndex.build(
        case.gallery[:4], pd.DataFrame({"identity": [1, 1, 2, 3], "camera": [0, 0, 0, 0]})
    )
    found = index.search(case.query[:1], 6, [1], [0])
    assert sorted(found.gallery_index[0].tolist()) == [-1, -1, -1, -1, 2, 3]
    assert np.isinf(found.distance[0, 2:]).all()
    assert set(found.gallery_index[0, :2].tolist()) == {2, 3}


def test_texts_and_absent_cameras(case, tmp_path):
    table = pd.DataFrame({"identity": [f"p{n}" for n in case.gallery_identity]})
    index = GalleryIndex.build(case.gallery, table)
    index.save(tmp_path / "i")
    rows, _ = expected_lists(case, 5, cameras=False)
    absent = pd.Series([pd.NA] * 25, dtype=object)
    for each in (index, GalleryIndex.load(tmp_path / "i")):
        found = each.search(case.query, 5, [f"p{n}" for n in case.query_identity], absent)
        np.testing.assert_array_equal(found.gallery_index, rows)


def test_misuse_is_named(case, tmp_path):
    index = GalleryIndex.build(case.gallery, table_of(case))
    for call, message in [
        (lambda: index.search(case.query[:, :5], 3), "length 5 and the gallery's 16"),
        (lambda: index.search(case.query, 0), "k must be at least 1"),
        (lambda: index.search(case.query, 3, case.query_identity), "one is missing"),
        (lambda: GalleryIndex.build(case.gallery), "need their table"),
        (lambda: GalleryIndex.build(case.gallery, table_of(case)[:3]), "500 features for 3 rows"),
        (
            lambda: GalleryIndex.build(case.gallery, table_of(case), kind="fast"),
            "kind is 'exact' or 'approximate'",
        ),
        (
            lambda: GalleryIndex.build(
                case.gallery[:5], table_of(case, slice(5)), kind="approximate", cells=9
            ),
            "9 cells need",
        ),
        (
            lambda: GalleryIndex.build(stored(case, tmp_path / "s"), table_of(case)),
            "a store brings its own table",
        ),
    ]:
        with pytest.raises(ReidError, match=message):
            call()


def test_without_faiss_the_extra_is_named(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ReidError, match=r"msinet-core\[scale\]"):
        GalleryIndex.build(case.gallery, table_of(case))
