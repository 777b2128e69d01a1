"""Sources x targets: values, intervals, the grid and its picture."""

import numpy as np
import pandas as pd
import pytest

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.data import Protocol
from msinet_core.retrieval import DomainMatrix, RetrievalResult
from msinet_core.retrieval.evaluation import DomainResults
from msinet_lab.figures.matrix import draw_matrix
from msinet_lab.figures.style import as_array
from msinet_lab.synthetic import generate


def result(noise, seed, draws=0):
    """Thirty identities with a feature each, seen through noise; one query and two matches."""
    rng = np.random.default_rng(seed)
    means = np.repeat(rng.normal(size=(30, 4)), 3, axis=0)
    splits = np.tile(["query", "gallery", "gallery"], 30)
    cameras, identities = np.tile([0, 1, 2], 30), np.repeat(np.arange(30), 3)
    table = pd.DataFrame({"identity": identities, "camera": cameras, "split": splits})
    features = means + noise * rng.normal(size=means.shape)
    protocol = Protocol(gallery_draws=draws, exclude_same_camera=not draws)
    return RetrievalResult.from_features(features.astype(np.float32), table, protocol)


@pytest.fixture
def matrix():
    cells = {("a", "x"): 0.2, ("a", "y"): 0.9, ("b", "x"): 1.2, ("b", "y"): 0.1}
    return DomainMatrix.of(
        {
            source: DomainResults(
                {
                    t: result(noise, 3, 5 if t == "y" else 0)
                    for (s, t), noise in cells.items()
                    if s == source
                }
            )
            for source in ("b", "a")
        }
    )


def test_values_are_the_results_own_and_lie_in_their_intervals(matrix):
    assert list(matrix.grid().index) == ["b", "a"]
    assert list(matrix.grid().columns) == ["x", "y"]
    for row in matrix.table.itertuples():
        metrics = matrix.results[row.source].results[row.target].metrics()
        for name in ("mAP", "rank1", "mINP"):
            value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
            assert value == metrics[name]
            assert low <= value <= high
    wide = matrix.grid("mAP_high") - matrix.grid("mAP_low")
    assert wide.loc["b", "x"] > wide.loc["a", "x"] > 0
    assert "95 % intervals" in repr(matrix)
    assert f"{100 * matrix.grid().loc['a', 'x']:.1f} (" in repr(matrix)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """The mean over 40 samples of 30 identities stands for the truth."""
    cells = [
        DomainMatrix.of({"a": DomainResults({"x": result(0.9, seed)})}).table for seed in range(40)
    ]
    table = pd.concat(cells)
    inside = table["mAP"].mean()
    covered = ((table["mAP_low"] <= inside) & (inside <= table["mAP_high"])).mean()
    assert 0.8 <= covered <= 1.0
    assert (table["mAP_high"] - table["mAP_low"]).mean() < 0.4


def test_other_data_sets_make_no_matrix(matrix):
    with pytest.raises(ReidError, match="same data sets"):
        DomainMatrix.of({**matrix.results, "c": DomainResults({"x": result(0.1, 0)})})
    with pytest.raises(ReidError, match="one or more networks"):
        DomainMatrix.of({})


def test_the_picture_has_every_value_with_its_interval(matrix):
    figure = draw_matrix(matrix)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert len(words) == 8
    assert f"{100 * matrix.grid().loc['b', 'y']:.1f}" in words
    low, high = (100 * matrix.grid(f"mAP_{end}").loc["b", "y"] for end in ("low", "high"))
    assert f"{low:.1f} to {high:.1f}" in words
    assert as_array(figure).std() > 0


def test_two_by_two_generated_domains(tmp_path, capsys):
    """Two trainings, each with the other domain as its target, and the matrix of both."""
    roots = {}
    for domain in "AB":
        roots[domain] = generate(
            "people",
            tmp_path / domain,
            domain=domain,
            train_identities=6,
            test_identities=6,
            images_per_identity=6,
        )
    targets = {name: f"market1501={root}" for name, root in roots.items()}
    small = ["--height", "32", "--width", "32", "--channels", "16", "16", "16", "16"]
    small += ["--identities-per-batch", "4", "--images-per-identity", "2", "--epochs", "1"]
    small += ["--device", "cpu", "--quiet", "--data", "market1501"]
    for own, other in ("AB", "BA"):
        words = ["train", "--root", str(roots[own]), "--run", str(tmp_path / f"run {own}")]
        assert main([*words, *small, "--target", targets[other]]) == 0
    words = ["matrix", "--models", str(tmp_path / "run A"), str(tmp_path / "run B"), "--on"]
    place = tmp_path / "matrix"
    assert main([*words, *targets.values(), "--to", str(place), "--device", "cpu"]) == 0
    assert "run A" in capsys.readouterr().out
    table = pd.read_csv(place / "matrix.csv")
    assert list(table["source"]) == ["run A", "run A", "run B", "run B"]
    from msinet_core.runs.folder import RunFolder

    for own, other, row in (("A", "B", 1), ("B", "A", 2)):
        (target,) = RunFolder(tmp_path / f"run {own}").metrics()["targets"].values()
        assert table["mAP"][row] == pytest.approx(target["mAP"], abs=1e-6), other
    assert (place / "matrix.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "matrix.csv").write_text("years of work")
    assert main([*words, *targets.values(), "--to", str(tmp_path / "mine"), "--device", "cpu"]) == 2
    assert "is not replaced by a matrix" in capsys.readouterr().err
    assert (tmp_path / "mine" / "matrix.csv").read_text() == "years of work"
