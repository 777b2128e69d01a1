"""`msinet compare`: saved results and runs side by side, refused where their queries are others."""

import numpy as np
import pandas as pd
import pytest

from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.data import Protocol
from msinet_core.retrieval import RetrievalResult, compare
from msinet_core.training import train


@pytest.fixture
def saved(tmp_path):
    """`saved(name, noise, order)`: a result in a folder; gives it."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(10), 4)
    centres = rng.normal(size=(10, 8))
    query = pd.DataFrame(
        {
            "path": [f"q{n}.jpg" for n in range(40)],
            "identity": identity,
            "camera": np.arange(40) % 2,
            "view": np.where(np.arange(40) < 20, "front", "rear"),
        }
    )
    gallery = pd.DataFrame({"path": map(str, range(40)), "identity": identity, "camera": 2})

    def make(name, noise, order=slice(None), change=None):
        draw = np.random.default_rng(1).normal(size=(40, 8))
        features = (centres[identity] + noise * draw).astype(np.float32)
        table = query.assign(**change or {}).iloc[order].reset_index(drop=True)
        sides = features[order], centres[identity].astype(np.float32)
        result = RetrievalResult.score(*sides, table, gallery, Protocol())
        result.save(tmp_path / name)
        return result

    return make


def test_tables_say_what_was_found(saved, tmp_path, capsys):
    one, two = saved("results/a", 0.6), saved("results/b", 1.5)
    places = [str(tmp_path / "results" / name) for name in "ab"]
    assert main(["compare", *places, "--by", "camera", "view"]) == 0
    said = capsys.readouterr().out
    found = compare(one, two)
    low, high = (100 * end for end in found.interval)
    assert f"{100 * found.difference:+.2f} ({low:+.2f} to {high:+.2f})" in said
    assert "b by camera" in said
    assert "front" in said
    assert main(["compare", *places, "--unit", "identity", "--confidence", "0.8"]) == 0
    inside = tmp_path / "results"
    for words, message in (
        (places[:1], "two or more"),
        ([places[0], places[0]], "named twice"),
        ([places[0], str(inside)], "holds several results (a, b)"),
        ([places[0], str(tmp_path / "absent")], "no retrieval result"),
        ([*places, "--by", "weather"], "no column 'weather'"),
    ):
        assert main(["compare", *words]) == 2
        assert message in capsys.readouterr().err


def test_other_queries_are_refused(saved, tmp_path, capsys):
    saved("a", 0.6)
    order = np.random.default_rng(2).permutation(40)
    saved("shuffled", 0.6, order)
    saved("fewer", 0.6, slice(1, None))
    saved("foreign", 0.6, change={"path": [f"x{n}" for n in range(40)]})
    saved("relabelled", 0.6, change={"identity": np.arange(40)[::-1] // 4})
    for name in ("shuffled", "fewer", "foreign", "relabelled"):
        assert main(["compare", str(tmp_path / "a"), str(tmp_path / name)]) == 2
        assert "queries" in capsys.readouterr().err


def test_pictures_and_tables_in_a_folder_of_ours(saved, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    saved("a", 0.6)
    saved("b", 1.5)
    words = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--to", str(tmp_path / "to")]
    if main(words) == 2:
        assert "pip install 'msinet-core[lab]'" in capsys.readouterr().err
        pytest.skip("installed without its entry points")
    names = {file.name for file in (tmp_path / "to").iterdir()}
    assert {"comparison.csv", "comparison.png", "cmc.png", "queries-1.png", "part-1.csv"} <= names
    table = pd.read_csv(tmp_path / "to" / "comparison.csv", index_col=0)
    assert table.loc["b", "mAP_difference"] < 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    assert main([*words[:-1], str(tmp_path / "mine")]) == 2
    assert (tmp_path / "mine" / "file").read_text() == "mine"


def test_runs_are_scored(tiny_settings, tmp_path, capsys):
    settings = {**tiny_settings, "epochs": 1, "genotype": "-".join(["none"] * 12)}
    for seed in (0, 1):
        run = tmp_path / f"seed{seed}"
        train(TrainConfig(**settings, seed=seed), run, progress=False)
    assert main(["compare", str(tmp_path / "seed0"), str(tmp_path / "seed1")]) == 0
    assert "seed1 by camera" in capsys.readouterr().out
