"""The alignment loss against the same through the N x N x M x M tensor, each in a process of its
own.
"""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor, nn

from benchmarks._rows import Row, peak, row, seconds
from msinet_core.models import alignment as module
from msinet_core.models.alignment import LearnedMap, alignment_loss


def whole_tensor_map(feature_map: Tensor) -> Tensor:
    """U as METHOD writes it, through all N x N x M x M products."""
    rows = feature_map.flatten(2)  # N x C x M
    return torch.einsum("gcn,pcm->gpnm", rows, rows).amax(dim=2)


def alignment_once(form: str) -> None:
    """Prints seconds and GB of a forward and backward pass at batch 64 with maps of 16 x 16."""
    if form == "whole":
        module.pairwise_map = whole_tensor_map  # type: ignore[assignment]
    torch.manual_seed(0)
    features = (
        torch.randn(64, 512, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    )
    learned, labels = LearnedMap(512), torch.arange(16).repeat_interleave(4)

    def work(features: Tensor, learned: nn.Module, labels: Tensor) -> None:
        features.grad = None  # as a step of training begins
        alignment_loss(features, learned(features), labels, "pos_neg").backward()

    # The libraries' own memory is not the alignment's.
    work(torch.randn(4, 8, 2, 2, requires_grad=True), LearnedMap(8), torch.tensor([0, 0, 1, 1]))
    before = peak()

    taken = min(seconds(lambda: work(features, learned, labels)) for _ in range(3))
    print(taken, peak() - before)


def alignment() -> list[Row]:
    """Forward and backward of the alignment loss, each form in a process of its own."""
    found = {}
    for form in ("whole", "blocked"):
        command = [sys.executable, "-m", "benchmarks._alignment", form]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[form] = [float(word) for word in done.stdout.split()[-2:]]
    whole = 64 * 64 * 256 * 256 * 4 / 1e9
    return [
        row("alignment, N x N x M x M tensor: memory", found["whole"][1], "GB"),
        row("alignment, ours: memory", found["blocked"][1], "GB"),
        row(
            "alignment, ours: memory / that one tensor",
            found["blocked"][1] / whole,
            "times",
            "<= 0.125",
        ),
        row("alignment, tensor: time", found["whole"][0], "s"),
        row(
            "alignment, ours / tensor: time",
            found["blocked"][0] / found["whole"][0],
            "times",
            "<= 1",
        ),
    ]


if __name__ == "__main__":
    alignment_once(sys.argv[1])
