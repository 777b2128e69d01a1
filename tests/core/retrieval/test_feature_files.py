"""Features from any program: read as they are, checked, scored as those of a network."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from msinet_core.cli import main
from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult, read_features


@pytest.fixture
def case(crowd):
    """Features of training, query and gallery rows, and their table."""
    made = crowd(0, queries=30, gallery=90)
    features = np.concatenate([made.gallery[:20], made.query, made.gallery])
    table = pd.DataFrame(
        {
            "path": [f"{row}.jpg" for row in range(140)],
            "identity": [
                *made.gallery_identity[:20] + 50,
                *made.query_identity,
                *made.gallery_identity,
            ],
            "camera": [*made.gallery_camera[:20], *made.query_camera, *made.gallery_camera],
            "split": ["train"] * 20 + ["query"] * 30 + ["gallery"] * 90,
        }
    )
    return features, table


def write(features, place, kind):
    path, tensor = place / f"f.{kind}", torch.from_numpy(features)
    if kind == "npy":
        np.save(path, features)
    elif kind == "npz":
        np.savez(path, features=features, names=np.arange(3))
    elif kind == "safetensors":
        save_file({"embeddings": tensor, "other": tensor[:2].clone()}, path)
    else:
        pytest.importorskip("pyarrow")
        pd.DataFrame({"path": "a", "features": list(features)}).to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "parquet"])
@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_every_kind_gives_what_was_written(case, tmp_path, kind, precision):
    features, table = case[0].astype(precision), case[1]
    found = read_features(write(features, tmp_path, kind))
    np.testing.assert_array_equal(np.asarray(found), features)
    assert str(found.dtype).removeprefix("torch.") == np.dtype(precision).name
    expected = RetrievalResult.from_features(features.astype(np.float32), table)
    result = RetrievalResult.from_features(found, table)
    np.testing.assert_array_equal(
        result.ranking.average_precision, expected.ranking.average_precision
    )
    assert result.metrics() == expected.metrics()


def test_columns_of_numbers_and_bfloat16(case, tmp_path):
    features = case[0]
    half = torch.from_numpy(features).bfloat16()
    save_file({"any name": half}, tmp_path / "f.safetensors")
    found = RetrievalResult.from_features(read_features(tmp_path / "f.safetensors"), case[1])
    expected = RetrievalResult.from_features(half.float().numpy(), case[1])
    assert found.metrics() == expected.metrics()
    pytest.importorskip("pyarrow")
    pd.DataFrame(features).rename(columns=str).assign(n=1).to_parquet(tmp_path / "wide.parquet")
    np.testing.assert_array_equal(read_features(tmp_path / "wide.parquet"), features)


def test_a_mapped_file_is_not_copied(case, tmp_path):
    features, table = case
    mapped = read_features(write(features, tmp_path, "npy"))
    assert isinstance(mapped, np.memmap)
    result = RetrievalResult.from_features(mapped, table)
    assert np.shares_memory(result.query_features, mapped)
    assert np.shares_memory(result.gallery_features, mapped)
    mixed = np.random.default_rng(0).permutation(140)
    scattered = RetrievalResult.from_features(features[mixed], table.iloc[mixed])
    assert scattered.metrics()["mAP"] == pytest.approx(result.metrics()["mAP"], abs=1e-12)


def test_rows_that_do_not_count_may_be_anything(case):
    features, table = case
    expected = RetrievalResult.from_features(features, table).metrics()
    features[3] = np.nan  # of training
    assert RetrievalResult.from_features(features, table).metrics() == expected
    features[60] = np.inf
    with pytest.raises(ReidError, match=r"1 of 90 features are NaN or infinite, .* of 60.jpg"):
        RetrievalResult.from_features(features, table)


def test_what_does_not_fit(case, tmp_path):
    features, table = case
    for change, message in (
        (lambda: RetrievalResult.from_features(features[1:], table), "139 features for 140 rows"),
        (lambda: RetrievalResult.from_features(features, table.drop(columns="split")), "split"),
        (
            lambda: RetrievalResult.from_features(features, table.assign(split="train")),
            "no row of the table has the split 'query'",
        ),
        (lambda: RetrievalResult.from_features(features.astype(int), table), "dtype is int64"),
    ):
        with pytest.raises(ReidError, match=message):
            change()
    np.savez(tmp_path / "two.npz", a=features, b=features)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for name, message in (
        ("two.npz", r"holds a, b; say which are the features \(--output NAME\)"),
        ("absent.npy", "holds no features"),
        ("objects.npy", "damaged, or no .npy file"),
        ("broken.npy", "damaged, or no .npy file"),
        ("broken.npz", "damaged, or no .npz file"),
        ("broken.safetensors", "damaged, or no .safetensors file"),
        ("features.mat", "features are in .npy, .npz, .safetensors, .parquet files"),
    ):
        with pytest.raises(ReidError, match=message):
            read_features(tmp_path / name)
    np.testing.assert_array_equal(read_features(tmp_path / "two.npz", "b"), features)


def test_from_the_command_line(case, tmp_path, capsys):
    features, table = case
    file = write(features, tmp_path, "npy")
    table.to_csv(tmp_path / "t.csv", index=False)
    words = ["evaluate", "--features", str(file), "--table", str(tmp_path / "t.csv")]
    more = [
        "--roc",
        "--open-set",
        "0.4",
        "--threshold-from",
        "train",
        "--save",
        str(tmp_path / "r"),
    ]
    assert main([*words, *more]) == 0
    said = capsys.readouterr().out
    assert "equal error rate" in said
    assert "DIR at FAR" in said
    assert "threshold" in said
    (saved,) = (tmp_path / "r").iterdir()
    expected = RetrievalResult.from_features(features, table, Protocol())
    assert RetrievalResult.load(saved).metrics() == expected.metrics()
    assert main([*words, "--rerank", "--save", str(tmp_path / "r")]) == 0
    assert RetrievalResult.load(saved).metrics() == expected.reranked().metrics()
    table.iloc[1:].to_csv(tmp_path / "t.csv", index=False)
    assert main(words) == 2
    assert "140 features for 139 rows" in capsys.readouterr().err
    for wrong in (["evaluate"], [*words, "--run", "x"], words[:3]):
        assert main(wrong) == 2
