"""Training and search at full size on a GPU, against the plain form, the input pipeline and the
memory's bandwidth.

Without a GPU it says so and measures nothing; `measure` runs on any device, small sizes on a CPU
included.
"""

from __future__ import annotations

import copy
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch._inductor import metrics
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks._rows import Row, row, seconds
from msinet_core import PAPER_GENOTYPE
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import Augmentation, IdentitySampler, TrainBatches, load_dataset, open_images
from msinet_core.models import MSINet, Supernet
from msinet_core.search import ContrastiveMemory, bilevel_step
from msinet_core.search.step import one_pass
from msinet_core.search.twin_search import make_adam
from msinet_core.speed import Replayed, autocast, channels_last, compile_network, make_sgd, tf32
from msinet_core.training.losses import training_loss
from msinet_lab.synthetic import generate

MSMT17_TRAIN = 32_621  # images; the default twins split gives a search's train side 7 / 12 of them
TRAIN_SHARE = 7 / 12
FASTEST = "bf16, compiled and replayed"


@dataclass(frozen=True)
class Size:
    """What is measured: images of height x width, batches, and how often."""

    height: int = 256
    width: int = 128
    batches: tuple[int, ...] = (64, 256)
    rounds: int = 10
    channels: tuple[int, int, int, int] = (64, 256, 384, 512)
    compiled: bool = True


class CountBytes(TorchDispatchMode):
    """Adds up the bytes that every operation reads and writes: what memory must move if nothing is
    fused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(
                t.numel() * t.element_size()
                for t in tree_leaves((args, kwargs, out))
                if isinstance(t, Tensor)
            )
        return out


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def rate(work: Callable[[], Any], images: int, device: torch.device, rounds: int) -> float:
    """Images a second: the median of single steps, each waited for."""

    def once() -> None:
        work()
        wait(device)

    for _ in range(3):
        once()
    return images / statistics.median(seconds(once) for _ in range(rounds))


@dataclass(frozen=True)
class Form:
    """A network and how it computes."""

    network: nn.Module
    images: Tensor
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    replayed: bool = False  # as a CUDA graph
    moved: int = 0  # bytes a step, where they are known already

    def computing(self) -> ExitStack:
        stack = ExitStack()
        config, device = TrainConfig(precision=self.precision), self.images.device
        stack.enter_context(tf32(config, device))
        stack.enter_context(autocast(config, device))
        return stack


def training_step(form: Form, labels: Tensor) -> Callable[[], None]:
    """A step as `msinet train` makes it."""
    optimizer = make_sgd(form.network.parameters(), TrainConfig(learning_rate=6.5e-4))

    def losses(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        with form.computing():
            parts = training_loss(form.network(images), labels)
        parts.total.backward()
        return parts.values()

    add_gradient: Callable[..., Tensor] = Replayed(losses) if form.replayed else losses

    def step() -> None:
        add_gradient(form.images, labels)
        optimizer.step()

    return step


def search_step(form: Form, labels: Tensor) -> Callable[[], None]:
    """A bilevel step, the same batch on both sides."""
    supernet, batch = cast(Supernet, form.network), (form.images, labels)
    memories = [
        ContrastiveMemory(len(labels.unique()), supernet.feature_length, device=labels.device)
        for _ in range(2)
    ]
    weights = supernet.weight_parameters()
    pair = make_sgd(weights, SearchConfig()), make_adam(supernet, SearchConfig())
    passes: dict[int, Callable[..., Any]] = {
        id(memory): partial(one_pass, supernet, memory, wanted)
        for memory, wanted in zip(memories, (weights, [supernet.alphas]), strict=True)
    }
    if form.replayed:
        pool = torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        passes = {key: Replayed(function, pool=pool) for key, function in passes.items()}

    def one(supernet: Any, memory: Any, wanted: Any, images: Tensor, labels: Tensor) -> Any:
        return passes[id(memory)](images, labels)

    def step() -> None:
        with form.computing():
            bilevel_step(supernet, *pair, *memories, batch, batch, one_pass=one)

    return step


def training_rows(device: torch.device, size: Size, count: int) -> Iterator[Row]:
    """Contiguous ("plain") and channels-last, in float32 and bf16, replayed and compiled, with
    images a second, memory and bandwidth.
    """
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, count // 4, size.channels)
    images = torch.randn(count, 3, size.height, size.width, device=device)
    labels = torch.arange(count // 4, device=device).repeat_interleave(4)
    ours = channels_last(copy.deepcopy(model))
    forms: dict[str, Form] = {
        "plain": Form(model, images),
        "plain, TF32": Form(copy.deepcopy(model), images, "tf32"),
        "fp32": Form(ours, images),
        "tf32": Form(copy.deepcopy(ours), images, "tf32"),
        "bf16": Form(copy.deepcopy(ours), images, "bf16"),
        "bf16, replayed": Form(copy.deepcopy(ours), images, "bf16", replayed=True),
    }
    if size.compiled:
        forms[FASTEST] = Form(copy.deepcopy(ours), images, "bf16", replayed=True)
    rates: dict[str, float] = {}
    for name, form in forms.items():
        form.network.to(device).train()
        if name == FASTEST and (form := compiled(form)) is None:
            continue
        what = f"train, {size.height} x {size.width}, batch {count}, {name}"
        rates[name], found = form_rows(what, form, labels, size.rounds)
        yield from found
        if name != "plain":
            yield row(
                f"{what} / plain",
                rates[name] / rates["plain"],
                "times",
                ">= 3" if name == FASTEST else "",
            )
        form.network.cpu()  # the next form has the memory for itself


def compiled(form: Form) -> Form | None:
    """The same compiled, with the bytes that its kernels read and write as the compiler counts them
    where it is asked to.
    """
    log = logging.getLogger("torch._inductor.compile_fx.__inductor_metrics")
    log.setLevel(logging.INFO)  # it counts for this log alone,
    log.addFilter(lambda record: False)  # which nobody wants to read
    metrics.reset()
    with form.computing(), torch.compiler.config.patch(force_disable_caches=True):
        works = compile_network(form.network, form.images)
    return replace(form, moved=metrics.num_bytes_accessed) if works else None


def form_rows(what: str, form: Form, labels: Tensor, rounds: int) -> tuple[float, list[Row]]:
    """Images a second; and rows of that, of memory and of the bandwidth reached."""
    device, count, step = form.images.device, len(form.images), training_step(form, labels)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    speed = rate(step, count, device, rounds)
    rows = [row(what, speed, "images/s")]
    if device.type == "cuda":
        rows.append(row(f"{what}: peak memory", torch.cuda.max_memory_reserved() / 1e9, "GB"))
    moved = form.moved
    if not moved:
        with CountBytes() as counter:
            training_step(replace(form, replayed=False), labels)()
        moved = counter.total
    rows.append(
        row(
            f"{what}: bytes moved / bandwidth",
            moved * speed / count / 1e9 / bandwidth(device),
            "share",
        )
    )
    return speed, rows


def bandwidth(device: torch.device) -> float:
    """GB a second that a large copy reads and writes."""
    source = torch.empty(1 << (28 if device.type == "cuda" else 24), device=device)
    target = torch.empty_like(source)
    copies = rate(lambda: target.copy_(source), 1, device, 5)
    return 2 * source.numel() * 4 / 1e9 * copies


def search_rows(device: torch.device, size: Size) -> Iterator[Row]:
    """The bilevel step, and what an epoch at MSMT17's size would take at that speed."""
    count = size.batches[0]
    plain = Supernet(size.channels).to(device).train()
    supernet = channels_last(copy.deepcopy(plain))
    images = torch.randn(count, 3, size.height, size.width, device=device)
    labels = torch.arange(count // 4, device=device).repeat_interleave(4)
    forms: dict[str, Form] = {
        "plain": Form(plain, images),
        "fp32": Form(supernet, images),
        "bf16": Form(supernet, images, "bf16"),
        "bf16, replayed": Form(supernet, images, "bf16", replayed=True),
    }
    if size.compiled:
        forms[FASTEST] = Form(copy.deepcopy(supernet), images, "bf16", replayed=True)
    for name, form in forms.items():
        if name == FASTEST and (form := compiled(form)) is None:
            continue
        what = f"search, {size.height} x {size.width}, batch {count}, {name}"
        found = rate(search_step(form, labels), 2 * count, device, size.rounds)
        yield row(what, found, "images/s of both sides")
        yield row(
            f"{what}: an epoch at MSMT17's size, extrapolated",
            2 * TRAIN_SHARE * MSMT17_TRAIN / found,
            "s",
        )


def pipeline_rows(device: torch.device, size: Size, folder: Path) -> list[Row]:
    """Augmented batches from the cache, pinned and copied, with nothing else to do: the input's own
    limit.
    """
    dataset = load_dataset(
        "market1501",
        generate("people", folder, train_identities=32, test_identities=2, progress=False),
    )
    table, count = dataset.train, size.batches[0]
    reader = open_images(table, dataset.root, size.height, size.width, cache="memory")
    sampler = IdentitySampler(table["identity"], count // 4, 4, 0, cameras=table["camera"])
    batches = TrainBatches(
        reader, table["identity"].factorize()[0], sampler, Augmentation(), device=device, workers=4
    )
    times = []
    for epoch in range(4):
        wait(device)
        times.append(
            seconds(lambda epoch=epoch: [wait(device) for _ in batches.epoch(epoch)]) / len(batches)
        )
    return [
        row(
            f"input, {size.height} x {size.width}, batch {count}, 4 threads",
            count / min(times),
            "images/s",
        )
    ]


def measure(device: torch.device, size: Size) -> Iterator[Row]:
    """All rows on one device."""
    with tempfile.TemporaryDirectory() as folder:
        yield from pipeline_rows(device, size, Path(folder))
    for count in size.batches:
        yield from training_rows(device, size, count)
    yield from search_rows(device, size)


def run() -> pd.DataFrame:
    """All rows on the GPU, told as they are found; or one that says there is none."""
    if not torch.cuda.is_available():
        return pd.DataFrame([row("no GPU here: nothing measured", 0, "GPUs")])
    device, rows = torch.device("cuda"), []
    for found in measure(device, Size()):
        rows.append(found)
        print(f"{found['name']}: {found['figure']:.4g} {found['unit']}", flush=True)
    return pd.DataFrame(rows).assign(gpu=torch.cuda.get_device_name())
