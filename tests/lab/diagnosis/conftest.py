"""A tiny supernet with life in it, and a scorer over random images."""

import pandas as pd
import pytest
import torch

from msinet_core.models import Supernet
from msinet_lab.diagnosis import MixScorer

CHANNELS = (16, 64, 64, 64)


@pytest.fixture
def supernet():
    """Random gammas, alphas and norms, so that every operation and every statistic matters."""
    torch.manual_seed(0)
    net = Supernet(CHANNELS)
    with torch.no_grad():
        net.alphas.normal_()
        for name, value in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("gamma"):
                value.fill_(0.2)
            if name.endswith("running_mean"):
                value.normal_(std=0.1)
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return net.double().eval()  # so that two ways of computing agree closely


@pytest.fixture
def scorer(supernet):
    """8 identities, 2 cameras: 16 queries and 16 gallery images; 2 calibration batches."""
    torch.manual_seed(1)
    centres = torch.randn(8, 3, 16, 16)
    identity = [number % 8 for number in range(32)]
    images = torch.stack([centres[i] + 1.2 * torch.randn(3, 16, 16) for i in identity]).double()
    table = pd.DataFrame(
        {
            "path": [f"{n}.png" for n in range(32)],
            "identity": identity,
            "camera": [n // 8 % 2 for n in range(32)],
            "split": ["query"] * 16 + ["gallery"] * 16,
        }
    )
    calibration = [torch.randn(8, 3, 16, 16).double() for _ in range(2)]
    return MixScorer(supernet, calibration, list(images.split(20)), table)
