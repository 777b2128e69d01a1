"""Data sets whose file names say everything: their layouts, and broken copies of them."""

import os
import shutil

import pandas as pd
import pytest

from msinet_core.data.labels import identities, integers_or_text
from msinet_core.data.sources import load_dataset
from msinet_core.errors import ReidError


def rows(dataset, split):
    part = dataset.split(split)
    return list(zip(part["path"], part["identity"], part["camera"], strict=True))


@pytest.mark.parametrize("given", ["itself", "parent"])
def test_market1501(market, given):
    data = load_dataset("market1501", market if given == "itself" else market.parent)
    assert data.root == market
    assert rows(data, "train")[:3] == [
        ("bounding_box_train/0002_c1s1_000151_01.jpg", 2, 1),
        ("bounding_box_train/0002_c1s1_000276_01.jpg", 2, 1),
        ("bounding_box_train/0002_c3s1_000151_01.jpg", 2, 3),
    ]
    assert [len(data.split(s)) for s in ("train", "query", "gallery")] == [12, 4, 10]
    assert rows(data, "gallery")[0] == ("bounding_box_test/-1_c1s1_000401_03.jpg", -1, 1)
    assert ("bounding_box_test/0000_c4s3_012345_02.jpg", 0, 4) in rows(data, "gallery")
    assert data.junk_identities == (-1,)
    assert data.distractor_identities == (0,)
    assert set(data.gallery["sequence"]) == {1, 2, 3}
    assert data.table["identity"].dtype.kind == data.table["camera"].dtype.kind == "i"


def test_rows_are_sorted_whatever_the_file_systems_order(market, monkeypatch):
    expected = load_dataset("market1501", market).table
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((d, s, files[::-1]) for d, s, files in walk(*a, **k))
    )
    pd.testing.assert_frame_equal(load_dataset("market1501", market).table, expected)
    assert list(expected["path"]) == sorted(
        expected["path"],
        key=lambda p: (p.split("/")[0] != "bounding_box_train", p.split("/")[0] != "query", p),
    )


def test_images_of_another_naming_are_left_out_and_told(market, image):
    image(market / "query" / "IMG_2041.jpg")
    image(market / "query" / ".hidden_0001_c1s1_x.jpg")
    data = load_dataset("market1501", market)
    assert len(data.query) == 4
    note = next(note for note in data.notes if "IMG_2041" in note)
    assert note.startswith("1 image in query")


@pytest.mark.parametrize("part", ["bounding_box_train", "query", "bounding_box_test"])
def test_half_unpacked(market, part):
    shutil.rmtree(market / part)
    with pytest.raises(ReidError) as error:
        load_dataset("market1501", market)
    message = str(error.value)
    assert f"lacks {part} (half-unpacked?)" in message
    assert str(market) in message
    other = "query/" if part != "query" else "bounding_box_test/"
    assert other in message  # what was found
    assert "must be fetched from its authors" in message  # what to do


def test_empty_part(market):
    for file in (market / "query").iterdir():
        file.unlink()
    with pytest.raises(ReidError, match=r"query has no images \(it holds nothing\)"):
        load_dataset("market1501", market)


def test_missing_root(tmp_path):
    with pytest.raises(ReidError, match=r"nowhere does not exist.*Market-1501 must be fetched"):
        load_dataset("market1501", tmp_path / "nowhere")


def test_root_is_a_file(tmp_path):
    (tmp_path / "Market.zip").write_bytes(b"x")
    with pytest.raises(ReidError, match=r"Market\.zip is a file, not a folder"):
        load_dataset("market1501", tmp_path / "Market.zip")


def test_folder_of_something_else_lists_at_most_eight_entries(tmp_path):
    for n in range(12):
        (tmp_path / f"entry{n:02d}").mkdir()
    with pytest.raises(ReidError) as error:
        load_dataset("veri776", tmp_path)
    assert "looked for image_train, image_query, image_test in" in str(error.value)
    assert "entry07/ and 4 more" in str(error.value)
    assert "entry08" not in str(error.value)


def test_another_data_set_in_the_folders(tmp_path, images):
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        images(tmp_path / part, ["0001_c2_f0046182.jpg"])  # DukeMTMC-reID has no sequence
    with pytest.raises(
        ReidError, match=r"none of the 1 images.*0001_c2_f0046182\.jpg.*source 'folders'"
    ):
        load_dataset("market1501", tmp_path)
    data = load_dataset("folders", tmp_path)
    assert rows(data, "train") == [("bounding_box_train/0001_c2_f0046182.jpg", 1, 2)]


def test_non_ascii_paths(market):
    moved = market.parent / "Bilder für Ärzte 照片" / "Market-1501-v15.09.15"
    moved.parent.mkdir()
    market.rename(moved)
    assert len(load_dataset("market1501", moved.parent)) == 26


def test_read_only_root(market):
    before = sorted(str(p) for p in market.rglob("*"))
    folders = [market, *(p for p in market.iterdir() if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert len(load_dataset("market1501", market)) == 26
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(str(p) for p in market.rglob("*")) == before


def test_veri776(veri):
    data = load_dataset("veri776", veri.parent)
    assert [len(data.split(s)) for s in ("train", "query", "gallery")] == [8, 4, 8]
    assert rows(data, "query")[1] == ("image_query/0002_c020_00016450_0.jpg", 2, 20)


@pytest.mark.parametrize(("boxes", "train"), [("detected", 8), ("labeled", 12)])
@pytest.mark.parametrize("parent", [False, True])
def test_cuhk03(cuhk03, boxes, train, parent):
    data = load_dataset("cuhk03", cuhk03.parent if parent else cuhk03, boxes=boxes)
    assert data.name == f"cuhk03_{boxes}"
    assert len(data.train) == train
    assert ("bounding_box_test/0003_c1_21.png", 3, 1) in rows(data, "gallery")
    assert load_dataset("cuhk03", cuhk03 / boxes, boxes=boxes).table.equals(data.table)


def test_cuhk03_half_there(cuhk03):
    shutil.rmtree(cuhk03 / "labeled" / "query")
    with pytest.raises(ReidError, match=r"labeled lacks query \(half-unpacked"):
        load_dataset("cuhk03", cuhk03, boxes="labeled")
    with pytest.raises(ReidError, match="boxes is 'manual'"):
        load_dataset("cuhk03", cuhk03, boxes="manual")


def test_folders_with_names_and_pattern_of_ones_own(tmp_path, images):
    images(
        tmp_path,
        ["a/0042/north_17.jpg", "a/0042/south_3.png", "b/0007/north_1.jpg", "c/0007/east_2.jpg"],
    )
    pattern = r"(?P<identity>\d+)/(?P<camera>[^_]+)_(?P<frame>\d+)"
    data = load_dataset(
        "folders", tmp_path, train="a", query="b", gallery="c", pattern=pattern, title="mine"
    )
    assert rows(data, "train") == [
        ("a/0042/north_17.jpg", 42, "north"),
        ("a/0042/south_3.png", 42, "south"),
    ]
    assert list(data.table["frame"]) == [17, 3, 1, 2]
    assert data.name == "mine"
    only = load_dataset(
        "folders", tmp_path, train="a", query="", gallery="", pattern=r"(?P<identity>\d+)/"
    )
    assert len(only) == 2
    assert not only.has_cameras


def test_folders_pattern_sees_only_the_path_below_the_split(tmp_path, images):
    images(tmp_path, ["0099_c9/0001_c2_x.jpg"])
    data = load_dataset("folders", tmp_path, train="0099_c9", query="", gallery="")
    assert rows(data, "train") == [("0099_c9/0001_c2_x.jpg", 1, 2)]


def test_folders_from_lists_as_veri_wild(tmp_path, images):
    images(
        tmp_path / "images",
        ["00001/000001.jpg", "00001/000002.jpg", "00002/000003.jpg", "00002/000004.jpg"],
    )
    lists = tmp_path / "train_test_split"
    lists.mkdir()
    (lists / "train_list.txt").write_text("00001/000002\n00001/000001\n")
    (lists / "query.txt").write_text("00002/000003.jpg 2\n")
    (lists / "gallery.txt").write_text("00002\\000004.jpg\n\n")
    (lists / "vehicle_info.txt").write_text(
        "id/image;Camera ID;Time;Model;Type;Color\n"
        "00001/000001;7;t;m;t;c\n00001/000002;31;t;m;t;c\n00002/000003;7;t\n00002/000004;8;t\n"
    )
    options = {
        "train": "train_test_split/train_list.txt",
        "query": "train_test_split/query.txt",
        "gallery": "train_test_split/gallery.txt",
        "images": "images",
        "pattern": r"(?P<identity>\d+)/",
    }
    data = load_dataset("folders", tmp_path, **options, cameras="train_test_split/vehicle_info.txt")
    assert rows(data, "train") == [
        ("images/00001/000001.jpg", 1, 7),
        ("images/00001/000002.jpg", 1, 31),
    ]
    assert rows(data, "gallery") == [("images/00002/000004.jpg", 2, 8)]
    assert not load_dataset("folders", tmp_path, **options).has_cameras
    (lists / "vehicle_info.txt").write_text("00001/000001;7\n")
    with pytest.raises(ReidError, match=r"gives no camera for images/00001/000002\.jpg"):
        load_dataset("folders", tmp_path, **options, cameras="train_test_split/vehicle_info.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "(?P<identity>"}, "is no regular expression"),
        ({"pattern": r"(\d+)_c"}, "has no group identity"),
        ({"train": "", "query": "", "gallery": ""}, "all left out"),
        ({"train": "missing"}, "lacks missing"),
    ],
)
def test_folders_options_that_cannot_be(market, options, message):
    with pytest.raises(ReidError, match=message):
        load_dataset("folders", market, **options)


def test_integers_or_text():
    text = pd.Series(["007", "12", "-1"])
    assert integers_or_text(text).tolist() == [7, 12, -1]
    assert integers_or_text(text, padded=False).tolist() == ["007", "12", "-1"]
    assert integers_or_text(pd.Series(["0", "12", "-1"]), padded=False).tolist() == [0, 12, -1]
    assert integers_or_text(pd.Series(["1", "1a"])).tolist() == ["1", "1a"]
    assert integers_or_text(pd.Series(["1", "9" * 30])).tolist() == ["1", "9" * 30]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ()),
        ("", ()),
        (-1, (-1,)),
        ("-1,0", (-1, 0)),
        ("rex", ("rex",)),
        ([3, 4], (3, 4)),
        (("a",), ("a",)),
    ],
)
def test_identities(given, expected):
    assert identities(given) == expected
