"""Photographs of one's own in a gallery without labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import nn

from msinet_core.cli import main
from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Embedder,
    Gallery,
    GalleryIndex,
    embed_dataset,
    open_gallery,
    pictures_table,
    query,
)


class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


@pytest.fixture
def photos(tmp_path):
    """A folder of twelve plain photographs, and one frame with three of them side by side."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 225, (12, 3)).astype(np.uint8)
    for number, colour in enumerate(colours):
        Image.new("RGB", (8, 16), tuple(map(int, colour))).save(folder / f"{number:02d}.png")
    strip = np.repeat(colours[:3], 8, axis=0)[None].repeat(16, 0)
    Image.fromarray(strip).save(tmp_path / "frame.png")
    return folder


@pytest.fixture
def embedder():
    return Embedder(Colours(), 16, 8)


def places(photos, embedder, tmp_path):
    """The same gallery in every form."""
    table = pd.DataFrame({"path": sorted(file.name for file in photos.iterdir())})
    labels = {"identity": 0, "split": "gallery"}
    dataset = ReidDataset("d", photos, table.assign(**labels))
    store = embed_dataset(embedder, dataset, tmp_path / "store")
    table.to_csv(photos / "list.csv", index=False)
    found = [photos, tmp_path / "store", photos / "list.csv"]
    try:
        GalleryIndex.build(store).save(tmp_path / "index")
        found.append(tmp_path / "index")
    except ReidError:
        pass
    return found


def test_every_gallery_gives_the_same_answer(photos, embedder, tmp_path):
    frame = [photos.parent / "frame.png"]
    boxes = [(0, 0, 8, 16), (8, 0, 16, 16), (16, 0, 24, 16)]
    answers = []
    for place in places(photos, embedder, tmp_path):
        gallery = open_gallery(place, embedder)
        assert len(gallery) == 12
        assert (gallery.root / gallery.table["path"].iloc[0]).is_file()
        answer = query(embedder, gallery, pictures_table(frame, boxes), k=4)
        assert answer.table.loc[answer.table["rank"] == 1, "path"].tolist() == [
            "00.png",
            "01.png",
            "02.png",
        ]
        assert (answer.table["distance"] < 1e-3).sum() == 3
        assert answer.table["query"].tolist() == [1] * 4 + [2] * 4 + [3] * 4  # people count from 1
        answers.append(answer.table[["query", "rank", "path"]])
    for other in answers[1:]:
        pd.testing.assert_frame_equal(other, answers[0])


def test_against_a_loop_with_ties_and_fewer_than_k():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 16)).astype(np.float32)
    features[200] = features[100]
    gallery = Gallery.of(features, pd.DataFrame({"path": map(str, range(300))}))
    probes = np.concatenate([features[[100, 7]], rng.normal(size=(3, 16)).astype(np.float32)])
    found = gallery.search(probes, 5)
    assert found.gallery_index[0, :2].tolist() == [100, 200]
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probes, features)]
    distance = np.linalg.norm(units[0][:, None] - units[1], axis=2)
    np.testing.assert_array_equal(found.gallery_index[1:], np.argsort(distance, axis=1)[1:, :5])
    np.testing.assert_allclose(found.distance, np.sort(distance, axis=1)[:, :5], atol=1e-4)
    assert gallery.search(probes, 1000).gallery_index.shape == (5, 300)
    for wrong, k, message in ((probes[:, :3], 5, "length 3"), (probes, 0, "at least 1")):
        with pytest.raises(ReidError, match=message):
            gallery.search(wrong, k)


def test_together_and_a_distance_beyond_which_nothing_is_shown(photos, embedder):
    gallery = open_gallery(photos, embedder)
    two = pictures_table([photos / "03.png", photos / "04.png"])
    apart, together = (
        query(embedder, gallery, two, k=3),
        query(embedder, gallery, two, together=True),
    )
    assert apart.found.gallery_index.shape == (2, 3)
    assert together.found.gallery_index.shape == (1, 12)
    assert {3, 4} <= set(together.found.gallery_index[0, :5].tolist())
    near = query(embedder, gallery, two, max_distance=1e-3)
    assert near.table["path"].tolist() == ["03.png", "04.png"]


def test_what_cannot_be(photos, embedder, tmp_path):
    (tmp_path / "empty").mkdir()
    embed_place = places(photos, embedder, tmp_path)[1]
    for change, message in (
        (lambda: open_gallery(tmp_path / "nowhere", embedder), "no gallery at"),
        (lambda: open_gallery(tmp_path / "empty", embedder), "names no photographs"),
        (
            lambda: open_gallery(embed_place, Embedder(Colours(), 8, 8)),
            r"made in another way \(height\)",
        ),
        (lambda: pictures_table([]), "no photograph to look for"),
        (lambda: pictures_table(["a", "b"], [(0, 0, 1, 1)]), "1 boxes for 2 photographs"),
        (lambda: pictures_table(["a"], [(0, 0, 0, 1)]), "boxes are none"),
        (
            lambda: query(embedder, open_gallery(photos, embedder), pictures_table(["absent.png"])),
            "absent.png is missing",
        ),
    ):
        with pytest.raises(ReidError, match=message):
            change()


def test_from_the_command_line(photos, tmp_path, capsys, monkeypatch):
    (tmp_path / "colour_net.py").write_text(
        "def colours():\n    return lambda images: images.mean((2, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["query", "frame.png", "--model", "colour_net:colours", "--gallery", "photos"]
    words += ["--height", "16", "--width", "8", "--k", "2", "--box", "0,0,8,16", "16,0,24,16"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "00.png" in lines[1]
    assert "02.png" in lines[3]
    assert main([*words[:-1], "1,2,3"]) == 2
    assert "a box is x1,y1,x2,y2" in capsys.readouterr().err
