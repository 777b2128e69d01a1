"""Backbones of timm, torchvision and of one's own: their maps, sizes, strides and limits."""

import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from msinet_core import ReidError, functions
from msinet_core.data import IMAGENET_MEAN, IMAGENET_STD
from msinet_core.models.backbones import (
    OwnTrunk,
    build_backbone,
    keep_last_stride,
    tokens_as_map,
)
from msinet_core.models.describe import describe
from msinet_core.models.library import library_network
from msinet_core.models.networks import ReidNetwork, resnet
from msinet_core.training import training_loss

SIZE = (64, 32)
IMAGES = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def network(name, alignment=False, **options):
    torch.manual_seed(0)
    trunk, widths = build_backbone(name, SIZE, **options)
    return ReidNetwork(trunk, widths, 2, alignment)


@pytest.mark.parametrize(
    "name, widths, final, part",
    [
        ("resnet18", (256, 512), (4, 2), (4, 2)),
        ("torchvision:resnet34", (256, 512), (4, 2), (4, 2)),
        ("torchvision:mobilenet_v3_small", (48, 576), (2, 1), (4, 2)),
        ("torchvision:swin_t", (384, 768), (2, 1), (4, 2)),
        ("torchvision:regnet_y_400mf", (208, 440), (2, 1), (4, 2)),
        ("timm:test_resnet", None, (4, 2), (4, 2)),
        ("timm:test_convnext", None, (2, 1), (4, 2)),
        ("timm:test_efficientnet", None, (2, 1), (4, 2)),
        ("timm:test_vit", None, (4, 2), (4, 2)),
    ],
)
def test_two_maps_under_the_heads_with_alignment(name, widths, final, part):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    model = network(name, alignment=True)
    maps = model.trunk(IMAGES)
    assert widths is None or (maps.part.shape[1], maps.final.shape[1]) == widths
    assert (tuple(maps.part.shape[2:]), tuple(maps.final.shape[2:])) == (part, final)
    output = model.train()(IMAGES)
    assert output.learned_map.shape == (4, final[0] * final[1])
    labels = torch.tensor([0, 0, 1, 1])
    training_loss(output, labels, alignment="pos_neg").total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad), name
    assert model.eval()(IMAGES).shape == (4, model.feature_length)


def test_the_last_stride_moves_no_weight():
    fine, coarse = (network("resnet50", last_stride=stride).eval() for stride in (1, 2))
    assert fine.state_dict().keys() == coarse.state_dict().keys()
    coarse.load_state_dict(fine.state_dict())
    one, two = fine.trunk(IMAGES).final, coarse.trunk(IMAGES).final
    assert one.shape[2:] == (4, 2)
    assert two.shape[2:] == (2, 1)
    # the first stage's shape is that of torchvision's own network, with or without
    plain = torchvision.models.resnet50()
    keep_last_stride(plain)  # has no such stage by that name: stays as it is
    assert plain.layer4[0].conv2.stride == (2, 2)


@pytest.mark.parametrize("name", ["timm:resnet18d", "timm:resnetv2_50", "timm:seresnet50"])
def test_last_strides_of_timms_resnets(name):
    pytest.importorskip("timm")
    with torch.device("meta"):
        library = library_network(name)[0]
    if not hasattr(library, "layer4"):
        pytest.skip("not a ResNet by its stages' names")
    assert network(name).eval().trunk(IMAGES).final.shape[2:] == (4, 2)


def test_timms_maps_are_its_own_and_images_are_normalised_its_way():
    timm = pytest.importorskip("timm")
    model = network("timm:test_vit").eval()
    torch.manual_seed(0)
    whole = timm.create_model("test_vit", num_classes=0, img_size=SIZE).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = IMAGES * std + mean
    wanted = timm.data.resolve_model_data_config(whole)
    mean, std = (torch.tensor(wanted[v]).view(3, 1, 1) for v in ("mean", "std"))
    tokens = whole.forward_features((pixels - mean) / std)[:, whole.num_prefix_tokens :]
    expected = tokens.transpose(1, 2).unflatten(2, (4, 2))
    torch.testing.assert_close(model.trunk(IMAGES).final, expected, atol=1e-4, rtol=1e-4)


def test_a_transformer_takes_other_sizes_too():
    pytest.importorskip("timm")
    model = network("timm:test_vit").eval()
    assert model(torch.randn(1, 3, 96, 64)).shape == (1, model.feature_length)


def test_tokens_as_a_map():
    values = torch.arange(2 * 8 * 3).view(2, 8, 3).float()
    found = tokens_as_map(values, 64, 32)
    assert found.shape == (2, 3, 4, 2)
    assert torch.equal(found[1, :, 2, 1], values[1, 5])
    with_class = torch.cat((torch.full((2, 1, 3), 99.0), values), 1)
    assert torch.equal(tokens_as_map(with_class, 64, 32), found)
    assert tokens_as_map(values, 64, 48) is None


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, images):
        x = self.cut(images).flatten(2).transpose(1, 2)
        return torch.cat((x.mean(1, keepdim=True), x), 1)


def test_what_a_module_of_ones_own_may_give():
    assert OwnTrunk(Tokens(), "mine")(IMAGES).final.shape == (4, 8, 4, 2)
    one = OwnTrunk(nn.Conv2d(3, 5, 8, stride=8), "mine")(IMAGES)
    assert one.part is one.final
    for module, said in (
        (nn.Flatten(), r"mine gives \(4, 6144\) for images of \(4, 3, 64, 32\)"),
        (nn.Flatten(0, 1), r"mine gives \(12, 64, 32\)"),
    ):
        with pytest.raises(ReidError, match=said):
            OwnTrunk(module, "mine")(IMAGES)
    with pytest.raises(ReidError, match="mine gave a int"):
        OwnTrunk(3, "mine")


@pytest.mark.parametrize(
    "name, said",
    [
        ("resnet101", "there is no backbone 'resnet101'"),
        ("torchvision:vit_b_16", "is no chain of blocks"),
        ("torchvision:inception_v3", "is no chain of blocks"),
        ("timm:resnet1", "timm has no network"),
    ],
)
def test_what_cannot_be_a_backbone(name, said):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(ReidError, match=said):
        build_backbone(name, SIZE)


def test_a_size_that_a_network_does_not_take():
    pytest.importorskip("timm")
    with pytest.raises(ReidError, match="takes no images of 60 x 30"):
        build_backbone("timm:test_vit", (60, 30))


@pytest.mark.parametrize("name", ["resnet50", "torchvision:resnet50", "timm:resnet50"])
@pytest.mark.parametrize("stride, share", [(2, 1.0), (1, 1.5)])
def test_a_resnet_50_is_described_right(name, stride, share):
    """23.5 M parameters without its classifier, and 4.09 G multiply-adds at 224 x 224; the last
    stage at stride 1 costs more.
    """
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        trunk, widths = build_backbone(name, (256, 128), last_stride=stride)
        table = describe(ReidNetwork(trunk, widths, 751))
    heads = table.loc[["global neck", "part branch"]].sum()
    trunk = table.loc["total"] - heads
    assert trunk["parameters"] == 23_508_032
    known = 4.09e9 * 256 * 128 / 224**2
    if stride == 2:
        assert trunk["multiply_adds"] == pytest.approx(known, rel=0.01)
    else:
        assert trunk["multiply_adds"] > 1.2 * known
    stages = [row for row in table.index if "layer" in row or "stages" in row]
    assert len(stages) == 4
    assert table.drop(["total", "training only"]).sum().equals(table.loc["total"])


def test_the_old_function_gives_torchvisions_own_stride():
    assert resnet("resnet18", 3).trunk(IMAGES).final.shape[2:] == (2, 1)


def test_a_function_of_ones_own_is_run_only_if_its_user_named_it(tmp_path, monkeypatch):
    (tmp_path / "own_trunk.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Conv2d(3, 8, 8, stride=8)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ReidError, match="--import own_trunk"):
        build_backbone("own_trunk:make", SIZE)
    functions.trust("own_trunk")
    trunk, widths = build_backbone("own_trunk:make", SIZE)
    assert widths == (8, 8)
    np.testing.assert_array_equal(trunk(IMAGES).final.shape, (4, 8, 8, 4))
    sys.modules.pop("own_trunk")
