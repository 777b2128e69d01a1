"""Runs of other backbones, and runs that start from weights: trained, stopped, resumed, opened."""

import json
import sys

import numpy as np
import pytest
import torch
from common import StopAfter, lines_without_clock, same_weights

from msinet_core import Genotype, ReidError, functions
from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.errors import Stopped
from msinet_core.models import MSINet, reference
from msinet_core.models.describe import describe
from msinet_core.models.warm_start import match
from msinet_core.retrieval import RetrievalResult, evaluate, export_onnx, load_model
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import STARTED, load_network, make_network
from msinet_core.training import train

OWN = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.BatchNorm2d(16), nn.ReLU())
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function of somebody's own in the current folder; forgotten again."""
    (tmp_path / "own_run_net.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "own_run_net:make"
    sys.modules.pop("own_run_net", None)


def run_training(settings, folder, stop=None, **changes):
    config = TrainConfig(**{**settings, "identities_per_batch": 4, **changes})
    resume = RunFolder(folder).has_checkpoint()
    return train(config, folder, progress=False, stop=stop, resume=resume)


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_vit", "own_run_net:make"])
def test_a_backbone_through_everything(backbone, own, tiny_settings, tiny_dataset, tmp_path):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    else:
        with pytest.raises(ReidError, match="--import own_run_net"):
            run_training(tiny_settings, tmp_path / "whole", backbone=backbone)
        functions.trust(backbone)
    changes = {"backbone": backbone, "alignment": "pos"}
    whole = run_training(tiny_settings, tmp_path / "whole", **changes)
    with pytest.raises(Stopped):
        run_training(tiny_settings, tmp_path / "parts", stop=StopAfter(3), **changes)
    parts = run_training(tiny_settings, tmp_path / "parts", **changes)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)
    embedder = load_model(whole.path)
    result = evaluate(embedder, tiny_dataset)
    assert result.metrics()["mAP"] == pytest.approx(whole.metrics()["mAP"], rel=1e-6)
    result.save(tmp_path / "result")
    assert len(RetrievalResult.load(tmp_path / "result").rank_list(0, 5).distance) == 5
    table = describe(embedder.model, 32, 32)
    sizes = sum(p.numel() for p in embedder.model.parameters())
    assert table.loc[["total", "training only"], "parameters"].sum() == sizes
    assert table.loc["total", "multiply_adds"] > 0


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_vit", "own_run_net:make"])
def test_a_backbone_exported(backbone, own, tiny_settings, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    else:
        functions.trust(backbone)
    run = run_training(tiny_settings, tmp_path / "run", epochs=1, backbone=backbone)
    embedder = load_model(run.path)
    images = [torch.randn(3, 3, 32, 32)]
    found = load_model(export_onnx(embedder, tmp_path / "x.onnx").path)
    np.testing.assert_allclose(found.embed(images), embedder.embed(images), atol=1e-4, rtol=1e-3)


def test_opening_a_folder_runs_nothing(own, tiny_settings, tmp_path, capsys):
    words = ["train", "--root", tiny_settings["root"], "--run", "run", "--epochs", "1"]
    words += ["--height", "32", "--width", "32", "--identities-per-batch", "4", "--device", "cpu"]
    assert main([*words, "--backbone", own, "--quiet"]) == 0
    assert RunFolder("run").config().imports == ("own_run_net",)
    capsys.readouterr()
    functions._TRUSTED.clear()
    sys.modules.pop("own_run_net")
    evaluating = ["evaluate", "--run", "run", "--device", "cpu"]
    for again in (evaluating, ["train", "--run", "run", "--resume"]):
        assert main(again) == 2
        assert "--import own_run_net" in capsys.readouterr().err
        assert "own_run_net" not in sys.modules
    assert main([*evaluating, "--import", "own_run_net"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "backbone": "os:getcwd"}))
    with pytest.raises(ReidError, match="--import os"):
        load_network("run")


def test_an_older_run_of_a_resnet_keeps_its_stride(tiny_settings, tmp_path):
    run = run_training(
        tiny_settings, tmp_path / "run", epochs=1, backbone="resnet18", last_stride=2
    )
    before = load_model(run.path).embed([torch.ones(1, 3, 32, 32)])
    file = run.path / "config.json"
    values = json.loads(file.read_text())
    for name in ("last_stride", "pretrained", "freeze_epochs", "loaded_rate"):
        del values[name]
    file.write_text(json.dumps(values))
    assert RunFolder(run.path).config().last_stride == 2
    np.testing.assert_array_equal(load_model(run.path).embed([torch.ones(1, 3, 32, 32)]), before)
    assert TrainConfig().last_stride == 1


# -- from weights --------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tiny_settings, tmp_path):
    """A file of weights as the authors' for ImageNet: no part branch, other classes."""
    torch.manual_seed(7)
    genotype = Genotype.uniform("channel_gate")
    state = reference.to_reference(MSINet(genotype, 5, tiny_settings["channels"]))
    state = {f"module.{k}": v for k, v in state.items() if not k.startswith("f_")}
    torch.save({"state_dict": state}, tmp_path / "imagenet.pth")
    return str(tmp_path / "imagenet.pth")


@pytest.mark.filterwarnings("ignore:weights of")
def test_frozen_slowed_stopped_and_resumed_without_the_source(imagenet, tiny_settings, tmp_path):
    changes = {"weights": imagenet, "freeze_epochs": 1, "loaded_rate": 0.5, "genotype": "paper"}
    changes |= {"epochs": 3, "evaluate_every": 1}
    whole = run_training(tiny_settings, tmp_path / "whole", **changes)
    for steps in (2, 5):
        folder = tmp_path / f"parts{steps}"
        with pytest.raises(Stopped):
            run_training(tiny_settings, folder, stop=StopAfter(steps), **changes)
        (tmp_path / "imagenet.pth").rename(tmp_path / "gone")
        parts = run_training(tiny_settings, folder, **changes)
        (tmp_path / "gone").rename(tmp_path / "imagenet.pth")
        assert same_weights(whole, parts)
        assert lines_without_clock(whole) == lines_without_clock(parts)
    told = json.loads((whole.path / STARTED).read_text())
    assert told["parts"]["in all"]["loaded"] == len(told["loaded"])
    assert "stage 1, cell 1, slot 1" in (whole.path / "log.txt").read_text()


@pytest.mark.filterwarnings("ignore:weights of")
def test_what_is_frozen_stays_to_the_bit_and_moves_afterwards(imagenet, tiny_settings, tmp_path):
    changes = {"weights": imagenet, "freeze_epochs": 1, "evaluate_every": 1}
    still = run_training(tiny_settings, tmp_path / "still", epochs=1, **changes)
    state = reference.read_state_dict(imagenet)
    network = make_network(still.config(), still.genotype(), 8)
    loaded = match(network, state).loaded
    found = still.checkpoint().weights
    assert all(torch.equal(found[name], value) for name, value in loaded.items())
    assert set(json.loads((still.path / STARTED).read_text())["loaded"]) == set(loaded)
    torch.manual_seed(still.config().seed)
    begun = make_network(still.config(), still.genotype(), 8).state_dict()
    fresh = [n for n, _ in network.named_parameters() if n not in loaded and n != "neck.norm.bias"]
    moved = [name for name in fresh if not torch.equal(found[name], begun[name])]
    assert {"classifier.weight", "part_conv.weight"} <= set(moved)
    further = run_training(tiny_settings, tmp_path / "further", epochs=2, **changes)
    found = further.checkpoint().weights
    assert not torch.equal(found["trunk.stem.conv.weight"], loaded["trunk.stem.conv.weight"])


@pytest.mark.filterwarnings("ignore:weights of")
def test_a_smaller_rate_for_what_was_loaded(imagenet, tiny_settings, tmp_path):
    changes = {"weights": imagenet, "epochs": 1, "loaded_rate": 1e-6, "max_gradient_norm": None}
    run = run_training(tiny_settings, tmp_path / "run", **changes)
    found, state = run.checkpoint().weights, reference.read_state_dict(imagenet)
    network = make_network(run.config(), run.genotype(), 8)
    loaded = match(network, state).loaded
    for name, _ in network.named_parameters():
        if name in loaded:
            torch.testing.assert_close(found[name], loaded[name], atol=1e-4, rtol=1e-3)
    torch.manual_seed(run.config().seed)
    begun = make_network(run.config(), run.genotype(), 8).state_dict()
    assert (found["classifier.weight"] - begun["classifier.weight"]).abs().max() > 1e-3


def test_options_of_weights_without_weights():
    for changes, said in (
        ({"freeze_epochs": 1}, "are about weights that were loaded"),
        ({"loaded_rate": 0.1}, "are about weights that were loaded"),
        ({"loaded_rate": 0.0, "weights": "x"}, "loaded_rate must be positive"),
        ({"pretrained": True}, "msinet has no library's weights"),
        ({"last_stride": 3}, "last_stride is 1 or 2"),
        ({"backbone": "resnet101"}, "there is no backbone 'resnet101'"),
    ):
        with pytest.raises(ReidError, match=said):
            TrainConfig(**changes)


def test_a_librarys_own_weights_are_fetched_once_and_not_on_opening(
    tiny_settings, tmp_path, monkeypatch
):
    timm = pytest.importorskip("timm")
    create, asked = timm.create_model, []

    def without_network(name, pretrained, **options):
        asked.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    changes = {"backbone": "timm:test_resnet", "pretrained": True, "freeze_epochs": 1}
    run = run_training(tiny_settings, tmp_path / "run", epochs=1, **changes)
    assert set(asked) == {True}  # some options are tried until one is taken
    asked.clear()
    load_network(run)
    assert set(asked) == {False}
    loaded = json.loads((run.path / STARTED).read_text())["loaded"]
    assert loaded
    assert all(name.startswith("trunk.") for name in loaded)
