"""VehicleID's protocol: ten drawn galleries from features extracted once, mean and deviation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from msinet_core.data import ReidDataset, load_dataset
from msinet_core.data.protocol import Protocol, draw_gallery
from msinet_core.errors import ReidError
from msinet_core.retrieval import Embedder, evaluate_across, score_table


def naive_metrics(features, identities, in_gallery):
    """mAP and rank-1 with loops: one gallery image of each identity, so AP is 1 / rank."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    gallery = np.flatnonzero(in_gallery)
    precisions, firsts = [], []
    for query in np.flatnonzero(~in_gallery):
        matches = [g for g in gallery if identities[g] == identities[query]]
        if not matches:
            continue
        order = sorted(gallery, key=lambda g, q=query: np.sum((unit[g] - unit[q]) ** 2))
        rank = 1 + order.index(matches[0])
        precisions.append(1 / rank)
        firsts.append(rank == 1)
    return np.mean(precisions), np.mean(firsts), len(precisions)


@pytest.fixture
def drawn_rows():
    rng = np.random.default_rng(0)
    identities = np.concatenate((np.repeat(np.arange(25), rng.integers(2, 7, 25)), [99]))
    features = rng.normal(size=(25, 8))[np.minimum(identities, 24)] + rng.normal(
        size=(len(identities), 8)
    )
    table = pd.DataFrame(
        {"path": [f"{i}.jpg" for i in range(len(identities))], "identity": identities}
    )
    return features.astype(np.float32), table.assign(camera=pd.NA, split="query")


def test_mean_and_deviation_equal_a_naive_loop(drawn_rows):
    features, table = drawn_rows
    protocol = Protocol("vehicleid", exclude_same_camera=False, gallery_draws=10, draw_seed=7)
    result = score_table(features, table, protocol)
    identities = table["identity"].to_numpy()
    naive = np.array(
        [naive_metrics(features, identities, draw_gallery(identities, 7, d)) for d in range(10)]
    )
    np.testing.assert_allclose(result.draws["mAP"], naive[:, 0], rtol=1e-6)
    np.testing.assert_allclose(result.draws["rank1"], naive[:, 1], rtol=1e-6)
    metrics = result.metrics()
    assert metrics["mAP"] == pytest.approx(naive[:, 0].mean())
    assert metrics["mAP_deviation"] == pytest.approx(naive[:, 0].std())
    assert metrics["rank1"] == pytest.approx(naive[:, 1].mean())
    assert metrics["rank1_deviation"] == pytest.approx(naive[:, 1].std())
    assert metrics["counted"] == naive[0, 2] == len(table) - 26  # all but the drawn, and number 99
    assert result.draws["mAP"].nunique() > 1


def test_a_seed_fixes_the_ten_galleries(drawn_rows):
    features, table = drawn_rows
    scores = [
        score_table(features, table, Protocol(gallery_draws=10, draw_seed=seed)).draws
        for seed in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(scores[0], scores[1])
    assert not scores[0]["mAP"].equals(scores[2]["mAP"])


class Counting(torch.nn.Module):
    """Mean colours as features; counts the images it sees."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)


@pytest.fixture
def places(tmp_path):
    """VehicleID's layout, and a manifest with cameras."""
    rng = np.random.default_rng(1)

    def write(path, colour):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-25, 25, (16, 16, 3))
        Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(path)

    home = tmp_path / "VehicleID"
    lists = home / "train_test_split"
    lists.mkdir(parents=True)
    names = {file: [] for file in ("train_list.txt", "test_list_800.txt")}
    rows = ["path,identity,camera,split"]
    for who in range(8):
        colour = rng.integers(0, 256, 3)
        for n in range(4):
            name = f"{100 * who + n:07d}"
            write(home / "image" / f"{name}.jpg", colour)
            names["train_list.txt" if who < 2 else "test_list_800.txt"].append(f"{name} {who}\n")
            write(tmp_path / "own" / f"{name}.jpg", colour)
            rows.append(f"{name}.jpg,{who},{n % 2},{'query' if n == 0 else 'gallery'}")
    for file, lines in names.items():
        (lists / file).write_text("".join(lines))
    (tmp_path / "own" / "manifest.csv").write_text("\n".join(rows))
    return home, tmp_path / "own"


def test_many_data_sets_in_one_table_with_features_extracted_once(places):
    vehicles, own = load_dataset("vehicleid", places[0]), load_dataset("manifest", places[1])
    model = Counting()
    across = evaluate_across(Embedder(model, 32, 32), [vehicles, own, own])
    assert model.seen == 24 + 32 + 32
    table = across.table
    assert table.index.tolist() == ["vehicleid", "manifest own", "manifest own (2)"]
    assert table.loc["vehicleid", "protocol"].endswith("10 gallery draws, seed 0")
    assert table.loc["vehicleid", "counted"] == 18
    assert table.loc["vehicleid", "gallery"] == 6
    assert table.loc["vehicleid", "mAP_deviation"] >= 0
    assert np.isnan(table.loc["manifest own", "mAP_deviation"])
    assert table.loc["manifest own", "mAP"] == table.loc["manifest own (2)", "mAP"] > 0.5
    assert "±" in repr(across)
    assert "8 of 8" in repr(across)
    assert "<table" in across._repr_html_()


def test_what_cannot_be(places):
    with pytest.raises(ReidError, match="no data set to evaluate on"):
        evaluate_across(Embedder(Counting()), [])
    own = load_dataset("manifest", places[1])
    with pytest.raises(ReidError, match="1 protocols for 2 data sets"):
        evaluate_across(Embedder(Counting()), [own, own], [None])


def test_why_nothing_counts_is_said(places):
    """The commonest question of all: a data set of one camera."""
    table = load_dataset("manifest", places[1]).table.assign(camera=1)
    dataset = ReidDataset("mine", places[1], table)
    scored = evaluate_across(Embedder(Counting(), 16, 16), [dataset])
    assert scored.results["mine"].ranking.num_counted == 0
    for shown in (repr(scored), scored._repr_html_()):
        assert "has a match in another camera in the gallery, so nothing could be scored" in shown
    assert "nothing could be scored" not in repr(
        evaluate_across(Embedder(Counting(), 16, 16), [load_dataset("manifest", places[1])])
    )
