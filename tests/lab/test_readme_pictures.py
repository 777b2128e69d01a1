"""`make figures` on the smallest demo there can be."""

from types import SimpleNamespace

import pytest
from PIL import Image

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.retrieval import Embedder, evaluate
from msinet_core.search import search
from msinet_core.training import load_network, train
from msinet_lab.readme_pictures import draw_pictures


@pytest.fixture(scope="module")
def demo(tmp_path_factory, tiny_settings, tiny_root):
    import pandas as pd

    from msinet_core.data import ReidDataset

    dataset = ReidDataset("manifest", tiny_root, pd.read_csv(tiny_root / "manifest.csv"))
    home, settings = tmp_path_factory.mktemp("demo"), {**tiny_settings, "height": 64, "epochs": 1}
    runs = (
        search(SearchConfig(**settings), home / "search", dataset=dataset, progress=False),
        train(TrainConfig(**settings), home / "train", dataset=dataset, progress=False),
    )
    trained = evaluate(Embedder(load_network(runs[1]), 64, 32), dataset)
    return SimpleNamespace(search_run=runs[0], train_run=runs[1], dataset=dataset, trained=trained)


def test_every_picture_is_there_and_is_one(demo, tmp_path):
    paths = draw_pictures(demo, tmp_path / "figures")
    assert [path.stem for path in paths] == [
        "architecture",
        "alpha_heatmap",
        "rank_list",
        "alignment_map",
    ]
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
