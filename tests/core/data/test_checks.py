"""Checks: each defect is found, named, and given its remedy; sound data is called sound."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.data.checks import check_dataset, has_match, missing_files
from msinet_core.data.protocol import Protocol
from msinet_core.data.report import DataReport, Finding
from msinet_core.data.sources import load_dataset
from msinet_core.data.table import ReidDataset
from msinet_core.data.tables import from_table
from msinet_core.data.twins import twins_split
from msinet_core.errors import ReidError

SOUND = """path,identity,camera,split
t/a0.png,a,1,train
t/a1.png,a,2,train
t/b0.png,b,1,train
t/b1.png,b,2,train
q/c0.png,c,1,query
g/c1.png,c,2,gallery
"""


def checked(root, **options):
    return check_dataset(load_dataset("manifest", root), **options)


def severities(report, check):
    return [f.severity for f in report.findings if f.check == check]


def only(report, check, severity):
    (finding,) = [f for f in report.findings if f.check == check and f.severity == severity]
    return finding


@pytest.mark.parametrize("quick", [True, False])
def test_sound_data(manifest, quick):
    report = checked(manifest(SOUND), quick=quick)
    assert report.ok
    assert report.verdict == "sound"
    assert report.raise_if_broken() is report
    assert set(report.table["severity"]) == {"ok"}
    assert report.summary.loc["train", "images"] == 4


def test_missing_files(manifest):
    root = manifest(SOUND)
    (root / "t/b1.png").unlink()
    shutil.rmtree(root / "g")
    report = checked(root, quick=True)
    finding = only(report, "files", "error")
    assert finding.items == ("t/b1.png", "g/c1.png")
    assert "2 of 6 images are missing" in finding.found
    assert "on_bad_image='skip'" in finding.remedy
    with pytest.raises(
        ReidError, match=r"'manifest mine' cannot be used: 2 of 6 images are missing.*t/b1\.png"
    ):
        report.raise_if_broken()


def test_unreadable_images(manifest):
    root = manifest(SOUND)
    (root / "t/b1.png").write_bytes(b"")
    whole = (root / "q/c0.png").read_bytes()
    (root / "q/c0.png").write_bytes(whole[:-30])
    assert checked(root, quick=True).ok
    for workers in (1, 4):
        finding = only(checked(root, workers=workers), "images", "error")
        assert finding.items == ("t/b1.png", "q/c0.png")
        assert "2 images cannot be read" in finding.found


def test_bad_images_that_are_to_be_skipped(manifest):
    root = manifest(SOUND)
    (root / "t/b1.png").write_bytes(b"")
    (root / "t/a1.png").unlink()
    report = checked(root, on_bad_image="skip")
    assert report.ok
    assert only(report, "images", "warning").items == ("t/b1.png",)
    assert only(report, "files", "warning").items == ("t/a1.png",)


def test_image_sizes(manifest, image):
    root = manifest(SOUND)
    image(root / "t/a0.png", 9, 300)
    report = checked(root)
    finding = only(report, "images", "warning")
    assert "width 16 to 300, height 9 to 32" in finding.found
    assert "t/a0.png" in finding.items


@pytest.mark.parametrize(
    ("copy", "word"),
    [
        (("t/a0.png", "t/a1.png"), "twice on one side"),
        (("t/a0.png", "t/b0.png"), "under two identities"),
    ],
)
def test_pictures_twice(manifest, copy, word):
    root = manifest(SOUND)
    shutil.copy(root / copy[0], root / copy[1])
    assert checked(root, quick=True).verdict == "sound"
    finding = only(checked(root), "pictures", "warning")
    assert f"1 picture {word}" in finding.found
    assert set(finding.items) == set(copy)


def test_picture_in_training_and_in_testing(manifest):
    root = manifest(SOUND.replace("q/c0.png,c", "q/c0.png,a").replace("g/c1.png,c", "g/c1.png,a"))
    Image.open(root / "t/a0.png").save(
        root / "q/c0.png", compress_level=1
    )  # the same pixels in another file
    assert (root / "t/a0.png").read_bytes() != (root / "q/c0.png").read_bytes()
    report = checked(root)
    assert "1 picture in both training and testing" in only(report, "pictures", "warning").found
    overlap = only(report, "identity overlap", "warning")
    assert "1 of 1 test identities" in overlap.found
    assert overlap.items == ("a",)


def test_the_same_file_in_several_rows(manifest):
    assert only(checked(manifest(SOUND + "t/a0.png,a,1,train\n")), "rows", "warning").items == (
        "t/a0.png",
    )
    assert (
        "two identities"
        in only(
            checked(manifest(SOUND + "t/a0.png,b,1,train\n"), quick=True), "rows", "error"
        ).found
    )
    twice = checked(manifest(SOUND + "t/a0.png,a,1,gallery\n"), quick=True)
    assert "in training and in testing" in only(twice, "rows", "error").found


def test_queries_in_the_gallery_as_in_veri776(veri):
    report = check_dataset(load_dataset("veri776", veri))
    assert "4 queries are in the gallery too" in only(report, "pictures", "ok").found
    assert severities(report, "pictures") == ["ok"]


def test_training_identity_with_one_image(manifest):
    finding = only(
        checked(manifest(SOUND.replace("t/b1.png,b,2,train\n", "")), quick=True),
        "training identities",
        "warning",
    )
    assert finding.items == ("b",)
    assert finding.found.startswith("1 training identity has one image only")
    text = "path,identity,camera,split\nt/a.png,a,1,train\nt/b.png,b,1,train\n"
    assert (
        "every training identity"
        in only(checked(manifest(text), quick=True), "training identities", "error").found
    )


def test_fewer_identities_than_a_batch(manifest):
    report = checked(manifest(SOUND), quick=True, identities_per_batch=16)
    assert (
        only(report, "batch", "error").found
        == "a batch takes 16 identities, the training split has 2"
    )
    assert checked(manifest(SOUND), quick=True, identities_per_batch=2).ok


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_empty_split(manifest, split):
    text = "".join(
        line for line in SOUND.splitlines(keepends=True) if not line.strip().endswith(split)
    )
    report = checked(manifest(text), quick=True)
    assert only(report, "splits", "error").found == f"the split {split} is empty"
    others = [s for s in ("train", "query", "gallery") if s != split]
    assert checked(manifest(text), quick=True, needs=others).ok


def test_no_query_with_a_match_by_another_camera(manifest):
    report = checked(manifest(SOUND.replace("g/c1.png,c,2", "g/c1.png,c,1")), quick=True)
    finding = only(report, "queries", "error")
    assert "1 of 1 queries have no match by another camera" in finding.found
    assert "exclude_same_camera=False" in finding.remedy
    kept = checked(
        manifest(SOUND.replace("g/c1.png,c,2", "g/c1.png,c,1")),
        quick=True,
        protocol=Protocol(exclude_same_camera=False),
    )
    assert kept.ok
    searching = checked(
        manifest(SOUND.replace("g/c1.png,c,2", "g/c1.png,c,1")), quick=True, needs=("train",)
    )
    assert searching.ok


def test_some_queries_without_a_match(manifest):
    report = checked(manifest(SOUND + "q/d0.png,d,1,query\n"), quick=True)
    assert only(report, "queries", "warning").items == ("q/d0.png",)
    assert report.ok


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exclude", [True, False])
def test_has_match_equals_loops(seed, exclude):
    rng = np.random.default_rng(seed)
    q, g = (
        pd.DataFrame({"identity": rng.integers(-1, 12, n), "camera": rng.integers(0, 3, n)})
        for n in (40, 30)
    )
    protocol = Protocol(
        exclude_same_camera=exclude, junk_identities=(-1,), distractor_identities=(0,)
    )
    expected = [
        a.identity not in (-1, 0)
        and any(
            a.identity == b.identity and not (exclude and a.camera == b.camera)
            for b in g.itertuples()
        )
        for a in q.itertuples()
    ]
    np.testing.assert_array_equal(has_match(q, g, protocol), expected)


def test_no_cameras(manifest):
    text = "\n".join(
        ",".join(line.split(",")[:2] + line.split(",")[3:]) for line in SOUND.splitlines()
    )
    report = checked(manifest(text))
    assert report.ok
    assert "camera-less: same camera kept" in only(report, "cameras", "note").found
    wrong = checked(manifest(text), quick=True, protocol=Protocol())
    assert "exclude_same_camera=False" in only(wrong, "cameras", "error").remedy


def test_each_identity_seen_by_one_camera(manifest):
    text = SOUND.replace("t/a1.png,a,2", "t/a1.png,a,1").replace("t/b0.png,b,1", "t/b0.png,b,2")
    assert (
        "one camera only" in only(checked(manifest(text), quick=True), "cameras", "warning").found
    )


def test_three_images(manifest):
    three = "path,identity,split\na.png,a,train\nb.png,b,query\nc.png,b,gallery\n"
    report = checked(manifest(three))
    assert [f.check for f in report.of("error")] == ["training identities"]
    assert checked(manifest(three), needs=("query", "gallery")).summary["images"].tolist() == [
        1,
        1,
        1,
    ]


def test_sizes_and_notes(market, image):
    image(market / "query" / "other.jpg")
    report = check_dataset(load_dataset("market1501", market))
    told = [f.found for f in report.findings if f.check == "size"]
    assert told == [
        "12 train images, where 12,936 are published",
        "4 query images, where 3,368 are published",
        "10 gallery images, where 19,732 or 15,913 are published",
        "3 training identities, where 751 are published",
    ]
    assert severities(report, "notes") == ["note"]
    assert report.ok


def test_generated_data_has_no_published_size(market):
    (market / "generated.json").write_text("{}")
    assert load_dataset("market1501", market).notes == ()


def twins_table(cameras):
    rows = [(f"{who}/{n}.png", who, cameras[n], "train") for who in range(10) for n in range(4)]
    return ReidDataset(
        "twins", ".", pd.DataFrame(rows, columns=["path", "identity", "camera", "split"])
    )


def test_twins_split():
    data = twins_table([1, 1, 2, 2])
    by_order = check_dataset(data, quick=True, needs=("train",), twin_split=twins_split(data))
    assert only(by_order, "twins: images", "ok").found == "0 images on both sides"
    assert only(by_order, "twins: identities", "ok").found == (
        "4 identities on both sides (40%), 2 only in train, 4 only in validation"
    )
    far = only(by_order, "twins: cameras", "warning")
    assert "differ by 1.00" in far.found
    assert "stratify_by_camera=True" in far.remedy
    even = check_dataset(
        data, quick=True, needs=("train",), twin_split=twins_split(data, stratify_by_camera=True)
    )
    assert "differ by 0.00" in only(even, "twins: cameras", "ok").found


def test_twins_sharing_an_image():
    data = twins_table([1, 2, 1, 2])
    split = twins_split(data)
    broken = replace(split, validation=pd.concat([split.validation, split.train[:1]]))
    report = check_dataset(data, quick=True, needs=("train",), twin_split=broken)
    assert only(report, "twins: images", "error").items == ("0/0.png",)


def test_a_hundred_thousand_rows_in_seconds(tmp_path):
    n = 100_000
    table = pd.DataFrame({"path": [f"images/{i % 500:03d}/{i:06d}.jpg" for i in range(n)]})
    table["identity"] = [f"id{i % 5000}" for i in range(n)]
    table["camera"] = np.arange(n) // 5000 % 8
    table["split"] = np.where(
        np.arange(n) % 5000 < 2500, "train", np.where(np.arange(n) < 10_000, "query", "gallery")
    )
    table.to_csv(tmp_path / "manifest.csv", index=False)
    begin = time.perf_counter()
    report = checked(tmp_path, quick=True)
    assert time.perf_counter() - begin < 10
    assert len(report.details["files"]) == n
    assert [f.check for f in report.of("error")] == ["files"]


def test_missing_files_equals_a_loop(tmp_path, images):
    images(tmp_path, ["a/1.png", "a/2.png", "b/1.png"])
    paths = [
        "a/1.png",
        "a/3.png",
        "b/1.png",
        "c/1.png",
        str(tmp_path / "a/2.png"),
        str(tmp_path / "z.png"),
    ]
    data = from_table(pd.DataFrame({"path": paths, "identity": 1, "split": "train"}), tmp_path)
    assert missing_files(data) == [p for p in paths if not (tmp_path / p).exists()]


def test_report_prints_everything():
    findings = (
        Finding("files", "error", "3 images are missing: <a>.png", "unpack again", ("<a>.png",)),
        Finding("cameras", "ok", "fine " * 40),
    )
    report = DataReport("mine", findings, pd.DataFrame({"images": [1]}, index=["train"]))
    text = repr(report)
    assert "BROKEN: 1 error, 0 warnings" in text
    assert "-> unpack again" in text
    assert max(map(len, text.splitlines())) <= 110
    html = report._repr_html_()
    assert "&lt;a&gt;.png" in html
    assert "<a>" not in html
    assert report.details == {"files": ("<a>.png",)}
    assert report.table.columns.tolist() == ["check", "severity", "found", "remedy"]


@pytest.mark.parametrize(
    ("change", "items"),
    [
        (("t/a1.png,a,2", "t/a1.png,A,2"), ("A", "a")),
        (("c,2,gallery", "c,02,gallery"), ("02", "2")),
        (("t/b1.png,b,2", "t/b1.png,b1,2"), ()),
    ],
)
def test_labels_that_may_be_one(manifest, change, items):
    report = checked(manifest(SOUND.replace(*change)), quick=True)
    assert tuple(i for f in report.findings if f.check == "labels" for i in f.items) == items
