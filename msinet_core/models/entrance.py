"""A cell's entrance: a 1x1 convolution, norm and ReLU for each of its two branches, from the same
map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from msinet_core.models.norms import Job, Layer, like, statistics_of
from msinet_core.models.pointwise import computed_as, multiply, multiply_back


def enter(x: Tensor, a: Layer, b: Layer) -> tuple[Tensor, Tensor]:
    """Both branches, N x D x H x W each, of x, N x C x H x W."""
    if not (a.norm.at_once(x) and b.norm.at_once(x) and computed_as(x, a.conv.weight)):
        return a(x), b(x)
    vectors = [vector for norm in (a.norm, b.norm) for vector in (norm.weight, norm.bias)]
    branches: tuple[Tensor, Tensor] = _Entrance.apply(
        x, a.conv.weight, b.conv.weight, *vectors, (a.norm, b.norm)
    )
    return branches


class _Entrance(torch.autograd.Function):
    """As one convolution both read x once, and its gradient needs no sum; the norms take the halves
    as they lie.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *values: Any) -> tuple[Tensor, ...]:
        *parameters, norms = values
        kernels, gains = torch.cat(parameters[:2]), parameters[2::2]
        wide = multiply(x, kernels)
        ctx.jobs = []
        results = []
        for half, norm in zip(wide.chunk(2, dim=1), norms, strict=True):
            y, job = like(half), Job(half, half.shape[1], wide.shape[1])
            job.run(
                "norm forward",
                x=half.data_ptr(),
                y=y.data_ptr(),
                relu=norm.relu,
                **statistics_of(norm),
            )
            results.append(y)
            ctx.jobs.append((job, norm.relu))
        ctx.save_for_backward(x, kernels, wide, *gains)
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, wide, *gains = ctx.saved_tensors
        wide_back = like(wide)
        slopes = []
        halves = zip(
            wide.chunk(2, dim=1), wide_back.chunk(2, dim=1), gradients, gains, ctx.jobs, strict=True
        )
        for half, back, gradient, gain, (job, relu) in halves:
            gradient = gradient.contiguous(memory_format=torch.channels_last)
            slopes += job.run_back(
                "norm backward",
                x=half.data_ptr(),
                gradient=gradient.data_ptr(),
                back=back.data_ptr(),
                gain=gain.data_ptr(),
                relu=relu,
            )
        x_back, kernels_back = multiply_back(wide_back, x, kernels, ctx.needs_input_grad[:2])
        both = (None, None) if kernels_back is None else kernels_back.chunk(2)
        return x_back, *both, *slopes, None
