"""MSMT17 and VehicleID: lists, versions, and lists that do not fit what is on disk."""

import shutil

import numpy as np
import pytest

from msinet_core.data.checks import check_dataset
from msinet_core.data.protocol import draw_gallery
from msinet_core.data.sources import load_dataset
from msinet_core.errors import ReidError


@pytest.mark.parametrize(("version", "folder"), [("V1", "train"), ("V2", "mask_train_v2")])
@pytest.mark.parametrize("parent", [False, True])
def test_msmt17_version_by_what_is_on_disk(msmt17, version, folder, parent):
    root = msmt17(version)
    data = load_dataset("msmt17", root.parent if parent else root)
    assert data.name == f"msmt17_{version.lower()}"
    assert [len(data.split(s)) for s in ("train", "query", "gallery")] == [11, 2, 4]
    first = data.train.iloc[0]
    assert first["path"] == f"{folder}/0000/0000_000_01_0303morning_0000_0.jpg"
    assert (first["identity"], first["camera"]) == (0, 1)
    assert all((data.root / path).is_file() for path in data.table["path"])
    for split in ("train", "query", "gallery"):
        assert list(data.split(split)["path"]) == sorted(data.split(split)["path"])


def test_msmt17_test_identities_are_others(msmt17):
    data = load_dataset("msmt17", msmt17())
    assert sorted(set(data.train["identity"])) == [0, 1, 2]
    assert sorted(set(data.query["identity"])) == [3, 4]
    assert sorted(set(data.gallery["identity"])) == [3, 4]


def test_msmt17_validation_list(msmt17):
    root = msmt17()
    assert len(load_dataset("msmt17", root, validation="leave").train) == 9
    with pytest.raises(ReidError, match="validation is 'test'"):
        load_dataset("msmt17", root, validation="test")


def test_msmt17_both_versions(msmt17):
    root = msmt17("V1").parent
    msmt17("V2")
    with pytest.raises(ReidError, match=r"both versions of MSMT17; choose one with version='V1'"):
        load_dataset("msmt17", root)
    assert load_dataset("msmt17", root, version="V2").name == "msmt17_v2"
    assert load_dataset("msmt17", root, version="V1").name == "msmt17_v1"


def test_msmt17_wrong_version(msmt17):
    with pytest.raises(ReidError, match=r"version V1 is there: pass version='V1'"):
        load_dataset("msmt17", msmt17("V1"), version="V2")
    with pytest.raises(ReidError, match="MSMT17 has the versions 'V1' and 'V2'"):
        load_dataset("msmt17", msmt17("V1"), version="V3")


@pytest.mark.parametrize("part", ["list_val.txt", "list_query.txt", "test"])
def test_msmt17_half_unpacked(msmt17, part):
    root = msmt17("V1")
    shutil.rmtree(root / part) if part == "test" else (root / part).unlink()
    with pytest.raises(
        ReidError, match=rf"MSMT17_V1 lacks {part} \(half-unpacked\?\); it holds .*list_train"
    ):
        load_dataset("msmt17", root.parent)


def test_msmt17_lists_of_another_kind(msmt17):
    root = msmt17("V1")
    (root / "list_query.txt").write_text("0000/portrait.jpg 0\n")
    with pytest.raises(
        ReidError, match=r"list_query\.txt: the line of '0000/portrait\.jpg' is not of the form"
    ):
        load_dataset("msmt17", root)
    (root / "list_query.txt").write_text("")
    with pytest.raises(ReidError, match=r"list_query\.txt is empty"):
        load_dataset("msmt17", root)
    (root / "list_query.txt").write_bytes("0000/é 0".encode("latin-1"))
    with pytest.raises(ReidError, match=r"list_query\.txt: the line of '0000/é\.jpg' is not of"):
        load_dataset("msmt17", root)
    (root / "list_query.txt").write_bytes(b"\xff\xfea")  # half a character of UTF-16
    with pytest.raises(ReidError, match=r"list_query\.txt cannot be read as text; save it as UTF"):
        load_dataset("msmt17", root)


def test_list_naming_absent_images_is_found_before_work(msmt17):
    root = msmt17("V2")
    gone = "mask_test_v2/0001/0001_002_12_0303morning_0002_0.jpg"
    (root / gone).unlink()
    report = check_dataset(load_dataset("msmt17", root), quick=True)
    assert report.details["files"] == (gone,)
    with pytest.raises(ReidError, match=r"1 of 17 images is missing.*0001_002_12"):
        report.raise_if_broken()


@pytest.mark.parametrize("parent", [False, True])
def test_vehicleid(vehicleid, parent):
    data = load_dataset("vehicleid", vehicleid.parent if parent else vehicleid)
    assert len(data.train) == 12
    assert data.train.iloc[0].tolist()[:2] == ["image/0000100.jpg", 40]
    assert list(data.train["path"]) == sorted(data.train["path"])
    assert len(data.gallery) == 6
    assert sorted(data.gallery["identity"]) == list(range(500, 506))
    assert len(data.query) == sum(2 + i % 4 for i in range(6)) - 6
    assert not data.has_cameras
    assert all((data.root / path).is_file() for path in data.table["path"])


def test_vehicleid_split_is_the_first_draw(vehicleid):
    for seed in (0, 5):
        data = load_dataset("vehicleid", vehicleid, draw_seed=seed)
        test = data.table[data.table["split"] != "train"]
        assert list(test["path"]) == sorted(test["path"])
        np.testing.assert_array_equal(
            test["split"] == "gallery", draw_gallery(test["identity"], seed)
        )


def test_vehicleid_other_lists(vehicleid):
    data = load_dataset("vehicleid", vehicleid, test_size=1600)
    assert any("3 identities, its name says 1,600" in note for note in data.notes)
    with pytest.raises(
        ReidError,
        match=r"no test_list_2400\.txt in .*it holds test_list_1600\.txt, test_list_800\.txt",
    ):
        load_dataset("vehicleid", vehicleid, test_size=2400)


def test_vehicleid_identity_with_one_image(vehicleid, image):
    image(vehicleid / "image" / "0000001.jpg")
    with open(vehicleid / "train_test_split" / "test_list_800.txt", "a") as file:
        file.write("0000001 999\n")
    data = load_dataset("vehicleid", vehicleid)
    assert any("single image" in note and "999" in note for note in data.notes)
    assert 999 not in set(data.gallery["identity"])


def test_vehicleid_broken(vehicleid):
    lists = vehicleid / "train_test_split"
    (lists / "train_list.txt").write_text("0000100 40\n0000101\n")
    with pytest.raises(
        ReidError,
        match=r"train_list\.txt: the line of '0000101\.jpg' is not of the form 'image_name",
    ):
        load_dataset("vehicleid", vehicleid)
    shutil.rmtree(vehicleid / "image")
    with pytest.raises(
        ReidError, match=r"VehicleID lacks image \(half-unpacked\?\); it holds train_test_split/"
    ):
        load_dataset("vehicleid", vehicleid.parent)
