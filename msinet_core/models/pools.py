"""A convolution with norm and ReLU, and the pool behind them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet_core.models.norms import Job, Layer, Norm, by_vectors, like, statistics_of, workspace


def pooled(x: Tensor, layer: Layer, pool: nn.Module) -> Tensor:
    """pool(layer(x)), N x C x H x W -> N x D x about half H x about half W; in training, norm and
    pool in one go.
    """
    if not layer.norm.training:
        result: Tensor = pool(layer(x))
        return result
    x, norm = layer.conv(x), layer.norm
    if norm.relu and norm.at_once(x) and by_vectors(x) and (_is_largest(pool) or _is_mean(pool, x)):
        y: Tensor = _NormPool.apply(x, norm.weight, norm.bias, norm, _is_largest(pool))
        return y
    result = pool(norm(x))
    return result


def _is_largest(pool: nn.Module) -> bool:
    """3x3 at stride 2, one position of padding."""
    known = isinstance(pool, nn.MaxPool2d) and not pool.ceil_mode and not pool.return_indices
    return known and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (3, 2, 1, 1)


def _is_mean(pool: nn.Module, x: Tensor) -> bool:
    """2x2 at stride 2, of maps that it leaves nothing of."""
    known = isinstance(pool, nn.AvgPool2d) and (pool.kernel_size, pool.stride, pool.padding) == (
        2,
        2,
        0,
    )
    return known and pool.divisor_override is None and x.shape[2] % 2 == x.shape[3] % 2 == 0


class _NormPool(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, norm: Norm, largest: bool
    ) -> Tensor:
        count, channels, height, width = x.shape
        shape = (count, channels, (height + 1) // 2, (width + 1) // 2)
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        which = torch.empty(
            shape if largest else 0, dtype=torch.uint8
        )  # in the order of y's memory
        job = Job(x, channels, channels)
        job.run("pool forward", y=y.data_ptr(), **_common(job, x, which), **statistics_of(norm))
        ctx.job = job
        ctx.save_for_backward(x, which, gain)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, which, gain), job = ctx.saved_tensors, ctx.job
        gradient, back = gradient.contiguous(memory_format=torch.channels_last), like(x)
        slopes = job.run_back(
            "pool backward",
            **_common(job, x, which),
            gradient=gradient.data_ptr(),
            back=back.data_ptr(),
            gain=gain.data_ptr(),
        )
        return back, *slopes, None, None


def _common(job: Job, x: Tensor, which: Tensor) -> dict[str, int]:
    """What both passes need besides."""
    _, channels, height, width = x.shape
    scratch = workspace.of(job.loops.pool_scratch(job.threads, channels, width), 1)
    return {
        "x": x.data_ptr(),
        "which": which.data_ptr(),
        "height": height,
        "width": width,
        "scratch": scratch,
    }
