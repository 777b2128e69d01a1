"""What version 0.1 wrote still opens: runs, stopped runs, a saved result and a store of features.

The files in `golden/version_0.1` were written by that version's command line from the bitmaps that
`photos.py` beside them makes: ten identities to train on, five to test with.
"""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from msinet_core.runs import RunFolder
from msinet_core.search import search
from msinet_core.search.history import SearchHistory
from msinet_core.training import load_network, train

FILES = Path(__file__).parents[1] / "golden/version_0.1"
MAP, MINP = 0.829, 0.657  # what version 0.1 printed, rounded


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A copy of the files, with the photographs beside them, as the present folder."""
    spec = importlib.util.spec_from_file_location("photos", FILES / "photos.py")
    photos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(photos)
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    photos.make(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_history_of_a_search_is_shown(place):
    run = RunFolder("search")
    assert run.finished
    history = SearchHistory.read(run)
    assert history.epochs.tolist() == [1, 2]
    assert history.alphas.shape == history.weights.shape == (2, 12, 4)
    # That version wrote alpha over its temperature, which was 2.
    np.testing.assert_array_equal(history.temperatures, 1)
    np.testing.assert_allclose(history.weights.sum(axis=2), 1, atol=1e-6)
    alphas = run.checkpoint().weights["alphas"].numpy() / 2
    np.testing.assert_allclose(history.alphas[-1], alphas, atol=1e-6)
    assert history.genotypes[-1] == run.genotype()


def test_a_trained_network_scores_what_it_scored(place):
    from msinet_core.retrieval import RetrievalResult, open_store

    saved = RetrievalResult.load("result/manifest photos")
    metrics = saved.metrics()
    assert metrics["mAP"] == pytest.approx(MAP, abs=5e-4)
    assert metrics["mINP"] == pytest.approx(MINP, abs=5e-4)
    assert load_network("train").feature_length == 272
    assert len(open_store("store")) == 60


@pytest.mark.parametrize("kind, work", [("search", search), ("train", train)])
def test_a_stopped_run_goes_on_to_its_end(kind, work, place):
    run = RunFolder(f"half_{kind}")
    steps_before = sum(line["kind"] == "step" for line in run.lines())
    assert not run.finished
    assert steps_before
    work(run.config(), run, resume=True, progress=False)
    assert run.finished
    assert run.epochs()["epoch"].tolist() == [1, 2, 3]
