"""Embedding: the fast form computes the same function, and the model is left as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from msinet_core import PAPER_GENOTYPE, Genotype
from msinet_core.data import open_images
from msinet_core.errors import ReidError
from msinet_core.models import MSINet, Supernet
from msinet_core.retrieval import Embedder
from msinet_core.speed import fold_for_inference

CHANNELS = (16, 64, 80, 96)


def network(genotype=PAPER_GENOTYPE, channels=CHANNELS, seed=0):
    """A network whose batch norms and gammas are far from where they start."""
    torch.manual_seed(seed)
    model = MSINet(genotype, 5, channels).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            nn.init.uniform_(module.weight, 0.3, 2)
            nn.init.normal_(module.bias, 0, 0.3)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.normal_(parameter)
    return model


def plain(model, images, after_necks=False):
    with torch.no_grad():
        return model.embed(images, after_necks=after_necks).numpy()


def close(found, expected, tolerance=1e-4):
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    "genotype",
    [
        *map(Genotype.uniform, ("none", "exchange", "channel_gate", "cross_attention")),
        PAPER_GENOTYPE,
    ],
)
@pytest.mark.parametrize("channels", [CHANNELS, (16, 64, 64, 64)])
def test_fast_form_computes_the_same(genotype, channels):
    model = network(genotype, channels)
    images = torch.randn(3, 3, 64, 48)
    for after_necks in (False, True):
        with torch.no_grad():
            close(
                fold_for_inference(model).embed(images, after_necks).numpy(),
                plain(model, images, after_necks),
            )


@pytest.mark.parametrize("size", [(32, 32), (50, 70), (33, 95), (64, 32), (96, 40)])
def test_any_size_and_any_batch(size, monkeypatch):
    model = network()
    monkeypatch.setattr("msinet_core.speed.CACHED_PIXELS", 3 * size[0] * size[1])  # several parts
    for count in (1, 3, 8):
        images = torch.randn(count, 3, *size)
        close(fold_for_inference(model)(images).numpy(), plain(model, images))
        rows_last = images.contiguous(memory_format=torch.channels_last)
        close(fold_for_inference(model)(rows_last).numpy(), plain(model, images))


@pytest.mark.parametrize("case", ["msinet_plain", "msinet_mixed"])
def test_fast_form_of_the_golden_networks(golden, case):
    from msinet_core.models.reference import load_msinet

    expected = golden(case)
    model = load_msinet(expected.state, expected.architecture)
    close(
        Embedder(model).embed([expected.images]),
        Embedder(model, fold=False).embed([expected.images]),
    )


def test_bfloat16_points_the_same_way():
    model = network()
    images = torch.randn(6, 3, 64, 32)
    found, expected = Embedder(model, precision="bfloat16").embed([images]), plain(model, images)
    assert found.dtype == np.float32
    cosine = (
        (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() > 0.999
    assert np.abs(found - expected).max() > 1e-5  # it really was coarser


def test_flip_averages_both_views_and_necks_are_an_option():
    model = network()
    batches = [torch.randn(4, 3, 32, 32), torch.randn(1, 3, 32, 32)]
    images = torch.cat(batches)
    close(Embedder(model).embed(batches), plain(model, images))
    both = (plain(model, images) + plain(model, images.flip(3))) / 2
    close(Embedder(model, flip=True).embed(batches), both)
    close(Embedder(model, after_necks=True).embed(batches), plain(model, images, after_necks=True))
    close(
        Embedder(model, after_necks=True, fold=False).embed(batches),
        plain(model, images, after_necks=True),
    )


def test_the_model_is_left_as_it_was():
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    Embedder(model).embed([torch.randn(2, 3, 32, 32)])
    Embedder(model, fold=False).embed([torch.randn(2, 3, 32, 32)])
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(RuntimeError):
        Embedder(model).embed([torch.randn(2, 4, 32, 32)])
    assert model.training


def test_readers_come_in_order(tiny_root, tiny_dataset):
    model = network()
    reader = open_images(tiny_dataset.table, tiny_root, 32, 32)
    whole = Embedder(model).embed(reader)
    assert whole.shape == (128, model.feature_length)
    np.testing.assert_allclose(
        Embedder(model, batch_size=5, workers=2).embed(reader), whole, atol=1e-5
    )


class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


def test_any_module_will_do():
    images = torch.randn(5, 3, 32, 32)
    np.testing.assert_allclose(
        Embedder(Colours()).embed(images.split(2)), images.mean((2, 3)), atol=1e-6
    )
    supernet = Supernet((16, 64, 64, 64)).eval()
    with torch.no_grad():
        np.testing.assert_allclose(Embedder(supernet).embed([images]), supernet(images), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after_necks": True}, "Colours has no necks"),
        ({"precision": "bfloat16"}, "bfloat16 is offered for networks with ReID heads only"),
        ({"precision": "half"}, "precision is float32 or bfloat16"),
    ],
)
def test_what_a_model_cannot_do(options, message):
    with pytest.raises(ReidError, match=message):
        Embedder(Colours(), **options).embed([torch.randn(1, 3, 32, 32)])


def test_no_images():
    with pytest.raises(ReidError, match="no images to embed"):
        Embedder(Colours()).embed([])
