"""What data sets look like on the disks of those who study them."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from msinet_core.data import check_dataset, from_table, load_dataset
from msinet_core.data.roots import image_files, shown
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError


@pytest.mark.parametrize(
    "litter",
    [
        "bounding_box_train/@eaDir/0002_c1s1_000151_01.jpg/SYNOPHOTO_THUMB_M.jpg",
        "query/#recycle/0001_c1s1_000009_00.jpg",
        "query/.AppleDouble/0001_c1s1_000009_00.jpg",
        "bounding_box_test/__MACOSX/0001_c1s1_000009_00.jpg",
        "bounding_box_test/._0001_c1s1_000009_00.jpg",
        "query/@Recycle/0001_c1s1_000009_00.jpg",
        "query/$RECYCLE.BIN/0001_c1s1_000009_00.jpg",
        "query/.DS_Store",
        "query/Thumbs.db",
        "query/desktop.ini",
    ],
)
def test_what_drives_and_desktops_leave_behind(market, image, litter):
    expected = load_dataset("market1501", market).table
    if Path(litter).suffix == ".jpg":
        image(market / litter)
    else:
        (market / litter).write_bytes(b"x")
    again = load_dataset("market1501", market)
    pd.testing.assert_frame_equal(again.table, expected)
    assert not [note for note in again.notes if "another naming" in note]


def test_folders_of_ones_own_are_no_litter(tmp_path, images):
    images(tmp_path, ["#12/1.jpg", "@home/1.jpg", "~tmp/1.jpg", "@eaDir2/1.jpg"])
    assert len(image_files(tmp_path, tmp_path)) == 4


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")


def test_links_to_a_parent_end(market):
    expected = load_dataset("market1501", market).table
    link(market / "query" / "up", market)
    link(market / "query" / "itself", market / "query")
    link(market / "bounding_box_test" / "back", market / "bounding_box_test")
    table = load_dataset("market1501", market).table
    own = table[~table["path"].str.contains("/up/")].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, expected)
    assert len(table) <= 2 * len(expected)


def test_links_to_folders_elsewhere_are_followed(tmp_path, images):
    images(tmp_path, ["disk/a/1.jpg", "disk/b/2.jpg"])
    (tmp_path / "set").mkdir()
    link(tmp_path / "set" / "a", tmp_path / "disk" / "a")
    link(tmp_path / "set" / "again", tmp_path / "disk" / "a")
    link(tmp_path / "gone", tmp_path / "nowhere")
    assert image_files(tmp_path / "set", tmp_path / "set") == ["a/1.jpg"]
    link(tmp_path / "linked", tmp_path / "set")
    assert image_files(tmp_path / "linked", tmp_path) == ["linked/a/1.jpg"]


def test_names_that_are_not_utf8(market):
    name = os.fsencode(market / "query") + b"/0001_c1s1_caf\xe9.jpg"
    try:
        Path(os.fsdecode(name)).write_bytes((market / "query").iterdir().__next__().read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(ReidError, match=r"1 file names are not UTF-8.*convmv") as error:
        load_dataset("market1501", market)
    str(error.value).encode()  # can be printed
    Path(os.fsdecode(name)).rename(market / "query" / os.fsdecode(b"caf\xe9.jpg"))
    data = load_dataset("market1501", market)  # of another naming: left out, in a printable note
    assert [note.encode() for note in data.notes if "another naming" in note]


def test_shown_can_be_printed():
    assert shown(["caf\udce9"]) == "caf\\udce9"


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("title", 2024, "2024"),
        ("title", "2024", "2024"),
        ("title", "²", "²"),
        ("title", Path("a/b"), os.path.join("a", "b")),
    ],
)
def test_options_become_what_their_source_wants(manifest, option, given, expected):
    root = manifest("path,identity,split\na.jpg,1,train\n")
    assert load_dataset("manifest", root, **{option: given}).name == expected


def test_options_of_digits(tmp_path, images, vehicleid):
    images(tmp_path, ["yr/2022/0001_c1_a.jpg", "yr/007/0002_c1_a.jpg", "yr/2024/0002_c2_a.jpg"])
    options = {"train": 2022, "query": "007", "gallery": Path("2024")}
    data = load_dataset("folders", tmp_path / "yr", **options)
    assert data.table["path"].tolist() == [
        "2022/0001_c1_a.jpg",
        "007/0002_c1_a.jpg",
        "2024/0002_c2_a.jpg",
    ]
    assert len(load_dataset("vehicleid", vehicleid, test_size="800", draw_seed="5")) > 0
    with pytest.raises(ReidError, match="the option 'test_size' is a whole number; got 'many'"):
        load_dataset("vehicleid", vehicleid, test_size="many")


def seen(rows=12):
    table = pd.DataFrame({"path": [Path("i") / f"{n}.jpg" for n in range(rows)]})
    table["identity"] = [n // 2 % 3 for n in range(rows)]
    table["camera"] = [n % 2 for n in range(rows)]
    return table.assign(split=["train"] * 6 + ["query", "gallery"] * (rows // 2 - 3))


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [
        ("camera", lambda c: pd.to_datetime("2024-01-0" + (c + 1).astype(str)), "2024-01-01"),
        ("camera", lambda c: c.map({0: "left", 1: "right"}).astype("category"), "left"),
        ("camera", lambda c: c.astype(float), 0),
        ("camera", lambda c: c.map({0: "c1", 1: "c2 "}), "c1"),
        ("identity", lambda c: c.astype("category"), 0),
        ("identity", lambda c: c.map({0: 0, 1: "n1", 2: 2}), "0"),
        ("identity", lambda c: c.map({0: "Ann", 1: "Bob", 2: "Cem "}), "Ann"),
    ],
)
@pytest.mark.parametrize("way", ["from_table", "ReidDataset"])
def test_labels_of_every_kind_are_numbers_or_text(column, change, expected, way):
    table = seen()
    table[column] = change(table[column])
    make = {"from_table": from_table, "ReidDataset": lambda t, root: ReidDataset("x", root, t)}
    data = make[way](table, "/")
    values = data.table[column].tolist()
    assert values[0] == expected
    assert len({type(value) for value in values}) == 1
    assert len(set(values)) == len(set(seen()[column]))
    assert not any(str(value) != str(value).strip() for value in values)
    report = check_dataset(data, quick=True)
    assert [f.found for f in report.findings if f.check == "queries"] == [
        "all 3 have a match by another camera in the gallery"
    ]
    changed = any(word in str(expected) for word in ("c1", "Ann")) or values[0] == "0"
    told = [note for note in data.notes if note.startswith(column)]
    assert bool(told) == changed
    assert [f.found for f in report.findings if f.check == "notes"] == told


def test_gaps_are_refused_before_work():
    for column in ("identity", "camera", "path", "split"):
        table = seen().astype({column: object})
        table.loc[3, column] = None
        with pytest.raises(ReidError, match=f"{column} is empty in 1 rows"):
            ReidDataset("x", "/", table)


def test_two_columns_of_one_name():
    with pytest.raises(ReidError, match="two columns called 'camera'"):
        ReidDataset("x", "/", pd.concat([seen(), seen()[["camera"]]], axis=1))


def test_splits_in_capitals_and_categories():
    table = seen().assign(split=lambda t: (t["split"].str.title() + " ").astype("category"))
    assert set(ReidDataset("x", "/", table).table["split"]) == {"train", "query", "gallery"}
    assert set(from_table(table, "/").table["split"]) == {"train", "query", "gallery"}


@pytest.mark.parametrize("where", ["above", "absolute", "elsewhere", "itself"])
def test_folders_wherever_the_user_names_them(tmp_path, images, where):
    images(tmp_path, ["mine/0001_c1_a.jpg", "other/0002_c2_a.jpg"])
    train = {
        "above": "../other",
        "absolute": tmp_path / "mine",
        "elsewhere": tmp_path / "other",
        "itself": ".",
    }[where]
    data = load_dataset("folders", tmp_path / "mine", train=train, query="", gallery="")
    assert (data.root / data.table["path"][0]).is_file()
    assert data.table["identity"].tolist() == [1 if where in ("absolute", "itself") else 2]
