"""The four interactions, their mixture and the network, against loops and stated facts."""

import pytest
import torch

from msinet_core import OPERATIONS, PAPER_GENOTYPE, Genotype, ReidError
from msinet_core.models import MSINet, Supernet, make_interaction
from msinet_core.models.describe import describe
from msinet_core.models.supernet import MixedSlot

CHANNELS = (16, 64, 64, 64)


@pytest.fixture
def branches():
    torch.manual_seed(0)
    return torch.randn(3, 32, 5, 4), torch.randn(3, 32, 5, 4)


def randomised(name, channels=32):
    module = make_interaction(name, channels)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_none_and_exchange(branches):
    a, b = branches
    assert make_interaction("none", 32)(a, b) == (a, b)
    assert make_interaction("exchange", 32)(a, b) == (b, a)


def test_channel_gate_is_one_gate_for_each_branch_by_its_own_content(branches):
    module = randomised("channel_gate")
    squeeze, excite = module.squeeze.weight[:, :, 0, 0], module.excite.weight[:, :, 0, 0]
    assert squeeze.shape == (2, 32)
    for branch, found in zip(branches, module(*branches), strict=True):
        for image, out in zip(branch, found, strict=True):
            pooled = torch.stack([channel.mean() for channel in image])
            hidden = torch.relu(squeeze @ pooled + module.squeeze.bias)
            gate = 1 / (1 + torch.exp(-(excite @ hidden + module.excite.bias)))
            torch.testing.assert_close(out, image * gate[:, None, None])


def test_cross_attention_prefers_the_least_similar_channel(branches):
    module = randomised("cross_attention")
    a, b = branches
    for own, other, found in ((a, b, module(a, b)[0]), (b, a, module(a, b)[1])):
        for image, partner, out in zip(own, other, found, strict=True):
            x, y = image.flatten(1), partner.flatten(1)
            energy = x @ y.T
            attention = torch.softmax(energy.amax(dim=1, keepdim=True) - energy, dim=1)
            expected = module.gamma * (attention @ x) + x
            torch.testing.assert_close(out.flatten(1), expected, rtol=1e-4, atol=1e-4)


def test_cross_attention_starts_as_none(branches):
    a, b = branches
    found = make_interaction("cross_attention", 32)(a, b)
    assert torch.equal(found[0], a)
    assert torch.equal(found[1], b)


def test_mixed_slot_is_the_weighted_sum(branches):
    slot = MixedSlot(32)
    for parameter in slot.parameters():
        torch.nn.init.normal_(parameter)
    mix = torch.tensor([0.1, 0.2, 0.3, 0.4])
    outputs = [operation(*branches) for operation in slot.operations]
    for side, found in enumerate(slot(*branches, mix)):
        expected = sum(w * out[side] for w, out in zip(mix, outputs, strict=True))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_exchange_in_a_second_slot_is_none_with_swapped_outputs():
    torch.manual_seed(0)
    slots = ["none"] * 12
    slots[5] = "exchange"
    model = MSINet(Genotype(tuple(slots)), 3, CHANNELS).eval()
    canonical = MSINet(Genotype(tuple(slots)).canonical(), 3, CHANNELS).eval()
    state = model.state_dict()
    swapped = {
        name.replace("cells.2.expand_a", "cells.2.expand_?")
        .replace("cells.2.expand_b", "cells.2.expand_a")
        .replace("cells.2.expand_?", "cells.2.expand_b"): value
        for name, value in state.items()
    }
    canonical.load_state_dict(swapped)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), canonical(images), rtol=1e-4, atol=1e-5)


def test_sizes_are_the_published_ones():
    table = describe(MSINet(PAPER_GENOTYPE, 751))
    assert table.loc["total", "parameters"] == 2_328_035  # 2.33 M
    assert table.loc["total", "multiply_adds"] == pytest.approx(1.13e9, rel=0.01)
    assert table.loc["training only", "parameters"] == (512 + 1 + 256 + 1) * 751
    heads = ["stem", "stage 1", "down-sampler 1", "stage 2", "down-sampler 2", "stage 3"]
    assert list(table.index) == [*heads, "global neck", "part branch", "total", "training only"]
    table = describe(Supernet(CHANNELS), 64, 32)
    assert list(table.index) == [*heads, "total", "training only"]
    assert table.loc["training only", "parameters"] == 12 * 4


@pytest.mark.parametrize("height, width", [(64, 32), (96, 64), (70, 50), (33, 32)])
def test_shapes(height, width):
    model = MSINet(PAPER_GENOTYPE, 7, CHANNELS)
    images = torch.randn(2, 3, height, width)
    output = model.train()(images)
    assert output.global_feature.shape == (2, 64)
    assert output.part_feature.shape == (2, 256)
    assert output.global_logits.shape == output.part_logits.shape == (2, 7)
    with torch.no_grad():
        assert model.eval()(images).shape == (2, 64 + 256)
    assert Supernet(CHANNELS)(images).shape == (2, 64)


def test_part_feature_is_upper_then_lower_half():
    model = MSINet(PAPER_GENOTYPE, 7, CHANNELS)
    part_map = torch.randn(2, 64, 4, 3)
    features = model.part_conv(part_map)
    expected = torch.cat(
        (features[:, :, :2].mean(dim=(2, 3)), features[:, :, 2:].mean(dim=(2, 3))), dim=1
    )
    torch.testing.assert_close(model.part_feature(part_map), expected)


def test_cell_widths_of_the_supernet():
    for width, expected in (
        ("derived", [64, 64, 96, 96, 128, 128]),
        ("reference", [16, 64, 64, 96, 96, 128]),
    ):
        supernet = Supernet(cell_width=width)
        assert [cell.reduce_a.conv.out_channels for cell in supernet.trunk.cells] == expected
    with pytest.raises(ValueError, match="cell_width"):
        Supernet(cell_width="narrow")


def test_unknown_operation():
    with pytest.raises(ReidError, match="Did you mean 'channel_gate'"):
        make_interaction("chanel_gate", 16)
    assert len(OPERATIONS) == 4
