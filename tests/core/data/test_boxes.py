"""Boxes on frames: cut out by the one decoder, wherever pictures are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.data import boxes_of, check_dataset, decode, decoding, load_dataset, open_images
from msinet_core.errors import ReidError

ROWS = [
    ("frame.png", 1, 0, "train", 0, 0, 10, 20),
    ("frame.png", 1, 1, "train", 10, 0, 30, 20),
    ("frame.png", 2, 0, "train", 30, 5, 39.5, 20),
    ("frame.png", 2, 1, "train", -4, 10, 12, 99),
    ("whole.png", 3, 0, "query", "", "", "", ""),
    ("frame.png", 3, 1, "gallery", 5, 5, 15, 25),
]
COLUMNS = ["path", "identity", "camera", "split", "x1", "y1", "x2", "y2"]


@pytest.fixture
def frames(tmp_path):
    """A manifest of boxes on one frame and of one whole photograph; gives (root, frame)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "frame.png")
    Image.fromarray(pixels[:20, :10]).save(tmp_path / "whole.png")
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path, pixels


def expected(pixels, height=16, width=8):
    x, y = slice, slice
    parts = [
        pixels[y(0, 20), x(0, 10)],
        pixels[y(0, 20), x(10, 30)],
        pixels[y(5, 20), x(30, 40)],  # half a pixel is touched
        pixels[y(10, 40), x(0, 12)],  # what lies outside is no part of the picture
        pixels[:20, :10],
        pixels[y(5, 25), x(5, 15)],
    ]
    resized = [Image.fromarray(part).resize((width, height), 2) for part in parts]
    return np.stack([np.asarray(one) for one in resized]).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_every_reader_cuts_them_out(frames, tmp_path, cache):
    root, pixels = frames
    table = load_dataset("manifest", root).table
    options = {"cache": cache, "cache_dir": tmp_path / "cache"}
    found = open_images(table, root, 16, 8, **options).read(range(6))
    np.testing.assert_array_equal(found, expected(pixels))
    shifted = table.assign(y1=table["y1"] + 1)
    other = open_images(shifted, root, 16, 8, **options).read(range(6))
    assert (found[:4] != other[:4]).flatten(1).any(1).all()  # another cache, not a stale one
    np.testing.assert_array_equal(
        decode(root / "frame.png", 16, 8, (0, 0, 10, 20)), found[0].permute(1, 2, 0)
    )


def test_a_frame_of_many_boxes_is_opened_once(frames, monkeypatch):
    root, _ = frames
    table = pd.concat([load_dataset("manifest", root).table.iloc[:4]] * 3, ignore_index=True)
    opened, real = [], decoding.read_rgb
    monkeypatch.setattr(decoding, "read_rgb", lambda file: opened.append(file) or real(file))
    open_images(table, root, 16, 8, cache="memory", workers=1)
    assert len(opened) == 1


def test_interpolation_is_another_cache(frames, tmp_path):
    root, pixels = frames
    table = load_dataset("manifest", root).table
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    bicubic = open_images(table, root, 16, 8, interpolation="bicubic", **options).read([1])
    plain = open_images(table, root, 16, 8, **options).read([1])
    wanted = Image.fromarray(pixels[:20, 10:30]).resize((8, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(bicubic[0].permute(1, 2, 0), np.asarray(wanted))
    assert (bicubic != plain).any()
    with pytest.raises(ReidError, match="no interpolation 'cubic'; there are nearest, bilinear"):
        open_images(table, root, 16, 8, interpolation="cubic", **options)


def test_the_checks_know_boxes(frames):
    root, _ = frames
    report = check_dataset(load_dataset("manifest", root))
    said = str(report)
    assert "every row names another box" in said
    assert "width 10 to 20" in said
    table = pd.read_csv(root / "manifest.csv")
    table.loc[1, ["x1", "y1", "x2", "y2"]] = table.loc[2, ["x1", "y1", "x2", "y2"]]
    table.to_csv(root / "manifest.csv", index=False)
    with pytest.raises(ReidError, match="files with two identities"):
        check_dataset(load_dataset("manifest", root), quick=True).raise_if_broken()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x2": 0}, r"boxes are none \(frame.png"),
        ({"y1": np.nan}, "boxes are none"),
        ({"y1": "a"}, "boxes are none"),
    ],
)
def test_what_is_no_box(frames, change, message):
    table = load_dataset("manifest", frames[0]).table.iloc[:3].astype(object).assign(**change)
    with pytest.raises(ReidError, match=message):
        boxes_of(table)
    with pytest.raises(ReidError, match=message):
        open_images(table, frames[0], 16, 8)


def test_half_the_columns_and_a_box_beside_the_picture(frames):
    table = load_dataset("manifest", frames[0]).table.iloc[:3]
    with pytest.raises(ReidError, match="the column x1 of boxes, but lacks y1"):
        boxes_of(table.drop(columns="y1"))
    assert boxes_of(table.drop(columns=["x1", "y1", "x2", "y2"])) == [None] * 3
    beside = table.assign(x1=50.0, x2=60.0)
    with pytest.raises(ReidError, match="the box 50, 0, 60, 20 is outside of its 40 x 40 pixels"):
        open_images(beside, frames[0], 16, 8, cache="memory")
