"""Gradients that lie otherwise in memory than their weights."""

import pytest
import torch
from torch import nn

from msinet_core.search.step import _hand_over


@pytest.mark.parametrize("fused", [True, False])
def test_a_fused_optimiser_gets_them_in_the_weights_layout(fused):
    weight = nn.Parameter(torch.zeros(12, 4))
    gradient = torch.arange(48.0).view(4, 12).t()  # by columns
    _hand_over([weight], [gradient])
    torch.optim.SGD([weight], 1.0, fused=fused).step()
    assert torch.equal(weight, -gradient)
