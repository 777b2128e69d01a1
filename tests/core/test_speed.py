"""What makes networks fast changes nothing of what they compute; GPUs have `test_gpu.py`."""

import copy
import warnings

import numpy as np
import pytest
import torch
from common import same_weights
from torch import nn

from msinet_core import PAPER_GENOTYPE
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.models import MSINet, Supernet
from msinet_core.models.blocks import Cell, ConvNorm, Light3x3
from msinet_core.models.interactions import make_interaction
from msinet_core.models.networks import Neck
from msinet_core.replay import Replayed
from msinet_core.search import search
from msinet_core.speed import (
    accelerate,
    channels_last,
    compile_network,
    fold_for_inference,
    make_sgd,
    tf32,
)
from msinet_core.training import train

CHANNELS = (16, 32, 48, 64)


@pytest.fixture
def cell():
    torch.manual_seed(0)
    return Cell(
        8, 16, 4, (make_interaction("cross_attention", 4), make_interaction("channel_gate", 4))
    ).train()


def test_a_compiled_network_computes_the_same(cell):
    eager, images = copy.deepcopy(cell), torch.randn(4, 8, 6, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compile_network(cell, images, backend="aot_eager")
    assert cell._compiled_call_impl is not None
    torch.testing.assert_close(cell(images), eager(images), rtol=1e-4, atol=1e-4)
    assert list(cell.state_dict()) == list(eager.state_dict())  # checkpoints stay what they are
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(
            cell.state_dict()[name], value, rtol=1e-4, atol=1e-4
        )  # one pass, not two


def test_where_it_cannot_work_there_is_one_warning_and_an_eager_network(cell):
    before = {name: value.clone() for name, value in cell.state_dict().items()}

    def broken(graph, inputs):
        raise RuntimeError("no compiler was found\nand more")

    with pytest.warns(UserWarning, match="runs uncompiled") as caught:
        assert not compile_network(cell, torch.randn(4, 8, 6, 6), backend=broken)
    assert len(caught) == 1
    assert all(torch.equal(before[name], value) for name, value in cell.state_dict().items())
    assert cell(torch.randn(4, 8, 6, 6)).shape == (4, 16, 6, 6)


def test_on_a_cpu_every_call_is_one_of_the_function():
    calls = []
    replayed = Replayed(lambda x: calls.append(x) or x + 1)
    for number in range(6):
        assert replayed(torch.tensor([number])).item() == number + 1
    assert len(calls) == 6


@pytest.mark.parametrize(
    "kind, run, changes",
    [
        (TrainConfig, train, {}),
        (TrainConfig, train, {"accumulate": 2}),
        (SearchConfig, search, {}),
        (SearchConfig, search, {"accumulate": 2}),
    ],
)
def test_asking_for_it_changes_no_bit_on_a_cpu(
    tiny_settings, tmp_path, monkeypatch, kind, run, changes
):
    asked = []
    monkeypatch.setattr("msinet_core.speed.compile_network", lambda *found: asked.append(found))
    ends = [
        run(
            kind(**{**tiny_settings, "compile": compiled, **changes}),
            tmp_path / str(compiled),
            progress=False,
        )
        for compiled in (False, True)
    ]
    assert len(asked) == 1
    assert same_weights(*ends)


def everything(model, images):
    """Outputs, gradients and buffers of one training pass."""
    output = model(images)
    outputs = [output] if isinstance(output, torch.Tensor) else [x for x in output if x is not None]
    torch.manual_seed(1)
    sum((part * torch.randn(part.shape, dtype=torch.float64)).sum() for part in outputs).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return outputs, gradients, dict(model.named_buffers())


@pytest.mark.parametrize(
    "make",
    [lambda: MSINet(PAPER_GENOTYPE, 5, CHANNELS, alignment=True), lambda: Supernet(CHANNELS)],
    ids=["msinet", "supernet"],
)
def test_channels_last_is_contiguous_in_float64(make):
    torch.manual_seed(0)
    model, images = make().double().train(), torch.randn(4, 3, 64, 32, dtype=torch.float64)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or name == "alphas":  # where they start, much would be 0
            nn.init.normal_(parameter)
    fast = accelerate(copy.deepcopy(model), torch.device("cpu"), TrainConfig())
    assert fast.trunk.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    maps = []
    fast.trunk.cells[4].register_forward_hook(lambda *found: maps.append(found[-1]))
    outputs, gradients, buffers = everything(model, images)
    found = everything(fast, images)
    assert maps[0].is_contiguous(memory_format=torch.channels_last)  # and so they stay
    torch.testing.assert_close(found[0], outputs, rtol=1e-9, atol=1e-9)
    largest = max(float(gradient.norm()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert (found[1][name] - gradient).abs().max() < 1e-9 * largest, name
    for name, value in buffers.items():
        torch.testing.assert_close(found[2][name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_the_optimiser_moves_what_has_a_gradient():
    model = MSINet(PAPER_GENOTYPE, 5, CHANNELS)
    optimizer = make_sgd(model.parameters(), TrainConfig())
    moved = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    left = [name for name, parameter in model.named_parameters() if id(parameter) not in moved]
    assert left == ["neck.norm.bias", "part_neck.norm.bias"]


@pytest.mark.parametrize(
    ("precision", "device", "inside"),
    [
        ("tf32", "cuda", True),
        ("tf32", "cpu", False),
        ("fp32", "cuda", False),
        ("bf16", "cuda", False),
    ],
)
def test_rounded_products_are_for_gpus_and_for_as_long_as_asked(precision, device, inside):
    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    with tf32(TrainConfig(precision=precision), torch.device(device)):
        # of matrices, and of convolutions
        assert state() == ("high" if inside else "highest", inside)
        with tf32():
            assert state() == ("highest", False)
    assert state() == before


def unlike_the_start(module):
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3)
            norm.running_var.uniform_(0, 2e-5)  # so that epsilon counts
            nn.init.uniform_(norm.weight, 0.3, 2)
            nn.init.normal_(norm.bias, 0, 0.3)
    return module.eval()


@pytest.mark.parametrize("block", [ConvNorm(6, 6, relu=False), Light3x3(6), Neck(6)], ids=str)
def test_a_folded_block_computes_the_same(block):
    torch.manual_seed(0)
    model = unlike_the_start(MSINet(PAPER_GENOTYPE, 5, CHANNELS))
    model.extra = unlike_the_start(block)
    folded = fold_for_inference(model).network
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    images = torch.randn(4, 6) if isinstance(block, Neck) else torch.randn(4, 6, 5, 3)
    with torch.no_grad():
        torch.testing.assert_close(folded.extra(images), model.extra(images), rtol=1e-4, atol=1e-4)


def test_a_folded_network_is_a_copy():
    torch.manual_seed(0)
    model, images = MSINet(PAPER_GENOTYPE, 5, CHANNELS).eval(), torch.randn(3, 3, 64, 32)
    folded = fold_for_inference(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model(images)
        model.part_conv.weight.zero_()
    np.testing.assert_allclose(folded(images), expected, rtol=1e-4, atol=1e-5)
    model.load_state_dict(before)
    supernet = channels_last(Supernet(CHANNELS))
    assert fold_for_inference(supernet) is supernet  # it has no form of its own
