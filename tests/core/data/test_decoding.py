"""Which files are opened as photographs, and what becomes of each kind."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.data import check_dataset, open_images
from msinet_core.data.decoding import decode, eight_bits, read_rgb
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError

RAMP = np.tile(np.linspace(0, 255, 16).round().astype(np.uint8), (16, 1))


def seen(folder, name):
    """What a run does with an image of this name beside a good one."""
    Image.fromarray(RAMP).save(folder / "good.png")
    table = pd.DataFrame({"path": ["good.png", name], "identity": [1, 1], "split": "train"})
    for cache in ("memory", "disk", "none"):
        with pytest.raises(ReidError, match=f"{name} cannot be read") as error:  # noqa: PT012
            opened = open_images(table, folder, 8, 8, cache=cache, cache_dir=folder / "cache")
            opened.read([0, 1])
    report = check_dataset(ReidDataset("x", folder, table), needs=("train",))
    assert name in report.details["images"]
    return str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in seen(tmp_path, "pipe.jpg")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero here")
def test_a_device_without_end_is_not_read(tmp_path):
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    assert "not a regular file" in seen(tmp_path, "zero.jpg")


def test_a_folder_named_as_an_image(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    assert "a folder, not a file" in seen(tmp_path, "folder.jpg")


def test_postscript_is_never_handed_to_an_interpreter(tmp_path):
    Image.fromarray(RAMP).convert("RGB").save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "EPS"  # what PIL would do by itself
    assert "UnidentifiedImageError" in seen(tmp_path, "x.jpg")


def test_a_picture_meant_to_fill_the_memory(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        assert "30 x 40 pixels are more than 1,199" in seen(tmp_path, "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 30)
    assert decode(tmp_path / "bomb.png", 4, 4).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("16 bits", RAMP.astype(np.uint16) * 257),
        ("12 bits in 16", RAMP.astype(np.uint16) * 16 + 15),
        ("8 bits in 16", RAMP.astype(np.uint16)),
        ("int32 of 16 bits", RAMP.astype(np.int32) * 257),
        ("int32", RAMP.astype(np.int32) << 23),
        ("float to 1", RAMP.astype(np.float32) / 255),
        ("float to 255", RAMP.astype(np.float32)),
        ("float to 65535", RAMP.astype(np.float32) * 257),
    ],
)
def test_every_depth_shows_the_same_picture(tmp_path, kind, values):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    for got in (decode(tmp_path / "deep.tif", 16, 16), np.asarray(read_rgb(tmp_path / "deep.tif"))):
        assert got.shape == (16, 16, 3)
        assert np.abs(got.astype(int) - RAMP[..., None]).max() <= 1, kind


def test_what_is_no_number_or_below_black():
    values = np.array([[-5.0, np.nan, 100.0, np.inf]])
    assert eight_bits(values).tolist() == [[0, 0, 100, 0]]
    assert eight_bits(np.zeros((2, 2), np.uint16)).tolist() == [[0, 0], [0, 0]]
    assert eight_bits(np.array([[0.0, 1.0]])).tolist() == [[0, 1]]  # whole numbers, not shares


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_upright(tmp_path, orientation):
    """Each orientation, stored so that upright it is bright above and on the left."""
    upright = np.zeros((32, 16, 3), np.uint8)
    upright[:16], upright[:, :8, 0] = (0, 0, 255), 255
    image = Image.fromarray(upright)
    turns = [None, 0, 3, 1, 5, 2, 6, 4]  # PIL's transposition that stores each orientation
    stored = {1: image}.get(orientation) or image.transpose(Image.Transpose(turns[orientation - 1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 32, 16), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_broken_picture(tmp_path):
    for junk in (
        b"Exif\x00\x00nonsense",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM",
    ):
        Image.fromarray(RAMP).convert("RGB").save(tmp_path / "a.jpg", exif=junk, quality=98)
        assert np.abs(decode(tmp_path / "a.jpg", 16, 16).astype(int) - RAMP[..., None]).max() < 8


def test_importing_the_data_imports_no_compiler():
    """numba is imported with the first batch that is augmented on a CPU, fcntl and /proc never."""
    code = """
import sys, builtins
sys.modules["fcntl"] = sys.modules["resource"] = None
import msinet_core.data, msinet_core.data.sources
bad = [m for m in ("numba", "matplotlib", "sklearn", "IPython") if m in sys.modules]
assert not bad, bad
import torch
from msinet_core.data import Augmentation, augment
augment(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), Augmentation(), torch.Generator())
assert "numba" in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
