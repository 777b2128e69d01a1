"""Batch norm with what lies around it, in one go where that is possible: ReLU, sums, depthwise
convolutions.

The folder `loops` does it for channels-last maps on a CPU, with the gradients of the layers one
after the other; everywhere else (other devices, layouts and types, evaluation, exports) it is
torch's own layers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TYPES = (torch.float32, torch.bfloat16)  # of maps that the loops take
GRAIN = (
    1 << 15
)  # values below which a second thread costs more than it brings, as in torch's own loops


class Norm(nn.BatchNorm2d):
    """Batch norm and, unless switched off, ReLU: N x C x H x W -> the same. In training it moves
    the running statistics.
    """

    def __init__(self, channels: int, relu: bool = True) -> None:
        super().__init__(channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        if self.at_once(x):
            y: Tensor = _NormReLU.apply(x, self.weight, self.bias, self)
            return y
        x = super().forward(x)
        return torch.relu_(x) if self.relu else x

    def at_once(self, x: Tensor) -> bool:
        """Whether the compiled loops would take this; it is device, type and layout that count."""
        return (
            self.training
            and x.device.type == "cpu"
            and x.dtype in TYPES
            and _in_rows(x)
            and self.weight.dtype == torch.float32
            and self.track_running_stats
            and self.momentum is not None
            and not torch.compiler.is_compiling()
            and compiled_loops(x.dtype) is not None
        )


class Layer(Protocol):
    """A convolution with norm and ReLU."""

    conv: nn.Conv2d
    norm: Norm

    def __call__(self, x: Tensor) -> Tensor: ...


def _in_rows(x: Tensor) -> bool:
    """Whether a map is one matrix with a position's channels as a row."""
    _, channels, height, width = x.shape
    return x.stride() == (height * width * channels, 1, width * channels, channels)


def by_vectors(x: Tensor) -> bool:
    """Whether it is one of whole vectors, which is what the loops take that are written in those."""
    return _in_rows(x) and x.shape[1] % found_loops(x.dtype).LANES == 0


@cache
def compiled_loops(dtype: torch.dtype = torch.float32) -> ModuleType | None:
    """The loops, compiled for maps of a type, where torch runs on GNU's OpenMP (as it does on
    Linux).
    """
    try:
        from msinet_core.models import loops

        loops.address(dtype)
    except (ImportError, OSError, StopIteration, AttributeError, RuntimeError):
        return None
    return loops


def found_loops(dtype: torch.dtype) -> ModuleType:
    """The same where it is known that there are loops."""
    loops = compiled_loops(dtype)
    assert loops is not None
    return loops


def image_sums(x: Tensor, other: Tensor | None = None) -> Tensor:
    """Sums of x, or of x * other, over each picture's positions: N x C x H x W -> N x C, as float32
    for bf16.
    """
    if not in_loops(x) or (other is not None and not in_loops(other)):
        return (x if other is None else x * other).sum(dim=(2, 3))
    result = torch.empty(x.shape[:2])
    _run_images(
        "image sums", x, y=result.data_ptr(), gradient=0 if other is None else other.data_ptr()
    )
    return result


def image_scale(x: Tensor, factors: Tensor, levels: Tensor | None = None) -> Tensor:
    """x * factors + levels, picture by picture and channel by channel: N x C x H x W, N x C, N x C
    -> N x C x H x W.
    """
    if not in_loops(x) or not factors.is_contiguous():
        factors = factors.to(x.dtype)[..., None, None]
        return (
            x * factors
            if levels is None
            else torch.addcmul(levels.to(x.dtype)[..., None, None], x, factors)
        )
    result = like(x)
    _run_images(
        "image scale",
        x,
        y=result.data_ptr(),
        gain=factors.data_ptr(),
        shift=0 if levels is None else levels.data_ptr(),
    )
    return result


def in_loops(x: Tensor) -> bool:
    """Whether the loops by pictures would take this map."""
    return (
        x.device.type == "cpu"
        and x.dtype in TYPES
        and compiled_loops(x.dtype) is not None
        and by_vectors(x)
    )


def _run_images(name: str, x: Tensor, **values: int) -> None:
    count, channels, height, width = x.shape
    threads = torch.get_num_threads() if x.numel() >= GRAIN else 1
    values |= {"x": x.data_ptr(), "rows": count, "channels": channels, "height": height * width}
    found_loops(x.dtype).run(name, x.dtype, threads, **values)


def add_normed(maps: Sequence[Tensor], norms: Sequence[Norm], rest: Tensor | None = None) -> Tensor:
    """relu of the sum of two or three maps, each with its norm, and of one more that has none."""
    added = maps if rest is None else (*maps, rest)
    alike = all(x.dtype == maps[0].dtype and x.shape == maps[0].shape for x in added)
    if (
        alike
        and all(norm.at_once(x) for norm, x in zip(norms, maps, strict=True))
        and all(by_vectors(x) for x in added)
    ):
        y: Tensor = _SumReLU.apply(
            norms, rest, *maps, *(norm.weight for norm in norms), *(norm.bias for norm in norms)
        )
        return y
    total = norms[0](maps[0])
    for norm, x in zip(norms[1:], maps[1:], strict=True):
        total = total.add_(norm(x))
    return torch.relu_(total if rest is None else total.add_(rest))


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, norm: Norm) -> Tensor:
        y, job = like(x), Job(x, len(gain), len(gain))
        job.run(
            "norm forward", x=x.data_ptr(), y=y.data_ptr(), relu=norm.relu, **statistics_of(norm)
        )
        ctx.relu, ctx.job = norm.relu, job
        ctx.save_for_backward(x, gain)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain = ctx.saved_tensors
        gradient, back = gradient.contiguous(memory_format=torch.channels_last), like(x)
        slopes = ctx.job.run_back(
            "norm backward",
            x=x.data_ptr(),
            gradient=gradient.data_ptr(),
            back=back.data_ptr(),
            gain=gain.data_ptr(),
            relu=ctx.relu,
        )
        return back, *slopes, None


class _SumReLU(torch.autograd.Function):
    """Two or three maps, each with its norm, and perhaps one without, added; ReLU."""

    @staticmethod
    def forward(ctx: Any, norms: Sequence[Norm], rest: Tensor | None, *values: Tensor) -> Tensor:
        maps, gains = values[: len(norms)], values[len(norms) : 2 * len(norms)]
        y, job = like(maps[0]), _SumJob(maps)
        for norm, x, kept in zip(norms, maps, job.kept, strict=True):
            job.one.run(
                "norm statistics", saved=kept.data_ptr(), x=x.data_ptr(), **statistics_of(norm)
            )
        added = {} if rest is None else {"rest": rest.data_ptr()}
        job.run(
            "sum forward",
            [
                [x.data_ptr(), 0, kept.data_ptr(), 0, 0]
                for x, kept in zip(maps, job.kept, strict=True)
            ],
            y=y.data_ptr(),
            **added,
        )
        ctx.job, ctx.rest = job, rest is not None
        ctx.save_for_backward(y, *maps, *gains)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        job, (y, *values) = ctx.job, ctx.saved_tensors
        count = len(values) // 2
        maps, gains = values[:count], values[count:]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        backs = [like(x) for x in maps]
        slopes = torch.empty(count, job.loops.GRADIENTS, y.shape[1])
        rest_back = like(y) if ctx.rest else None
        table = [
            [part.data_ptr() for part in row]
            for row in zip(maps, gains, job.kept, backs, slopes, strict=True)
        ]
        added = {} if rest_back is None else {"rest_back": rest_back.data_ptr()}
        job.run("sum backward", table, y=y.data_ptr(), gradient=gradient.data_ptr(), **added)
        return None, rest_back, *backs, *slopes[:, 0], *slopes[:, 1]


class Job:
    """What the passes forward and backward over one map share: its shape, the threads, what is kept
    of the norm.
    """

    def __init__(self, x: Tensor, channels: int, stride: int) -> None:
        self.loops, self.dtype, self.channels = found_loops(x.dtype), x.dtype, channels
        self.threads = torch.get_num_threads() if x.numel() >= GRAIN else 1
        self.shape = self.loops.matrix(x.numel() // channels, channels, stride)
        self.saved = torch.empty(self.loops.SAVED, channels * self.shape["copies"])

    def run(self, name: str, **values: float) -> None:
        room = workspace.of(self.loops.room(self.shape, self.threads), 0)
        values = {"saved": self.saved.data_ptr(), "room": room, **self.shape, **values}
        self.loops.run(name, self.dtype, self.threads, **values)

    def run_back(self, name: str, **values: float) -> Tensor:
        """A pass back; gives the gradients of gain and shift."""
        slopes = torch.empty(self.loops.GRADIENTS, self.channels)
        self.run(name, gradients=slopes.data_ptr(), **values)
        return slopes

    def light(self, source: Tensor, kernel: Tensor) -> dict[str, int]:
        """What both passes over a depthwise convolution need besides."""
        _, channels, height, width = source.shape
        return {
            "source": source.data_ptr(),
            "kernel": kernel.data_ptr(),
            "height": height,
            "width": width,
            "scratch": workspace.of(self.loops.scratch(self.threads, channels, width), 1),
            "x": workspace.of(source.numel() * source.element_size(), 2),
        }


class _SumJob:
    """What the passes forward and backward over the maps of a sum share."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self.one = Job(maps[0], maps[0].shape[1], maps[0].shape[1])
        self.loops = self.one.loops
        self.kept = torch.empty(len(maps), *self.one.saved.shape).unbind()

    def run(self, name: str, parts: list[list[int]], **values: float) -> None:
        table = np.array(parts, dtype=np.int64)
        room = workspace.of(self.loops.room_of_sum(self.one.saved.shape[1], self.one.threads), 0)
        self.one.run(name, count=len(parts), parts=table.ctypes.data, room=room, **values)


class _Workspace(threading.local):
    """Memory that the passes of a thread work in, one after the other, so that it stays close to
    the processor.
    """

    def __init__(self) -> None:
        self.parts = [torch.empty(0, dtype=torch.uint8)] * 3

    def of(self, size: int, part: int) -> int:
        """Where `size` bytes begin that are free until `part` is asked for again."""
        if self.parts[part].numel() < size:
            self.parts[part] = torch.empty(size, dtype=torch.uint8)
        return self.parts[part].data_ptr()


workspace = _Workspace()


def statistics_of(norm: Norm) -> dict[str, float]:
    """What a pass forward needs of a norm, whose running statistics it moves."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return {
        "gain": norm.weight.data_ptr(),
        "shift": norm.bias.data_ptr(),
        "mean": norm.running_mean.data_ptr(),
        "variance": norm.running_var.data_ptr(),
        "eps": norm.eps,
        "momentum": norm.momentum or 0.0,
    }


def like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
