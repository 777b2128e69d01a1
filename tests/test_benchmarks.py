"""What the benchmarks can be held to without measuring anything: that they run, and say what they
lack.
"""

import math

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks._rows import row, verdict
from benchmarks.soak import MOST_MB_PER_MINUTE, steady_slope

TINY = gpu.Size(
    height=32, width=32, batches=(8,), rounds=1, channels=(16, 16, 16, 16), compiled=False
)


def test_the_gpu_path_runs_on_a_cpu():
    rows = {line["name"]: line for line in gpu.measure(torch.device("cpu"), TINY)}
    assert all(math.isfinite(line["figure"]) and line["figure"] > 0 for line in rows.values())
    for words in (
        "train, 32 x 32, batch 8, bf16 / plain",
        "search, 32 x 32, batch 8, fp32",
        "input, 32 x 32",
    ):
        assert any(name.startswith(words) for name in rows), words


def test_without_a_gpu_the_benchmark_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    table = gpu.run()
    assert list(table["name"]) == ["no GPU here: nothing measured"]
    assert table["ok"].isna().all()


def test_bytes_moved_are_counted():
    one, two = torch.ones(10, 10), torch.ones(10, 10)
    with gpu.CountBytes() as counter:
        (one + two).view(100)
    assert counter.total == 3 * 400


@pytest.mark.parametrize(
    ("figure", "limit", "kept"),
    [
        (1.4, "<= 1.5", True),
        (1.6, "<= 1.5", False),
        (1.6, ">= 1.5", True),
        (1.4, ">= 1.5", False),
        (3, "", None),
    ],
)
def test_limits(figure, limit, kept):
    assert verdict(figure, limit) is kept
    assert row("x", figure, "times", limit)["ok"] is kept


def test_a_leak_is_told_from_a_jump():
    minutes = np.arange(0, 10, 1 / 12)
    noise = np.random.default_rng(0).normal(0, 0.5, len(minutes))
    jump = np.where(minutes < 1.5, 950, 964) - np.where((minutes > 6) & (minutes < 6.5), 12, 0)
    assert abs(steady_slope(minutes, jump + noise)) < 0.3
    assert steady_slope(minutes, jump + noise + 1.5 * minutes) > MOST_MB_PER_MINUTE
