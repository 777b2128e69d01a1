"""Batch norm with the sum and the ReLU behind it, in one go where that is possible.

`norm_loops` does it for channels-last maps on a CPU, with the gradients of the layers one after the other; everywhere
else (other devices, layouts and types, evaluation, exports) it is torch's own layers.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GRAIN = 1 << 15  # values below which a second thread costs more than it brings, as in torch's own loops


class Norm(nn.BatchNorm2d):
    """Batch norm, maps to add, and, unless switched off, ReLU: N x C x H x W -> the same."""

    def __init__(self, channels: int, relu: bool = True) -> None:
        super().__init__(channels)
        self.relu = relu

    def forward(self, x: Tensor, *added: Tensor) -> Tensor:
        """relu(norm(x) + the maps added, two at most, in their order). In training it moves the running statistics."""
        if self.at_once(x, *added):
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            y: Tensor = _NormReLU.apply(x, self.weight, self.bias, self, *added)
            return y
        x = super().forward(x)
        for other in added:
            x = x.add_(other)
        return torch.relu_(x) if self.relu else x

    def at_once(self, x: Tensor, *added: Tensor) -> bool:
        """Whether the compiled loops would take these; of `x` it is device, type and layout that count."""
        return (
            self.training
            and x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.bfloat16)
            and _row_stride(x) > 0
            and all(y.dtype == x.dtype and y.shape == x.shape and _row_stride(y) == x.shape[1] for y in added)
            and self.weight.dtype == torch.float32
            and self.track_running_stats
            and self.momentum is not None
            and not torch.compiler.is_compiling()
            and compiled_loops() is not None
        )


def _row_stride(x: Tensor) -> int:
    """Values from a position to the next in a map whose positions follow each other, channels side by side; else 0."""
    _, channels, height, width = x.shape
    step = x.stride(3) if width > 1 else x.stride(2) if height > 1 else x.stride(0)
    return step if step >= channels and x.stride() == (height * width * step, 1, width * step, step) else 0


@cache
def compiled_loops() -> ModuleType | None:
    """The compiled loops, where torch runs on GNU's OpenMP (as it does on Linux)."""
    try:
        from msinet_core.models import norm_loops
    except (ImportError, OSError, StopIteration, AttributeError, RuntimeError):
        return None
    return norm_loops


def _found_loops() -> ModuleType:
    loops = compiled_loops()
    assert loops is not None
    return loops


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, norm: Norm, *added: Tensor) -> Tensor:
        loops, channels, y = _found_loops(), len(gain), _like(x)
        threads = torch.get_num_threads() if x.numel() >= GRAIN else 1
        assert norm.running_mean is not None
        assert norm.running_var is not None
        shape = loops.matrix(x.numel() // channels, channels, _row_stride(x))
        room = torch.empty(loops.room(shape, threads))
        loops.run(
            "forward", x.dtype, threads, x.data_ptr(), y.data_ptr(), *(_place(added, k) for k in range(2)), 0, 0, 0,
            gain.data_ptr(), shift.data_ptr(), norm.running_mean.data_ptr(), norm.running_var.data_ptr(), room.data_ptr(),
            *shape, norm.relu, norm.eps, norm.momentum,
        )  # fmt: skip
        ctx.relu, ctx.added, ctx.threads, ctx.shape = norm.relu, len(added), threads, shape
        ctx.save_for_backward(x, gain, room, y if norm.relu and ctx.added else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        loops, (x, gain, room, y) = _found_loops(), ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back = _like(x)
        # Without a ReLU what was added gets the gradient as it is.
        added_back = _like(x) if y is not None else gradient
        loops.run(
            "backward", x.dtype, ctx.threads, x.data_ptr(), 0 if y is None else y.data_ptr(), 0, 0, gradient.data_ptr(),
            back.data_ptr(), 0 if y is None else added_back.data_ptr(),
            gain.data_ptr(), 0, 0, 0, room.data_ptr(), *ctx.shape, ctx.relu, 0.0, 0.0,
        )  # fmt: skip
        slopes = room[loops.SAVED : loops.SAVED + 2, : len(gain)].clone()
        return back, slopes[0], slopes[1], None, *[added_back] * ctx.added


def _like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)


def _place(tensors: tuple[Tensor, ...], number: int) -> int:
    """Where the values of one of some tensors lie; 0 where there are not as many."""
    return tensors[number].data_ptr() if number < len(tensors) else 0
