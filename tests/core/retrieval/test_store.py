"""The embedding store: what goes in comes out; it is made anew when and only when it must be."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from common import on_posix
from PIL import Image
from torch import nn

from msinet_core.data import ReidDataset, open_images
from msinet_core.errors import ReidError
from msinet_core.retrieval import Embedder, embed_dataset, open_store, write_store


class Colours(nn.Module):
    """Mean colours times a weight; counts the images it sees."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return images.mean((2, 3)) * self.scale


@pytest.fixture
def dataset(tiny_root, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(tiny_root, root)
    return ReidDataset("tiny", root, pd.read_csv(root / "manifest.csv"))


def test_a_store_is_reused_until_something_changes(dataset, tmp_path):
    model, folder = Colours(), tmp_path / "store"

    def made(**options):
        before = model.seen
        rebuild = options.pop("rebuild", False)
        embedder = Embedder(model, options.pop("height", 32), 32, **options)
        store = embed_dataset(embedder, dataset, folder, rebuild=rebuild)
        return store, model.seen - before

    store, seen = made()
    assert seen == len(store) == 128
    expected = Embedder(Colours()).embed(open_images(dataset.table, dataset.root, 32, 32))
    np.testing.assert_array_equal(store.features, expected)
    pd.testing.assert_frame_equal(store.table, dataset.table)
    assert made()[1] == 0
    assert made(height=40)[1] == 128
    assert made(height=40, flip=True)[1] == 256
    assert made()[1] == 128
    assert made(rebuild=True)[1] == 128
    with torch.no_grad():
        model.scale[1] = 2
    assert made()[1] == 128
    path = dataset.root / dataset.table["path"][5]
    os.utime(path, (1, 1))  # touched, not changed
    assert made()[1] == 0
    Image.new("RGB", (32, 32), "white").save(path)
    store, seen = made()
    assert seen == 128
    assert not np.array_equal(store.read([5]), 2 * expected[[5]])
    dataset = dataset.with_table(dataset.table[:100])
    assert len(embed_dataset(Embedder(model, 32, 32), dataset, folder)) == 100


def test_shards_hold_the_same_as_one_file(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 7)).astype(np.float32)
    table = pd.DataFrame(
        {
            "path": [f"{n}.jpg" for n in range(100)],
            "identity": [f"{n % 9:03d}" for n in range(100)],
            "camera": pd.NA,
        }
    )
    blocks = np.split(features, [3, 50, 50, 81])
    store = write_store(tmp_path / "a", table, iter(blocks), {}, shard_rows=16)
    assert store.shard_rows == (16,) * 6 + (4,)
    assert [first for first, _ in store.shards()] == [0, 16, 32, 48, 64, 80, 96]
    assert all(isinstance(shard, np.memmap) for _, shard in store.shards())
    np.testing.assert_array_equal(store.features, features)
    rows = rng.permutation(100)[:40]
    np.testing.assert_array_equal(store.read(rows), features[rows])
    np.testing.assert_array_equal(store.read(np.arange(100) % 3 == 0), features[::3])
    found = open_store(tmp_path / "a")
    assert found.table["identity"].tolist() == table["identity"].tolist()  # texts, with their zeros
    assert found.table["camera"].isna().all()
    one = write_store(tmp_path / "b", table, iter(blocks), {})
    assert isinstance(one.features, np.memmap)
    np.testing.assert_array_equal(one.features, features)
    assert "100 x 7, 7 shards" in repr(store)


def test_a_failed_write_leaves_the_previous_store(tmp_path):
    table = pd.DataFrame({"identity": [1, 2, 3]})
    write_store(tmp_path / "a", table, iter([np.ones((3, 2))]), {"is": "first"})

    def failing():
        yield np.zeros((2, 2))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_store(tmp_path / "a", table, failing(), {"is": "second"})
    with pytest.raises(ReidError, match="2 features for 3 rows"):
        write_store(tmp_path / "a", table, iter([np.ones((2, 2))]), {"is": "third"})
    with pytest.raises(ReidError, match="blocks of features must all be B x 2"):
        write_store(
            tmp_path / "a", table, iter([np.ones((1, 2)), np.ones((2, 3))]), {"is": "fourth"}
        )
    assert open_store(tmp_path / "a").made_from == {"is": "first"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_damage_is_named(tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(ReidError, match="holds no embedding store"):
        open_store(folder)
    write_store(folder, pd.DataFrame({"identity": [1, 2, 3]}), iter([np.ones((3, 2))]), {})
    file = folder / "features-0000.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-4])
    with pytest.raises(ReidError, match=r"features-0000.npy.*missing or damaged"):
        open_store(folder)
    file.write_bytes(content + bytes(4))
    with pytest.raises(ReidError, match=r"features-0000.npy.*more in it than was written"):
        open_store(folder)
    np.save(file, np.ones((3, 2)))
    with pytest.raises(ReidError, match="expected"):
        open_store(folder)
    file.write_bytes(content)
    about = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(ReidError, match="another version"):
        open_store(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(ReidError, match="damaged"):
        open_store(folder)


def test_damaged_stores_and_unreadable_images(dataset, tmp_path):
    model, folder = Colours(), tmp_path / "store"
    strict = Embedder(model, 32, 32)
    lenient = Embedder(model, 32, 32, on_bad_image="skip")
    embed_dataset(strict, dataset, folder)
    (folder / "features-0000.npy").unlink()
    with pytest.warns(UserWarning, match=r"embedding again: .*missing or damaged"):
        assert len(embed_dataset(strict, dataset, folder)) == 128
    (dataset.root / dataset.table["path"][7]).write_bytes(b"no image")
    with pytest.raises(ReidError, match=dataset.table["path"][7]):
        embed_dataset(strict, dataset, folder)
    with pytest.warns(UserWarning, match="left out 1 of 128 images, the first because"):
        store = embed_dataset(lenient, dataset, folder)
    assert len(store) == len(store.table) == 127
    seen = model.seen
    assert len(embed_dataset(lenient, dataset, folder)) == 127
    assert model.seen == seen
    with pytest.raises(ReidError, match=dataset.table["path"][7]):  # what was skipped is missing
        embed_dataset(strict, dataset, folder)


def _as_older_versions_wrote_it(folder):
    about = json.loads((folder / "store.json").read_text())
    for name in ("checksum", "checksums", "table_checksums"):
        del about[name]
    del about["made_from"]["mean"], about["made_from"]["std"]
    (folder / "store.json").write_text(json.dumps(about))


@pytest.mark.parametrize("old", [False, True])
def test_changed_features_are_not_used_again(dataset, tmp_path, old):
    """Nor those of stores that were written before there were checksums, where they are NaN."""
    embedder, folder = Embedder(Colours(), 32, 32), tmp_path / "store"
    expected = np.array(embed_dataset(embedder, dataset, folder).features)
    changed = np.full_like(expected, np.nan) if old else expected[::-1]
    np.save(folder / "features-0000.npy", changed)
    if old:
        _as_older_versions_wrote_it(folder)
    with pytest.raises(ReidError, match="NaN or infinite" if old else "not what was written"):
        _ = open_store(folder).features
    with pytest.warns(UserWarning, match="embedding again"):
        store = embed_dataset(embedder, dataset, folder)
    np.testing.assert_array_equal(store.features, expected)


def read_tables(folder):
    store = open_store(folder)
    return store.table, store.files


@pytest.mark.parametrize("name", ["table.jsonl", "files.jsonl", "store.json"])
def test_tables_and_what_a_store_says_of_itself_are_checked(dataset, tmp_path, name):
    embedder, folder = Embedder(Colours(), 32, 32), tmp_path / "store"
    expected = embed_dataset(embedder, dataset, folder).table
    text = (folder / name).read_text()
    old = {"table.jsonl": '"identity":3', "files.jsonl": '"size":', "store.json": "32,"}[name]
    new = {"table.jsonl": '"identity":4', "files.jsonl": '"SIZE":', "store.json": "33,"}[name]
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ReidError, match=f"{name}.* is not what was written there"):
        read_tables(folder)
    with pytest.warns(UserWarning, match="embedding again"):
        store = embed_dataset(embedder, dataset, folder)
    pd.testing.assert_frame_equal(store.table, expected)


@on_posix
@pytest.mark.parametrize("name", ["features-0000.npy", "table.jsonl", "files.jsonl", "store.json"])
@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_a_store_with_pipes_or_devices_in_it_is_refused_at_once(dataset, tmp_path, name, kind):
    folder = tmp_path / "store"
    embed_dataset(Embedder(Colours(), 32, 32), dataset, folder)
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ReidError, match=name):
        read_tables(folder)


@on_posix
def test_an_image_that_is_a_pipe_is_not_waited_for(dataset, tmp_path):
    path = dataset.root / dataset.table["path"][0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ReidError, match="not a regular file"):
        embed_dataset(Embedder(Colours(), 32, 32), dataset, tmp_path / "store")


def test_a_store_without_checksums_is_used_again(dataset, tmp_path):
    model, folder = Colours(), tmp_path / "store"
    embed_dataset(Embedder(model, 32, 32), dataset, folder)
    _as_older_versions_wrote_it(folder)
    seen = model.seen
    assert len(embed_dataset(Embedder(model, 32, 32), dataset, folder)) == 128
    assert model.seen == seen


def test_features_that_are_not_finite_are_refused(dataset, tmp_path):
    table = pd.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "identity": [1, 2, 3]})
    blocks = [np.ones((2, 2)), np.array([[1, np.nan]])]
    with pytest.raises(ReidError, match=r"NaN or infinite, the first that of c.jpg"):
        write_store(tmp_path / "a", table, blocks, {})
    assert list(tmp_path.iterdir()) == [dataset.root]


def test_what_is_no_store_is_not_replaced(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "mine.jpg").write_text("mine")
    with pytest.raises(ReidError, match="is not replaced"):
        write_store(folder, pd.DataFrame({"identity": [1]}), [np.ones((1, 2))], {})
    assert (folder / "mine.jpg").read_text() == "mine"
