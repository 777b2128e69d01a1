"""Tiles: any photograph or none, borders and marks where they belong, fast enough for a slider."""

import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.data import decode, open_images
from msinet_lab.figures import tiles
from msinet_lab.figures.style import MATCH_COLOURS, rgb


def grey(value=120, height=128, width=64):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    "mode, size",
    [("L", (40, 90)), ("RGBA", (64, 64)), ("P", (10, 200)), ("RGB", (1, 1)), ("CMYK", (30, 20))],
)
def test_photographs_of_every_kind_fit(tmp_path, mode, size):
    Image.new(mode, size, 100 if mode in "LP" else None).save(tmp_path / "a.tif")
    for fit in ("letterbox", "stretch"):
        assert tiles.read_photo(tmp_path / "a.tif", 48, 32, fit).shape == (48, 32, 3)


def test_letterbox_keeps_proportions(tmp_path):
    Image.new("RGB", (100, 50), (255, 0, 0)).save(tmp_path / "wide.png")
    page = tiles.read_photo(tmp_path / "wide.png", 40, 40)
    red = (page == (255, 0, 0)).all(-1)
    assert red.sum() == 40 * 20
    assert red[10:30].all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_shown_is_what_the_network_gets(tmp_path, orientation):
    """Turned by its EXIF orientation, 40 x 20 as it lies and upright: the reader's own pixels."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[274] = orientation
    noise = Image.fromarray(rng.integers(0, 255, (20, 40, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.jpg", quality=95, exif=exif)
    seen = tiles.read_photo(tmp_path / "a.jpg", 32, 24, "stretch")
    table = pd.DataFrame({"path": ["a.jpg"]})
    given = open_images(table, tmp_path, 32, 24, cache="none").read([0])[0].numpy()
    np.testing.assert_array_equal(seen, given.transpose(1, 2, 0))
    height, width = (40, 20) if orientation > 4 else (20, 40)
    page = tiles.read_photo(tmp_path / "a.jpg", height, width)
    np.testing.assert_array_equal(page, decode(tmp_path / "a.jpg", height, width))
    np.testing.assert_array_equal(
        tiles.read_photo(tmp_path / "a.jpg", height, width + 8)[:, 4:-4], page
    )


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA", "P", "CMYK"])
def test_deep_and_transparent_photographs_too(tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16)).astype(np.uint16)
    image = (
        Image.fromarray(values)
        if mode == "I;16"
        else Image.fromarray((values >> 8).astype(np.uint8)).convert(mode)
    )
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    page = tiles.read_photo(path, 16, 16)
    np.testing.assert_array_equal(page, decode(path, 16, 16))
    assert page.std() > 20


def test_missing_and_broken_files_give_a_placeholder(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture at all")
    (tmp_path / "cut.png").write_bytes(tiles_png()[:60])
    for name in ("absent.jpg", "broken.jpg", "cut.png", "."):
        page = tiles.read_photo(tmp_path / name, 64, 32)
        np.testing.assert_array_equal(page, tiles.placeholder(64, 32))


def tiles_png():
    from msinet_lab.figures.style import image_bytes

    return image_bytes(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))


def test_arrays_of_every_form_become_photographs():
    expected = grey(51, 4, 6)
    for array in (
        expected,
        expected[..., 0],
        np.full((3, 4, 6), 51, np.uint8),
        np.full((4, 6, 3), 0.2),
        np.full((1, 4, 6), 0.2),
    ):
        np.testing.assert_array_equal(tiles.as_photo(array), expected)


@pytest.mark.parametrize("kind", ["query", "match", "non-match", "junk"])
def test_borders_have_the_colour_of_their_kind(kind):
    page = tiles.framed(tiles.Tile(grey(), kind), 128, 64)
    edge = np.concatenate([page[-2], page[60, :3], page[60, -3:]])
    assert (edge == rgb(MATCH_COLOURS[kind])).all()
    np.testing.assert_array_equal(page[60, 10:60], grey()[56, 6:56])


def test_marks_differ_beyond_their_colour():
    marks = [
        tiles.badge(kind)[..., :3].astype(int).min(-1) > 240
        for kind in ("match", "non-match", "junk", "query")
    ]
    for place, one in enumerate(marks):
        for other in marks[place + 1 :]:
            assert (one != other).sum() > 10


def test_sheet_sizes_and_places():
    page = tiles.sheet([tiles.Tile(grey(place), "plain") for place in range(7)], 3, gap=5)
    cell_h, cell_w = 128 + 8 + 5, 64 + 8 + 5
    assert page.shape == (3 * cell_h + 5, 3 * cell_w + 5, 3)
    for place in range(7):
        row, column = divmod(place, 3)
        assert (page[5 + row * cell_h + 64, 5 + column * cell_w + 36] == place).all()
    assert (page[5 + 2 * cell_h + 64, 5 + cell_w + 36] == 255).all()


def test_sheets_of_nothing_one_and_a_lone_query():
    assert tiles.sheet([], 4).size
    assert tiles.sheet([tiles.Tile(grey())], 4).shape[1] < 100
    assert tiles.sheet([tiles.Tile(grey(), "query")], 10, lead=True).size


def test_tiles_of_other_sizes_are_fitted():
    page = tiles.sheet(
        [tiles.Tile(grey()), tiles.Tile(grey(9, 20, 90)), tiles.Tile(grey(7, 300, 30)[..., 0])], 3
    )
    assert page.shape[0] == 128 + 8 + 12


def test_long_captions_are_shortened_not_clipped():
    strip = tiles.caption("an extremely long caption that cannot fit", 70, "#000000")
    assert strip.shape == (tiles.LINE, 70, 3)
    assert (strip[:, :1] == 255).all()
    assert (strip[:, -1:] == 255).all()
    assert (tiles.caption("query g", 70, "#000000")[-1] == 255).all()  # descenders fit


def test_twenty_one_tiles_in_thirty_milliseconds():
    words = [
        tiles.Tile(grey(k), "match", (f"{k} · 0.{k:03d}", f"id {k} · cam 1")) for k in range(21)
    ]
    tiles.sheet(words, 10, lead=True)
    times = []
    for turn in range(9):
        fresh = [
            tiles.Tile(t.image, t.kind, (f"{turn}{t.caption[0]}", t.caption[1])) for t in words
        ]
        start = time.process_time()
        tiles.sheet(fresh, 10, lead=True)
        times.append(time.process_time() - start)
    assert np.median(times) < 0.03


def test_a_shelf_keeps_only_its_latest(tmp_path):
    for name in range(6):
        Image.new("RGB", (8, 16), (name, 0, 0)).save(tmp_path / f"{name}.png")
    shelf = tiles.PhotoShelf(tmp_path, [f"{name}.png" for name in range(6)], 16, 8, keep=2)
    assert [int(shelf[row][0, 0, 0]) for row in (0, 1, 2, 0)] == [0, 1, 2, 0]
    assert len(shelf._tiles) == 2
    assert len(shelf) == 6


def test_stack_aligns_left():
    page = tiles.stack([grey(1, 4, 10), grey(2, 6, 5)], gap=3)
    assert page.shape == (13, 10, 3)
    assert (page[7:, :5] == 2).all()
    assert (page[7:, 5:] == 255).all()
