"""Compiling a network, and going on without. On one cell: compiling a whole network takes a minute."""

import copy
import warnings

import pytest
import torch

from msinet_core.models.blocks import Cell
from msinet_core.models.compiling import compile_network
from msinet_core.models.interactions import make_interaction


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
