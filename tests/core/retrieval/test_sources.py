"""`load_model` of every SOURCE gives the features of the network that was trained or saved."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

import msinet_core.models
from msinet_core import PAPER_GENOTYPE, Genotype
from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models import MSINet, reference
from msinet_core.retrieval import (
    Embedder,
    RetrievalResult,
    evaluate,
    export_onnx,
    export_weights,
    load_model,
)
from msinet_core.runs.folder import RunFolder
from msinet_core.training import load_network, train

CHANNELS = (16, 64, 64, 64)
TELLING = Genotype(("channel_gate", "cross_attention") * 6)


@pytest.fixture(scope="module")
def run(tiny_settings, tiny_root, tmp_path_factory):
    """A training run made with a relative root, one of its test images unreadable and skipped."""
    place = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny_root, place / "photos")
    (place / "photos" / "images" / "010_c0_4.png").write_bytes(b"no image")
    settings = {**tiny_settings, "epochs": 1, "root": "photos", "on_bad_image": "skip"}
    here = os.getcwd()
    os.chdir(place)
    try:
        train(TrainConfig(**settings), "runs/t", progress=False)
    finally:
        os.chdir(here)
    return place / "runs" / "t"


def features(embedder):
    return embedder.embed([torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)])


def test_a_run_folder_and_what_is_exported_of_it(run, tmp_path):
    expected = features(Embedder(load_network(run)))
    found = load_model(run, flip=True)
    assert (found.height, found.width, found.flip) == (32, 32, True)
    assert found.on_bad_image == "skip"
    np.testing.assert_array_equal(features(load_model(str(run))), expected)
    for name in ("a.pth", "a.safetensors"):
        export_weights(found, tmp_path / name)
        same = load_model(tmp_path / name, genotype=PAPER_GENOTYPE, height=32, width=32)
        np.testing.assert_allclose(features(same), expected, atol=1e-6)
    assert msinet_core.models.load_model is load_model


def test_our_own_names_and_a_genotype_that_the_weights_tell(tmp_path):
    torch.manual_seed(0)
    model = MSINet(TELLING, 3, CHANNELS).eval()
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    reference.save_msinet(model, tmp_path / "theirs.safetensors")
    expected = features(Embedder(model))
    for name in ("ours.pth", "theirs.safetensors"):
        found = load_model(tmp_path / name)
        assert found.model.genotype == TELLING
        np.testing.assert_allclose(features(found), expected, atol=1e-6)
        assert (found.height, found.width) == (256, 128)


def test_an_exported_file(run, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_onnx(load_model(run), tmp_path / "x.onnx")
    found = load_model(tmp_path / "x.onnx")
    assert (found.height, found.width) == (32, 32)
    np.testing.assert_allclose(features(found), features(load_model(run)), atol=1e-4)


def test_what_is_no_source(tmp_path):
    reference.save_msinet(MSINet(PAPER_GENOTYPE, 3, CHANNELS), tmp_path / "a.pth")
    (tmp_path / "empty").mkdir()
    for source, message in (
        ("nowhere", "there is no model at 'nowhere'"),
        (tmp_path / "a.pth", "do not tell `none` from `exchange` in stage 1, cell 2, slot 1"),
        (tmp_path / "absent.pth", "no checkpoint at"),
        (tmp_path / "empty", "not a run folder"),
    ):
        with pytest.raises(ReidError, match=message):
            load_model(source)
    with pytest.raises(TypeError):
        load_model(tmp_path / "a.pth", genotype=PAPER_GENOTYPE, flipped=True)


def test_a_run_is_scored_from_another_folder_with_the_same_images_left_out(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--run", str(run), "--device", "cpu", "--save", "results"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "left out 1 of 64 images, the first because" in said
    assert "010_c0_4.png" in said
    (saved,) = (tmp_path / "results").iterdir()
    result = RetrievalResult.load(saved)
    assert len(result.query_table) + len(result.gallery_table) == 63
    metrics = RunFolder(run).metrics()
    assert result.metrics()["mAP"] == pytest.approx(metrics["mAP"], rel=1e-6)


def test_a_relative_root_of_an_older_run_is_looked_for_above_the_run(run, tmp_path, monkeypatch):
    shutil.copytree(run.parents[1], tmp_path / "project")
    old = tmp_path / "project" / "runs" / "t"
    text = (old / "config.json").read_text()
    recorded = str(RunFolder(run).config().root)
    assert os.path.isabs(recorded)
    (old / "config.json").write_text(text.replace(recorded, "photos"))
    monkeypatch.chdir("/")
    assert RunFolder(old).config().root == str(tmp_path / "project" / "photos")


def test_features_that_are_not_finite_name_the_image(tiny_dataset):
    class Diverged(torch.nn.Module):
        def forward(self, images):
            features = images.mean((2, 3))
            features[5] = torch.nan
            return features

    with pytest.raises(ReidError, match=tiny_dataset.table["path"][69]):
        evaluate(Embedder(Diverged(), 32, 32), tiny_dataset)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda f: (f, f), "a tuple"),
        (lambda f: [f], "a list"),
        (lambda f: {"features": f}, "a dict of features"),
        (lambda f: f[0], r"a tensor of \(3,\)"),
        (lambda f: f[:1].expand(99, 3), r"a tensor of \(99, 3\)"),
    ],
)
def test_what_is_not_a_feature_a_row_is_named(wrong, said, tiny_dataset):
    class Other(torch.nn.Module):
        def forward(self, images):
            return wrong(images.mean(dim=(2, 3)))

    with pytest.raises(ReidError, match=f"Other gave {said}"):
        evaluate(Other(), tiny_dataset, 32, 32)
