"""Decoding, and readers that give the same pixels whatever their cache and workers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from msinet_core.data import decoding
from msinet_core.data.decoding import decode
from msinet_core.data.images import open_images
from msinet_core.errors import ReidError

H, W = 20, 12
CACHES = ("memory", "disk", "none")


@pytest.fixture
def folder(tmp_path, images):
    """Nine images, of which number 4 and 7 can be broken by a test."""
    names = [f"i/{n}.{'png' if n % 2 else 'jpg'}" for n in range(9)]
    images(tmp_path / "root", names)
    return tmp_path / "root", pd.DataFrame({"path": names, "identity": range(9)})


def open_as(cache, folder, tmp_path, **options):
    root, table = folder
    return open_images(table, root, H, W, cache=cache, cache_dir=tmp_path / "cache", **options)


def naive(root, paths):
    resize = v2.Resize((H, W))  # bilinear with antialiasing on PIL images
    return torch.stack(
        [v2.functional.pil_to_tensor(resize(Image.open(root / p).convert("RGB"))) for p in paths]
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("cache", CACHES)
def test_reader_gives_resized_rgb_rows(folder, tmp_path, cache, workers):
    root, table = folder
    reader = open_as(cache, folder, tmp_path, workers=workers)
    assert len(reader) == 9
    assert reader.cache == cache
    assert reader.skipped == []
    pd.testing.assert_frame_equal(reader.table, table)
    order = [8, 0, 3, 3, 1]
    for indices in (order, np.array(order), torch.tensor(order)):
        got = reader.read(indices)
        assert got.dtype == torch.uint8
        torch.testing.assert_close(
            got, naive(root, [table["path"][i] for i in order]), rtol=0, atol=0
        )


@pytest.mark.parametrize(("height", "width"), [(256, 128), (5, 3), (16, 8)])
def test_decode_is_torchvisions_resize(tmp_path, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = v2.Resize((height, width))(Image.fromarray(pixels))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", height, width), np.asarray(expected))


def test_exif_orientation(tmp_path):
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 255  # bright on the left as stored; turned upright, bright on top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = decode(tmp_path / "a.jpg", 20, 10)
    assert upright[:8].mean() > 240
    assert upright[12:].mean() < 15


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "LA", "P", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode, recwarn):
    grey = np.tile(np.linspace(0, 255, 16).round().astype(np.uint8), (16, 1))
    name = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) << 8).save(name)
    elif mode == "P":
        Image.fromarray(grey).convert("P").save(name, transparency=bytes(range(256)))
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(name)
    got = decode(name, 16, 16)
    assert got.shape == (16, 16, 3)
    assert abs(got.mean(dtype=float) - 127.5) < 12
    if mode != "1":
        assert np.abs(got[..., 0].astype(int) - grey).max() <= 16
    assert not [w for w in recwarn if "ransparency" in str(w.message)]


def break_two(root):
    whole = (root / "i/4.jpg").read_bytes()
    (root / "i/4.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "i/7.png").write_bytes(b"<html>404</html>")


@pytest.mark.parametrize("cache", CACHES)
def test_unreadable_images_are_named(folder, tmp_path, cache):
    break_two(folder[0])
    with pytest.raises(
        ReidError,
        match=r"2 images cannot be used.*4\.jpg cannot be read.*7\.png.*on_bad_image='skip'",
    ):
        open_as(cache, folder, tmp_path).read(range(9))
    assert not list((tmp_path / "cache").glob("*.u8"))
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("cache", CACHES)
def test_missing_image_is_named_when_opened(folder, tmp_path, cache):
    (folder[0] / "i/3.png").unlink()
    with pytest.raises(ReidError, match=r"i/3\.png is missing; mend or remove"):
        open_as(cache, folder, tmp_path)


@pytest.mark.parametrize("cache", CACHES)
def test_skip_leaves_them_out_and_lists_them(folder, tmp_path, cache):
    root, table = folder
    break_two(root)
    (root / "i/0.jpg").unlink()
    for _ in range(2):  # the second time from what the first left
        reader = open_as(cache, folder, tmp_path, on_bad_image="skip")
        kept = [1, 2, 3, 5, 6, 8]
        assert len(reader) == 6
        assert reader.table["identity"].tolist() == kept
        assert reader.table.index.tolist() == list(range(6))
        assert [("0.jpg" in s, "4.jpg" in s, "7.png" in s) for s in reader.skipped] == [
            (1, 0, 0),
            (0, 1, 0),
            (0, 0, 1),
        ]
        torch.testing.assert_close(
            reader.read(range(6)), naive(root, table["path"][kept]), rtol=0, atol=0
        )
        assert "3 left out" in repr(reader)


def test_bad_images_in_a_cache_are_an_error_later(folder, tmp_path):
    break_two(folder[0])
    open_as("disk", folder, tmp_path, on_bad_image="skip")
    with pytest.raises(ReidError, match=r"4\.jpg cannot be read"):
        open_as("disk", folder, tmp_path)


def test_nothing_left(folder, tmp_path):
    for file in (folder[0] / "i").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ReidError, match="9 images cannot be used"):
        open_as("memory", folder, tmp_path, on_bad_image="skip")


def test_each_image_is_tried_once(folder, tmp_path, monkeypatch):
    break_two(folder[0])
    tried = []
    real = decoding.read_rgb
    monkeypatch.setattr(decoding, "read_rgb", lambda file: tried.append(file.name) or real(file))
    open_as("memory", folder, tmp_path, on_bad_image="skip")
    assert sorted(tried) == sorted(p.name for p in (folder[0] / "i").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "ram"}, "cache is 'ram'; it is one of auto, memory, disk, none"),
        ({"cache": "memory", "on_bad_image": "retry"}, "on_bad_image is 'retry'"),
        ({"cache": "memory", "workers": -1}, "workers -1"),
    ],
)
def test_options_that_cannot_be(folder, options, message):
    with pytest.raises(ReidError, match=message):
        open_images(folder[1], folder[0], H, W, **options)
    with pytest.raises(ReidError, match="no rows"):
        open_images(folder[1][:0], folder[0], H, W)


def test_absolute_paths(folder, tmp_path):
    root, table = folder
    absolute = table.assign(path=[str(root / p) for p in table["path"]])
    reader = open_images(absolute, "/elsewhere", H, W, cache="memory")
    assert len(reader) == 9
