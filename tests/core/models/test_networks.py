"""Other trunks under the ReID heads: ResNets and strangers; sizes, features, training, loading."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from msinet_core import PAPER_GENOTYPE, ReidError
from msinet_core.config import TrainConfig
from msinet_core.models import MSINet, reference
from msinet_core.models.blocks import TrunkMaps
from msinet_core.models.describe import describe
from msinet_core.models.networks import GeneralisedMean, ReidNetwork, resnet
from msinet_core.retrieval import Embedder
from msinet_core.training import load_network, train, training_loss


def test_the_trunk_is_torchvisions():
    torch.manual_seed(0)
    model = resnet("resnet18", 3).eval()
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
    assert isinstance(model, ReidNetwork)
    assert model.feature_length == 768


def test_another_name():
    with pytest.raises(ReidError, match="resnet18"):
        resnet("resnet101", 3)


@pytest.mark.parametrize("name, size", [("resnet18", 11_176_512), ("resnet50", 23_508_032)])
def test_described_by_its_own_trunk(name, size):
    with torch.device("meta"):
        table = describe(resnet(name, 751))
    trunk = table.loc[["stem", "stages.0", "stages.1", "stages.2", "stages.3"]].sum()
    assert trunk["parameters"] == size  # a ResNet without its classifier
    # at 224 x 224, with the classifier: 1.81 and 4.09 G
    known = {"resnet18": 1.81e9, "resnet50": 4.09e9}[name] * 256 * 128 / 224**2
    assert trunk["multiply_adds"] == pytest.approx(known, rel=0.01)
    heads = table.loc[["global neck", "part branch"]].sum()
    assert table.loc["total", "parameters"] == size + heads["parameters"]


class Patches(nn.Module):
    """A stranger: images cut into patches, a position embedding, one map for both branches."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(24, 1, 1))
        self.cut = nn.Conv2d(3, 24, 8, stride=8)

    def forward(self, images):
        x = self.cut(images) + self.place
        return TrunkMaps(x, x)


def test_a_trunk_of_your_own_with_alignment():
    torch.manual_seed(0)
    model = ReidNetwork(Patches(), (24, 24), 4, alignment=True)
    images, labels = torch.randn(8, 3, 40, 24), torch.arange(8) // 2
    output = model.train()(images)
    assert output.learned_map.shape == (8, 5 * 3)
    training_loss(output, labels, alignment="pos_neg").total.backward()
    assert model.trunk.cut.weight.grad.abs().sum() > 0
    assert model.eval().embed(images, after_necks=True).shape == (8, model.feature_length)
    table = describe(model, 40, 24)
    cut = {"parameters": 24 * 193, "multiply_adds": 24 * 192 * 5 * 3}
    assert dict(table.loc["cut"]) == cut
    assert table.loc["rest", "parameters"] == 24
    np.testing.assert_allclose(
        Embedder(model).embed([images]), model(images).detach(), rtol=1e-4, atol=1e-5
    )


# -- what may be switched on -----------------------------------------------------------------------

SMALL = (16, 16, 24, 32)


def test_gem_lies_between_the_mean_and_the_maximum():
    x = torch.rand(2, 5, 4, 3)
    torch.testing.assert_close(GeneralisedMean(1.0)(x), x.mean((2, 3)))
    torch.testing.assert_close(GeneralisedMean(3.0)(x), x.pow(3).mean((2, 3)).pow(1 / 3))
    torch.testing.assert_close(GeneralisedMean(200.0)(x), x.amax((2, 3)), rtol=0.02, atol=0)
    dead = torch.zeros(1, 2, 4, 3, requires_grad=True)
    GeneralisedMean()(dead).sum().backward()
    assert dead.grad.isfinite().all()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_network_with_gem_learns_p_and_comes_back_from_its_file(tmp_path, suffix):
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 4, SMALL, pooling="gem").train()
    training_loss(model(torch.randn(8, 3, 32, 32)), torch.arange(8) // 2).total.backward()
    assert model.pool.p.grad.abs() > 0
    with torch.no_grad():
        model.pool.p += 0.5
    file = reference.save_msinet(model.eval(), tmp_path / f"gem.{suffix}")
    images = torch.randn(2, 3, 32, 32)
    found = reference.load_msinet(file, PAPER_GENOTYPE)(images)
    torch.testing.assert_close(found, model(images), rtol=0, atol=0)
    half = Embedder(model, precision="bfloat16", after_necks=True).embed([images])
    assert np.isfinite(half).all()


def test_dropped_paths():
    """Skipped for whole images, more often the deeper, in training only; the mean stays."""
    model = MSINet(PAPER_GENOTYPE, 4, SMALL, drop_path=0.6)
    shares = [cell.drop_path.p for cell in model.trunk.cells]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    path, x = model.trunk.cells[3].drop_path.train(), torch.rand(4000, 2, 2, 2)
    kept = path(x)
    gone = (kept == 0).flatten(1)
    assert torch.equal(gone.all(1), gone.any(1))
    assert abs(gone.all(1).float().mean() - 0.4) < 0.03
    torch.testing.assert_close(kept[~gone.all(1)], x[~gone.all(1)] / 0.6)
    plain = MSINet(PAPER_GENOTYPE, 4, SMALL)
    plain.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(images), plain.eval()(images))
    with pytest.raises(ReidError, match="drop_path skips cells, and resnet18 has none"):
        TrainConfig(drop_path=0.1, backbone="resnet18")
