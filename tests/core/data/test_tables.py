"""Any table: columns of the wildlife-datasets package, and splits that a seed draws."""

import numpy as np
import pandas as pd
import pytest

from msinet_core.data.checks import check_dataset, has_match
from msinet_core.data.protocol import Protocol
from msinet_core.data.sources import load_dataset
from msinet_core.data.tables import from_table, queries_and_gallery
from msinet_core.errors import ReidError


def wildlife(identities=10, images=6):
    """image_id, identity, path, date, orientation: as the package's tables are."""
    rows = [
        (
            f"{who:02d}{n}",
            f"turtle{who:02d}",
            f"images/t{who:02d}_{n}.jpg",
            f"2019-0{1 + n // 2}-11",
            "left",
        )
        for who in range(identities)
        for n in range(images)
    ]
    return pd.DataFrame(rows, columns=["image_id", "identity", "path", "date", "orientation"])


def test_split_by_identity():
    data = from_table(wildlife(), "/data", camera="date", test_share=0.3, seed=4)
    trained, tested = (
        set(data.train["identity"]),
        {*data.query["identity"], *data.gallery["identity"]},
    )
    assert (len(trained), len(tested)) == (7, 3)
    assert not trained & tested
    assert len(data) == 60
    assert "orientation" in data.table
    assert data.notes == ("split by identity: 0.3 of the identities for testing, seed 4",)
    assert has_match(data.query, data.gallery, Protocol()).all()
    again = from_table(wildlife(), "/data", camera="date", test_share=0.3, seed=4)
    pd.testing.assert_frame_equal(again.table, data.table)
    other = from_table(wildlife(), "/data", camera="date", test_share=0.3, seed=5)
    assert set(other.train["identity"]) != trained


def test_rows_in_another_order_give_the_same_identities():
    mixed = wildlife().sample(frac=1, random_state=1)
    a, b = (from_table(t, "/", test_share=0.5) for t in (wildlife(), mixed))
    assert set(a.train["identity"]) == set(b.train["identity"])


def test_without_cameras_one_query_an_identity():
    data = from_table(wildlife(), "/data", test_share=0.5)
    assert not data.has_cameras
    assert len(data.query) == data.query["identity"].nunique() == 5
    assert has_match(data.query, data.gallery, Protocol(exclude_same_camera=False)).all()


def test_train_and_test_column():
    table = wildlife().assign(set=["train"] * 30 + ["test"] * 30)
    data = from_table(table, "/data", split="set", camera="date")
    assert list(data.train["path"]) == list(table["path"][:30])
    assert len(data.query) == 15  # one of each identity and date
    table["set"] = ["train"] * 40 + ["query"] * 10 + ["gallery"] * 10
    as_given = from_table(table, "/data", split="set")
    assert [len(as_given.split(s)) for s in ("train", "query", "gallery")] == [40, 10, 10]
    assert as_given.notes == ()


def test_unknown_individuals_are_left_out_and_told():
    table = wildlife()
    table.loc[:3, "identity"] = "unknown"
    table.loc[4, "identity"] = None
    data = from_table(table, "/data", test_share=0.5)
    assert len(data) == 55
    assert data.notes[0] == "5 rows without a known identity left out"


def test_a_folder_with_a_table(tmp_path, images):
    table = wildlife(4, 4)
    images(tmp_path, table["path"])
    table.to_csv(tmp_path / "metadata.csv", index=False)
    data = load_dataset("table", tmp_path, camera="date", test_share=0.5)
    assert check_dataset(data).ok
    with pytest.raises(
        ReidError, match=r"there is no annotations\.csv in .*it holds images/, metadata\.csv"
    ):
        load_dataset("table", tmp_path, file="annotations.csv")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t.drop(columns="path"),
            {"test_share": 0.5},
            "no column 'path'; it has image_id, identity, date",
        ),
        (lambda t: t, {}, r"no column split; name one with split=.*test_share=0\.5"),
        (lambda t: t, {"test_share": 1.0}, "lies between 0 and 1"),
        (lambda t: t, {"test_share": "half"}, "test_share is half; it lies between"),
        (lambda t: t.assign(identity="a"), {"test_share": 0.5}, "one identity cannot be split"),
        (lambda t: t.assign(split="val"), {}, "split is 'val' in some rows"),
        (
            lambda t: t.assign(split=["val", None, *["train"] * (len(t) - 2)]),
            {},
            "split is (nan|None), 'val' in some rows",
        ),
        (lambda t: t.assign(split="train"), {"split": "split", "test_share": 0.5}, "not both"),
        (
            lambda t: t.assign(date=t["date"].where(t.index > 1)),
            {"camera": "date", "test_share": 0.5},
            "date is empty in 2 rows",
        ),
        (
            lambda t: t.assign(identity="unknown"),
            {"test_share": 0.5},
            "no rows with a known identity",
        ),
    ],
)
def test_tables_that_cannot_be(change, options, message):
    with pytest.raises(ReidError, match=message):
        from_table(change(wildlife()), "/data", **options)


@pytest.mark.parametrize("seed", range(5))
def test_queries_and_gallery_rule(seed):
    """Re-derived with loops over random identities and cameras."""
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, 12, 60)
    camera = rng.integers(0, 4, 60)
    query = queries_and_gallery(identity, camera, seed)
    for who in set(identity):
        rows = np.flatnonzero(identity == who)
        seen = set(camera[rows])
        if len(seen) == 1:
            assert not query[rows].any()
            continue
        per_camera = {c: [r for r in rows if camera[r] == c] for c in seen}
        if all(len(r) == 1 for r in per_camera.values()):
            assert query[rows].sum() == 1
        else:
            assert {c: query[r].sum() for c, r in per_camera.items()} == {
                c: int(len(r) > 1) for c, r in per_camera.items()
            }
        for row in rows[query[rows]]:
            assert any(not query[r] and camera[r] != camera[row] for r in rows)
    np.testing.assert_array_equal(query, queries_and_gallery(identity, camera, seed))


def test_queries_and_gallery_without_cameras():
    query = queries_and_gallery([7, 7, 7, 8, 9, 9])
    assert query[:3].sum() == 1
    assert not query[3]
    assert query[4:].sum() == 1
