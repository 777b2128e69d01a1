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
        ("path:identity:split\na.jpg:1:train\n", r"lacks the column path, identity, split"),
        ("path,identity,split,path\na.jpg,1,train,b.jpg\n", r"names path twice; rename one"),
        ("PK\x03\x04rest of a workbook", "is a workbook, not text; save it as CSV"),
        ("p\0a\0t\0h\0,\0", "cannot be read as text"),
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
            r"cannot be read as a comma-separated table: line 3 has 5 fields, the heading 3",
        ),
        (
            "path,identity,split\n\na.jpg,1,train\n\n\nb.jpg,2,qery\n",
            r"split is 'qery' in line 6",
        ),
        (
            'path,identity,split,note\na.jpg,1,train,"two\nlines"\nb.jpg,,train,\n',
            r"identity is empty in line 4",
        ),
        (
            "path,identity,split\n..\\..\\a.jpg,1,train\n",
            r"names '\.\./\.\./a\.jpg', which lies outside",
        ),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ReidError, match=message):
        load_dataset("manifest", tmp_path)


@pytest.mark.parametrize(
    ("encoding", "told"),
    [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)],
)
def test_encodings(tmp_path, image, encoding, told):
    text = "path,identity,split\nBjörn’s/ä.jpg,Ärger,train\n"
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
    image(tmp_path / "Björn’s/ä.jpg")
    data = load_dataset("manifest", tmp_path)
    assert data.table["identity"].tolist() == ["Ärger"]
    assert (data.root / data.table["path"][0]).is_file()
    assert [note for note in data.notes if "read as Latin-1" in note] == [
        "manifest.csv is not UTF-8; it was read as Latin-1 (Windows-1252)"
    ] * told


FOUR = "i/b.jpg,rex,1,train\ni/a.jpg,rex,2,train\ni/q.jpg,ann,1,query\ni/g.jpg,ann,3,gallery\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,identity,camera,split\n" + FOUR.replace("\n", ",\n"), ""),
        ("path,identity,camera,split,,\n" + FOUR.replace("\n", ",,,\n"), ""),
        ("path,identity,camera,split\n" + FOUR.replace("\n", "\n\n,,,\n"), ""),
        ("Path, Identity,CAMERA,Split\r\n" + FOUR.replace("\n", "\r\n"), ""),
        ("path;identity;camera;split\n" + FOUR.replace(",", ";"), "separated by ';'"),
        ("path\tidentity\tcamera\tsplit\n" + FOUR.replace(",", "\t"), r"separated by '\t'"),
        ("sep=;\npath;identity;camera;split\n" + FOUR.replace(",", ";"), "separated by ';'"),
        ("path,identity,camera,split\n" + FOUR.replace("/", "\\"), ""),
        ("path,identity,camera,split\n" + FOUR.replace("train", "Train"), ""),
        (
            "path,identity,camera,split\n" + FOUR.replace("rex,2", "rex ,2\u00a0"),
            "identity: blanks behind 1 value taken away",
        ),
        ("path,identity,camera,split\n" + FOUR.replace("1,", "1.0,").replace("2,", "2.0,"), None),
        ('"path","identity","camera","split"\n' + FOUR.replace("rex", '"rex"'), ""),
    ],
)
def test_habits_of_spreadsheets(tmp_path, text, told):
    """Written in whatever way, it is the same table."""
    (tmp_path / "manifest.csv").write_bytes(text.encode())
    if told is None:
        text = text.replace("3,gallery", "3.0,gallery")
        (tmp_path / "manifest.csv").write_text(text)
    data = load_dataset("manifest", tmp_path)
    assert data.table["path"].tolist() == ["i/b.jpg", "i/a.jpg", "i/q.jpg", "i/g.jpg"]
    assert data.table["identity"].tolist() == ["rex", "rex", "ann", "ann"]
    assert data.table["camera"].tolist() == [1, 2, 1, 3]
    assert data.table["split"].tolist() == ["train", "train", "query", "gallery"]
    assert data.table.columns.tolist() == ["path", "identity", "camera", "split"]
    assert any(told in note for note in data.notes) if told else data.notes == ()


def test_further_columns_as_pandas_infers_them(tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "path,identity,split,a,b,c,d,e,\n1.jpg,1,train,1,0.5,x,True,,9\n2.jpg,1,train,2,,,False,,8\n"
    )
    table = load_dataset("manifest", tmp_path).table
    assert table["a"].tolist() == [1, 2]
    assert table["a"].dtype.kind == "i"
    assert table["b"][0] == 0.5
    assert table["b"].isna().tolist() == [False, True]
    assert table["c"].isna().tolist() == [False, True]
    assert table["d"].tolist() == [True, False]
    assert table["e"].isna().all()
    assert table["unnamed 9"].tolist() == [9, 8]


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_of_another_unicode_form(tmp_path, image, on_disk, written):
    """A Mac writes \u00e9 as two characters, an archive keeps them, a list has them as one."""
    from unicodedata import normalize

    image(tmp_path / normalize(on_disk, "Zoé/é 1.jpg"))
    text = normalize(written, "path,identity,split\nZoé/é 1.jpg,Zoé,train\né/gone.jpg,Zoé,train\n")
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    data = load_dataset("manifest", tmp_path)
    assert (data.root / data.table["path"][0]).is_file()
    assert data.table["path"][1] == normalize(written, "é/gone.jpg")
    assert set(data.table["identity"]) == {normalize("NFC", "Zoé")}


def test_a_root_that_is_not_there_says_where_a_relative_one_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("manifest", "table", "market1501"):
        with pytest.raises(
            ReidError, match=r"/base does not exist \(the path 'base' is relative\)"
        ):
            load_dataset(name, "base")
        with pytest.raises(ReidError, match=r"base does not exist\. "):
            load_dataset(name, tmp_path / "base")


def test_home_folder(manifest, monkeypatch):
    root = manifest(GOOD)
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.setenv("USERPROFILE", str(root.parent))
    assert load_dataset("manifest", "~/mine").root == root


def test_junk_and_distractors_as_the_table_writes_them(manifest):
    text = GOOD.replace("NA", "-1").replace("3,gallery", "3,gallery")
    data = load_dataset("manifest", manifest(text), junk_identities="-1")
    assert data.junk_identities == ("-1",)
    padded = GOOD.replace("NA", "0000").replace("rex", "0002")
    for given in ("0000", 0, "0000,"):
        data = load_dataset("manifest", manifest(padded), distractor_identities=given)
        assert data.distractor_identities[:1] == ("0000",)
    data = load_dataset("manifest", manifest(padded), junk_identities="7")
    assert data.notes == ("no image is of 7, named junk or distractor",)
