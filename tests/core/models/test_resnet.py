"""ResNets under MSINet's heads: sizes, features, training, loading."""

import numpy as np
import pytest
import torch
import torchvision

from msinet_core import ReidError
from msinet_core.config import TrainConfig
from msinet_core.models.resnet import ResNetReid
from msinet_core.retrieval import Embedder
from msinet_core.training import load_network, train


def test_the_trunk_is_torchvisions():
    torch.manual_seed(0)
    model = ResNetReid("resnet18", 3).eval()
    plain = torchvision.models.resnet18(weights=None).eval()
    state = {
        name: value for name, value in plain.state_dict().items() if not name.startswith("fc.")
    }
    assert sum(v.numel() for v in model.trunk.state_dict().values()) == sum(
        v.numel() for v in state.values()
    )
    names = {"0": "conv1", "1": "bn1"}
    with torch.no_grad():
        own = model.trunk.state_dict()
        for name in own:
            part, number, *rest = name.split(".")
            theirs = (
                ".".join([names[number], *rest])
                if part == "stem"
                else ".".join([f"layer{int(number) + 1}", *rest])
            )
            state[theirs].copy_(own[name])
        plain.load_state_dict(state, strict=False)
        plain.fc = torch.nn.Identity()
        images = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(model(images)[:, :512], plain(images))
    assert model(images).shape == (2, 512 + 256)
    np.testing.assert_allclose(
        Embedder(model).embed([images]), model(images).detach(), rtol=1e-4, atol=1e-5
    )


def test_trained_and_loaded_again(tiny_settings, tmp_path):
    config = TrainConfig(**{**tiny_settings, "epochs": 1, "backbone": "resnet18"})
    run = train(config, tmp_path / "run", progress=False)
    assert run.metrics()["mAP"] > 0
    model = load_network(run)
    assert isinstance(model, ResNetReid)
    assert model.feature_length == 768


def test_another_name():
    with pytest.raises(ReidError, match="resnet18"):
        ResNetReid("resnet101", 3)
