"""A 3x3 convolution in two light steps: 1x1 across channels, 3x3 within each; norm, ReLU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet_core.models.norms import Job, Norm, by_vectors, like, statistics_of
from msinet_core.models.pointwise import Pointwise, computed_as, multiply, multiply_back


class Light3x3(nn.Module):
    """N x C x H x W -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pointwise = Pointwise(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        point, depth, norm = self.pointwise.weight, self.depthwise.weight, self.norm
        if norm.at_once(x) and by_vectors(x) and computed_as(x, point):
            y: Tensor = _Light.apply(x, point, depth, norm.weight, norm.bias, norm)
            return y
        return norm(self.depthwise(self.pointwise(x)))


class _Light(torch.autograd.Function):
    """All four in one go, by the compiled loops."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, point: Tensor, depth: Tensor, gain: Tensor, shift: Tensor, norm: Norm
    ) -> Tensor:
        point, depth = point.contiguous(), depth.contiguous()
        source, job = multiply(x, point), Job(x, len(gain), len(gain))
        y = like(source)
        job.run("light forward", **job.light(source, depth), y=y.data_ptr(), **statistics_of(norm))
        ctx.job = job
        ctx.save_for_backward(x, source, point, depth, gain)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, source, point, depth, gain), job = ctx.saved_tensors, ctx.job
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        source_back, depth_back = like(source), torch.empty_like(depth)
        slopes = job.run_back(
            "light backward",
            **job.light(source, depth),
            gradient=gradient.data_ptr(),
            gain=gain.data_ptr(),
            source_back=source_back.data_ptr(),
            kernel_back=depth_back.data_ptr(),
        )
        back, point_back = multiply_back(source_back, x, point)
        return back, point_back, depth_back, *slopes, None
