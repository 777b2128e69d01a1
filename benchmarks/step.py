"""Training and search steps by memory layout and precision on a CPU; the alignment's memory.

All forms of a step run in one process, turn by turn, on the same generated batch (128 x 64,
32 images); the median of the ratios of neighbouring turns counts. The first form is the plain one:
maps as PyTorch lays them out (contiguous), float32.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks._alignment import alignment
from benchmarks._rows import Row, row, seconds
from msinet_core import PAPER_GENOTYPE
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.models import MSINet, Supernet
from msinet_core.search import ContrastiveMemory, bilevel_step
from msinet_core.search.twin_search import make_adam
from msinet_core.speed import channels_last, keep_freed_memory, make_sgd
from msinet_core.training import training_loss

IDENTITIES, EACH, HEIGHT, WIDTH = 8, 4, 128, 64
Work = Callable[[], float]  # one step; gives the loss


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Pictures that differ from identity to identity, so that a loss has something to learn."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(IDENTITIES, 3, HEIGHT // 8, WIDTH // 8, generator=generator)
    centres = nn.functional.interpolate(centres, scale_factor=8).repeat_interleave(EACH, 0)
    images = centres + torch.randn(IDENTITIES * EACH, 3, HEIGHT, WIDTH, generator=generator)
    return images.to(dtype), torch.arange(IDENTITIES).repeat_interleave(EACH)


def training_step(model: nn.Module, precision: str = "fp32") -> Work:
    """A step of training as `msinet train` makes it; it moves the model."""
    model.train()
    images, labels = batch()
    optimizer = make_sgd(model.parameters(), TrainConfig(learning_rate=6.5e-4))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = training_loss(model(images), labels).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def search_step(supernet: Supernet, simple: bool = False) -> Work:
    """A bilevel step as `msinet search` makes it. `simple`: as a straightforward program does,
    which differentiates every parameter on both sides and uses what it needs.
    """
    supernet.train()
    dtype = supernet.alphas.dtype
    images, labels = batch(dtype)
    memories = [ContrastiveMemory(IDENTITIES, supernet.feature_length) for _ in range(2)]
    for memory in memories:
        memory.rows = memory.rows.to(dtype)
    pair = (
        make_sgd(supernet.weight_parameters(), SearchConfig()),
        make_adam(supernet, SearchConfig()),
    )

    def step() -> float:
        report = bilevel_step(supernet, *pair, *memories, (images, labels), (images, labels))
        return report.train_loss

    def simple_step() -> float:
        loss = torch.zeros(())
        for optimizer, memory in zip(reversed(pair), reversed(memories), strict=True):
            supernet.zero_grad()
            features = supernet(images)
            loss = memory.loss(features, labels)
            loss.backward()
            optimizer.step()
            memory.update(features, labels)
        return float(loss.detach())

    return simple_step if simple else step


def compared(what: str, forms: dict[str, Work], rounds: int, limits: dict[str, str]) -> list[Row]:
    """Images a second of each form, turn by turn, and ratios to the first one's."""
    images = IDENTITIES * EACH
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(rounds + 1):
        for name, work in forms.items():
            taken = seconds(work)
            if turn:  # the first is not like the others
                times[name].append(taken)
    rows = [
        row(f"{what}, {name}", images / statistics.median(t), "images/s")
        for name, t in times.items()
    ]
    first, *others = times
    for name in others:
        ratios = [one / two for one, two in zip(times[first], times[name], strict=True)]
        limit = limits.get(name, "")
        rows.append(row(f"{what}, {name} / {first}", statistics.median(ratios), "times", limit))
    return rows


def apart(model: MSINet) -> float:
    """How far both layouts' losses are apart along 20 steps, at most, from the same weights.

    Left to themselves, even one layout on one thread and on two come apart within a few steps: the
    gradients of a deep network with batch norm are exact to a few percent in fp32, not better.
    """
    step, (images, labels) = training_step(model), batch()
    largest = 0.0
    for _ in range(20):
        other = channels_last(copy.deepcopy(model))
        with torch.no_grad():
            loss = float(training_loss(other(images), labels).total)
        expected = step()
        largest = max(largest, abs(loss - expected) / expected)
    return largest


def train() -> list[Row]:
    """The training step with the paper's genotype."""
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 64)
    forms = {
        "contiguous": training_step(copy.deepcopy(model)),
        "channels-last": training_step(channels_last(copy.deepcopy(model))),
        "channels-last, bf16": training_step(channels_last(copy.deepcopy(model)), "bf16"),
    }
    native = torch.cpu._is_avx512_bf16_supported()
    limits = {"channels-last": ">= 1.3", "channels-last, bf16": ">= 2" if native else ""}
    difference = apart(model)
    return [
        *compared("training step", forms, 20, limits),
        row(
            "training step, channels-last: losses along 20 steps apart, from the same weights",
            difference,
            "relative",
            "<= 0.001",
        ),
    ]


def search() -> list[Row]:
    """The bilevel step of the supernet."""
    torch.manual_seed(0)
    supernet = Supernet()
    forms = {
        "contiguous": search_step(copy.deepcopy(supernet)),
        "channels-last": search_step(channels_last(copy.deepcopy(supernet))),
        "contiguous, all differentiated": search_step(copy.deepcopy(supernet), simple=True),
    }
    small = Supernet((16, 32, 48, 64)).double()
    exact = [
        search_step(copy.deepcopy(small), simple=True),
        search_step(channels_last(copy.deepcopy(small))),
    ]
    difference = max(abs(exact[0]() - exact[1]()) for _ in range(3))
    return [
        *compared("bilevel step", forms, 12, {"channels-last": ">= 1.35"}),
        row("bilevel step, float64: losses of 3 steps apart, at most", difference, "", "<= 1e-9"),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "train": train,
    "search": search,
    "alignment": alignment,
}


def run() -> pd.DataFrame:
    """All parts; about two minutes on two cores."""
    keep_freed_memory()
    return pd.DataFrame([found for part in PARTS.values() for found in part()])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    part = parser.parse_args().part
    keep_freed_memory()
    print(pd.DataFrame(PARTS[part]()).to_string(index=False))


if __name__ == "__main__":
    main()
