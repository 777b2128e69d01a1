"""The manifest CSV."""

import pytest

from msinet_core.data.sources import load_dataset
from msinet_core.errors import ReidError

GOOD = """path,identity,camera,split,view
i/b.jpg,rex,1,train,left
i/a.jpg,rex,2,train,
i/q.jpg,NA,1,query,right
i/g.jpg,NA,3,gallery,right
"""


def test_rows_keep_the_order_of_the_csv(manifest):
    data = load_dataset("manifest", manifest(GOOD))
    assert list(data.table["path"]) == ["i/b.jpg", "i/a.jpg", "i/q.jpg", "i/g.jpg"]
    assert list(data.table["identity"]) == ["rex", "rex", "NA", "NA"]  # somebody may be called NA
    assert list(data.table["camera"]) == [1, 2, 1, 3]
    assert data.table["view"].isna().tolist() == [False, True, False, False]
    assert data.name == "manifest mine"
    assert data.has_cameras
    assert data.junk_identities == ()


def test_the_csv_itself_or_another_file(manifest):
    root = manifest(GOOD)
    assert len(load_dataset("manifest", root / "manifest.csv")) == 4
    (root / "manifest.csv").rename(root / "other.csv")
    data = load_dataset("manifest", root, file="other.csv", title="mine", junk_identities=(-1,))
    assert (data.name, data.junk_identities, data.root) == ("mine", (-1,), root)
    with pytest.raises(
        ReidError, match=r"no manifest\.csv in .*mine; .*holds i/, other\.csv\. A manifest is a CSV"
    ):
        load_dataset("manifest", root)
    with pytest.raises(ReidError, match=r"nowhere.* does not exist|no nowhere"):
        load_dataset("manifest", root / "nowhere" / "m.csv")


def test_no_camera_column(manifest):
    data = load_dataset("manifest", manifest("path,identity,split\na.jpg,1,train\nb.jpg,2,query\n"))
    assert not data.has_cameras
    assert data.table["camera"].isna().all()
    assert list(data.table["identity"]) == [1, 2]
    empty = load_dataset(
        "manifest", manifest("path,identity,camera,split\na.jpg,1,,train\nb.jpg,2,,query\n")
    )
    assert not empty.has_cameras


def test_zeros_in_front_make_text(manifest):
    data = load_dataset(
        "manifest", manifest("path,identity,camera,split\na.jpg,01,1,train\nb.jpg,1,02,train\n")
    )
    assert list(data.table["identity"]) == ["01", "1"]
    assert list(data.table["camera"]) == ["1", "02"]


def test_byte_order_mark_blanks_and_non_ascii(manifest):
    root = manifest("path,identity,split\nBilder/größe 1.jpg,Ärzte,train\n", folder="Ünï 照片")
    (root / "manifest.csv").write_text(
        "\ufeffpath, identity, split\nBilder/größe 1.jpg, Ärzte, train\n", encoding="utf-8"
    )
    data = load_dataset("manifest", root)
    assert (data.root / data.table["path"][0]).is_file()
    assert data.table["identity"][0] == "Ärzte"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\na.jpg,train\n", r"lacks the column identity; it has path, split"),
        ("path;identity;split\na.jpg;1;train\n", r"lacks the column path, identity, split"),
        ("", "is empty"),
        ("path,identity,split\n", "a heading and no rows"),
        (
            "path,identity,split\na.jpg,1,train\nb.jpg,2,test\n",
            r"split is 'test' in line 3; write one of train, query, gallery",
        ),
        ("path,identity,split\na.jpg,,train\n", r"identity is empty in line 2"),
        (
            "path,identity,camera,split\na.jpg,1,1,train\nb.jpg,1,,train\n",
            r"camera is empty in line 3",
        ),
        (
            "path,identity,split\na.jpg,1,train\nb.jpg,1,train,9,9\n",
            "cannot be read as a comma-separated",
        ),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ReidError, match=message):
        load_dataset("manifest", tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(
        "path,identity,split\nä.jpg,1,train\n".encode("latin-1")
    )
    with pytest.raises(ReidError, match="comma-separated UTF-8"):
        load_dataset("manifest", tmp_path)
