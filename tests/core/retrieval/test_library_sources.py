"""`load_model` of networks of timm and torchvision, and of functions of one's own."""

import sys

import numpy as np
import pytest
import torch
import torchvision

from msinet_core import ReidError, functions, load_model
from msinet_core.models.library import library_network
from msinet_core.retrieval import Embedder

IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 32).view(2, 3, 64, 32)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of somebody's own in the current folder, forgotten again."""
    (tmp_path / "own_nets.py").write_text(
        """
import torch
from torch import nn
from msinet_core.retrieval import Embedder

made = []

def module():
    made.append("module")
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def plain():
    return lambda images: images.mean(dim=(2, 3))

def embedder():
    return Embedder(module(), 64, 32, mean=(0, 0, 0), std=(1, 1, 1))

def nothing():
    return 3

number = 3
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(functions, "_TRUSTED", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("own_nets", None)


@pytest.mark.usefixtures("own")
def test_a_network_of_timm_with_a_file_of_weights():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    whole = timm.create_model("test_resnet").eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in whole.state_dict().items()}}, "x.pth")
    with pytest.warns(UserWarning, match="random weights"):
        load_model("timm:test_resnet")
    found = load_model("timm:test_resnet", weights="x.pth", height=64, width=32)
    whole.reset_classifier(0)
    with torch.no_grad():
        np.testing.assert_allclose(found.embed([IMAGES]), whole(IMAGES), atol=1e-6)
    assert (found.height, found.width) == (64, 32)
    with pytest.raises(ReidError, match=r"none of the .* fits|another network"):
        load_model("timm:test_vit", weights="x.pth")


@pytest.mark.filterwarnings("ignore:.*random weights")
@pytest.mark.parametrize("name, length", [("resnet18", 512), ("mobilenet_v3_small", 1024)])
def test_a_network_of_torchvision_without_its_classifier(name, length):
    found = load_model(f"torchvision:{name}", height=64, width=32)
    assert found.embed([IMAGES]).shape == (2, length)


def test_how_torchvisions_weights_want_their_pictures(monkeypatch):
    def without_network(name, weights, progress):
        return torchvision.models.resnet18()

    monkeypatch.setattr(torchvision.models, "get_model", without_network)
    for source, pretrained in (("resnet18", True), ("resnet18.IMAGENET1K_V1", None)):
        found = load_model(f"torchvision:{source}", pretrained=pretrained)
        assert (found.height, found.width) == (224, 224)
        assert found.mean == (0.485, 0.456, 0.406)
    _, prepared = library_network("torchvision:swin_t", True)
    assert prepared.interpolation == "bicubic"


def test_how_timms_weights_want_their_pictures(monkeypatch):
    timm = pytest.importorskip("timm")
    create = timm.create_model

    def without_network(name, pretrained, **options):
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", without_network)
    found = load_model("timm:test_vit.r160_in1k")
    config = timm.data.resolve_model_data_config(create("test_vit.r160_in1k"))
    assert (found.height, found.width) == (160, 160)
    assert (found.mean, found.std) == (config["mean"], config["std"])


def test_weights_that_cannot_be_had_name_the_remedy(monkeypatch):
    timm = pytest.importorskip("timm")

    def no_network(*args, **options):
        raise OSError("no route to host\nfurther lines")

    monkeypatch.setattr(timm, "create_model", no_network)
    monkeypatch.setattr(torchvision.models, "get_model", no_network)
    for source in ("timm:resnet18.a1_in1k", "torchvision:resnet18.IMAGENET1K_V1"):
        with pytest.raises(
            ReidError, match=r"could not be had \(no route to host\).*--weights FILE"
        ):
            load_model(source)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ReidError, match=r"pip install 'msinet-core\[models\]'"):
        load_model("timm:resnet18")


@pytest.mark.parametrize(
    "source, said",
    [
        ("timm:resnet_18", "timm has no network 'resnet_18'; did you mean .*resnet18"),
        ("timm:resnet18.in99", "timm has no network 'resnet18.in99'"),
        ("timm:hf-hub:someone/model", "names no network"),
        ("timm:", "names no network"),
        ("torchvision:resnet19", "torchvision has no network 'resnet19'; did you mean resnet"),
        ("torchvision:resnet18.V9", r"did you mean|ask torchvision"),
    ],
)
def test_an_unknown_name(source, said):
    if source.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(ReidError, match=said):
        load_model(source)


def test_a_function_of_ones_own(own):
    found = load_model("own_nets:module", height=64, width=32)
    assert found.embed([IMAGES]).shape == (2, 8)
    assert not found.model.training
    plain = load_model("own_nets:plain")
    np.testing.assert_allclose(plain.embed([IMAGES]), IMAGES.mean((2, 3)), atol=1e-6)
    own_preparation = load_model("own_nets:embedder", flip=True)
    assert isinstance(own_preparation, Embedder)
    assert (own_preparation.height, own_preparation.std, own_preparation.flip) == (
        64,
        (1, 1, 1),
        True,
    )
    torch.save({k: v + 1 for k, v in found.model.state_dict().items()}, own / "x.pth")
    other = load_model("own_nets:module", weights=own / "x.pth", height=64, width=32)
    np.testing.assert_allclose(
        other.model[0].weight.detach(), found.model[0].weight.detach() + 1, atol=1e-6
    )


@pytest.mark.parametrize(
    "source, said",
    [
        ("own_nets:nothing", "own_nets:nothing gave a int"),
        ("own_nets:number", "has no function 'number'"),
        ("own_nets:absent", "has no function 'absent'"),
        ("not_there:f", "not_there:f: no such module"),
    ],
)
def test_what_is_no_function_of_a_network(own, source, said):
    with pytest.raises(ReidError, match=said):
        load_model(source)


def test_nothing_is_run_because_a_file_names_it(own):
    with pytest.raises(ReidError, match="--import own_nets"):
        functions.call("own_nets:module")
    assert "own_nets" not in sys.modules
    with pytest.raises(ReidError, match="--import os"):
        functions.call("os:getcwd")
    functions.trust("own_nets")
    functions.call("own_nets:module")
    assert sys.modules["own_nets"].made == ["module"]
