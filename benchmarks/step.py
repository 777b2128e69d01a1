"""Training step, search step and alignment, against the plain form of the same computation.

`python -m benchmarks.step PART` measures one part. Both forms run in one process, turn by turn, on
the same generated batch (128 x 64, 32 images); the median of the ratios of neighbouring turns
counts.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._alignment import alignment
from benchmarks._plain import plain
from benchmarks._rows import Row, row, seconds
from benchmarks._stopwatch import KINDS, Stopwatch, Work
from msinet_core import PAPER_GENOTYPE
from msinet_core.config import SearchConfig
from msinet_core.models import MSINet, Supernet
from msinet_core.runs.devices import keep_freed_memory, memory_format
from msinet_core.search.memory import ContrastiveMemory
from msinet_core.search.twin_search import bilevel_step, optimizers
from msinet_core.training.losses import training_loss

IDENTITIES, EACH, HEIGHT, WIDTH = 8, 4, 128, 64


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Pictures that differ from identity to identity, so that a loss has something to learn."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(IDENTITIES, 3, HEIGHT // 8, WIDTH // 8, generator=generator)
    centres = nn.functional.interpolate(centres, scale_factor=8).repeat_interleave(EACH, 0)
    images = centres + torch.randn(IDENTITIES * EACH, 3, HEIGHT, WIDTH, generator=generator)
    return images.to(dtype), torch.arange(IDENTITIES).repeat_interleave(EACH)


def training_step(
    model: nn.Module, half: bool = False, rate: float = 6.5e-4, copied: bool = True
) -> Work:
    """A step of training as `msinet train` makes it; `half` computes in bf16 where that is safe."""
    model = (copy.deepcopy(model) if copied else model).train()
    images, labels = batch()
    ours = next(model.parameters()).is_contiguous(memory_format=torch.channels_last)
    if ours:
        images = images.contiguous(memory_format=torch.channels_last)
    moved = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(moved, rate, momentum=0.9, weight_decay=5e-4, fused=ours or None)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = training_loss(model(images), labels).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def search_step(
    supernet: Supernet, dtype: torch.dtype = torch.float32, simple: bool = False
) -> Work:
    """A bilevel step. `simple` differentiates every parameter on both sides, and uses what it
    needs.
    """
    supernet = copy.deepcopy(supernet).to(dtype).train()
    images, labels = batch(dtype)
    if not simple:
        images = images.contiguous(memory_format=torch.channels_last)
    memories = [ContrastiveMemory(IDENTITIES, supernet.feature_length) for _ in range(2)]
    for memory in memories:
        memory.rows = memory.rows.to(dtype)
    pair = optimizers(supernet, SearchConfig())

    def step() -> float:
        if simple:
            return _simple_bilevel_step(supernet, pair, memories, images, labels)
        return bilevel_step(
            supernet, *pair, *memories, (images, labels), (images, labels)
        ).train_loss

    return step


def _simple_bilevel_step(
    supernet: Any, pair: Any, memories: Any, images: Tensor, labels: Tensor
) -> float:
    """The step as a straightforward program makes it: backward through everything, twice."""
    loss = torch.zeros(())
    for optimizer, memory in zip(reversed(pair), reversed(memories), strict=True):
        for parameter in supernet.parameters():
            parameter.grad = None
        features = supernet(images)
        loss = memory.loss(features, labels)
        loss.backward()
        optimizer.step()
        memory.update(features, labels)
    return float(loss.detach())


def compared(forms: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each form, turn by turn, the first turn left out."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(rounds + 1):
        for name, work in forms.items():
            taken = seconds(work)
            if turn:
                times[name].append(taken)
    return times


def rows_of(
    what: str, times: dict[str, list[float]], limits: dict[str, str], images: int
) -> list[Row]:
    rows = [
        row(f"{what}, {name}", images / statistics.median(t), "images/s")
        for name, t in times.items()
    ]
    for name, limit in limits.items():
        ratios = [one / two for one, two in zip(times["plain"], times[name], strict=True)]
        rows.append(row(f"{what}, {name} / plain", statistics.median(ratios), "times", limit))
    return rows


def farthest(ones: list[float], others: list[float]) -> float:
    """The largest difference of two runs' losses, step by step, as a share of the first run's."""
    return max(abs(one - other) / abs(one) for one, other in zip(ones, others, strict=True))


def on_one_thread(work: Work, steps: int) -> list[float]:
    """Losses of some steps whose sums are taken in another order, as one thread alone takes them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [work() for _ in range(steps)]
    finally:
        torch.set_num_threads(threads)


def apart(model: nn.Module) -> float:
    """How far the two forms' losses are apart along 20 steps, at most, each time from the same
    weights.

    Left to themselves, even the plain form on one thread and on two come apart within a few steps:
    the gradients of a deep network with batch norm are exact to a few percent in fp32, not better.
    """
    one = plain(model).train()
    step = training_step(one, copied=False)
    images, labels = batch()
    largest = 0.0
    for _ in range(20):
        two = memory_format(copy.deepcopy(model)).train()
        two.load_state_dict(one.state_dict())
        ours = training_loss(
            two(images.contiguous(memory_format=torch.channels_last)), labels
        ).total
        theirs = step()
        largest = max(largest, abs(float(ours.detach()) - theirs) / theirs)
    return largest


def train() -> list[Row]:
    """The training step with the paper's genotype."""
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 64)
    ours = memory_format(copy.deepcopy(model))
    forms = {
        "plain": training_step(plain(model)),
        "fp32": training_step(ours),
        "bf16": training_step(ours, half=True),
    }
    losses = {name: [forms[name]() for _ in range(20)] for name in ("plain", "fp32")}
    losses["on one thread"] = on_one_thread(training_step(plain(model)), 20)
    times = compared(forms, 20)
    half = ">= 2.5" if torch.cpu._is_avx512_bf16_supported() else ""
    return [
        *rows_of("training step", times, {"fp32": ">= 1.5", "bf16": half}, IDENTITIES * EACH),
        row(
            "training step, fp32: losses along 20 steps apart, from the same weights",
            apart(model),
            "relative",
            "<= 0.001",
        ),
        row(
            "training step, fp32: losses of 20 steps apart, left to themselves",
            farthest(losses["plain"], losses["fp32"]),
            "relative",
        ),
        row(
            "training step, plain, on one thread and on two: the same",
            farthest(losses["plain"], losses["on one thread"]),
            "relative",
        ),
    ]


def search() -> list[Row]:
    """The bilevel step of the supernet."""
    torch.manual_seed(0)
    supernet = Supernet()
    ours = memory_format(copy.deepcopy(supernet))
    forms = {"plain": search_step(plain(supernet), simple=True), "fp32": search_step(ours)}
    found = rows_of("bilevel step", compared(forms, 12), {"fp32": ">= 1.6"}, 2 * IDENTITIES * EACH)
    small = Supernet((16, 32, 48, 64))
    exact = [
        search_step(plain(small), torch.float64, simple=True),
        search_step(memory_format(small), torch.float64),
    ]
    apart = max(abs(exact[0]() - exact[1]()) for _ in range(3))
    return [
        *found,
        row("bilevel step, float64: losses of 3 steps apart, at most", apart, "", "<= 1e-9"),
    ]


def profile() -> list[Row]:
    """Where our training step's time goes, and how far from the processor's limits its arithmetic
    is.
    """
    model = MSINet(PAPER_GENOTYPE, 64)
    with FlopCounterMode(display=False) as counter:  # which does not see what our loops multiply
        training_step(plain(model))()
    step = training_step(memory_format(model))
    taken = statistics.median([seconds(step) for _ in range(8)][3:])
    watch = Stopwatch()
    whole = sum(watch.step(step) for _ in range(5))
    shares = {kind: watch.times[kind] / whole for kind in KINDS}
    arithmetic = counter.get_total_flops() / 1e9
    wide = torch.randn(32, 256, 32, 16).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 1, 1).contiguous(memory_format=torch.channels_last)
    convolved = min(seconds(lambda: nn.functional.conv2d(wide, kernel)) for _ in range(8))
    alone = 2 * 256 * wide.numel() / convolved / 1e9
    big = torch.randn(1 << 26)
    other = big.clone()  # memory that is there already: new pages cost more than copying
    copied = min(seconds(lambda: other.copy_(big)) for _ in range(5))
    return [
        *(
            row(f"profile of a training step, {kind}", share, "of its time")
            for kind, share in shares.items()
        ),
        row("profile of a training step, the rest", 1 - sum(shares.values()), "of its time"),
        row("profile of a training step, arithmetic", arithmetic / taken, "GFLOP/s"),
        row(
            "profile of a training step, arithmetic in its products",
            5 * arithmetic / watch.times["convolutions and products"],
            "GFLOP/s",
        ),
        row("profile of a training step, a wide convolution alone", alone, "GFLOP/s"),
        row("profile of a training step, memory copied", 2 * 4 * len(big) / copied / 1e9, "GB/s"),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "train": train,
    "search": search,
    "profile": profile,
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
