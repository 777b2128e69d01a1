"""1x1 convolutions, which are products of matrices: of a map's positions and the kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from msinet_core.models.norms import found_loops, in_loops, workspace

FEW = 2048  # positions up to which a product of matrices is faster than a convolution
GRAIN = 1 << 20  # multiplications below which a second thread costs more than it brings


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return pointwise(x, self.weight)


def pointwise(x: Tensor, kernels: Tensor) -> Tensor:
    """A 1x1 convolution, N x C x H x W, D x C x 1 x 1 -> N x D x H x W; what is quickest on a CPU for its size."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return functional.conv2d(x, kernels)
    if torch.is_grad_enabled() and kernels.requires_grad and _in_loops(x, kernels):
        y: Tensor = _Product.apply(x, kernels)
        return y
    if _positions(x) > FEW or not x.is_contiguous(memory_format=torch.channels_last):
        return functional.conv2d(x, kernels)
    return functional.linear(x.permute(0, 2, 3, 1), kernels.flatten(1)).permute(0, 3, 1, 2)


def _positions(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _in_loops(x: Tensor, kernels: Tensor) -> bool:
    """Whether the compiled loops take this, and are quicker than torch."""
    outputs, inputs = kernels.shape[:2]
    computed = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32  # by torch's own layers
    if x.dtype != computed or kernels.dtype != torch.float32 or not in_loops(x):
        return False
    return found_loops(x.dtype).takes_product(x.dtype == torch.bfloat16, _positions(x), inputs, outputs)


class _Product(torch.autograd.Function):
    """By the compiled loops, which round the kernels as they read them, and find their gradient in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        kernels = kernels.contiguous()
        ctx.save_for_backward(x, kernels)
        return _product(x, kernels, len(kernels))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, kernels = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back = _product(gradient, kernels, x.shape[1], turned=True) if ctx.needs_input_grad[0] else None
        return back, _kernel_gradient(gradient, x) if ctx.needs_input_grad[1] else None


def _product(x: Tensor, kernels: Tensor, outputs: int, turned: bool = False) -> Tensor:
    """x's positions times the kernels, or, `turned`, their transpose."""
    count, inputs, height, width = x.shape
    y = torch.empty((count, outputs, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    _run("product", x, inputs, outputs, y=y.data_ptr(), kernel=kernels.data_ptr(), turned=turned)
    return y


def _kernel_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """N x D x H x W, N x C x H x W -> D x C x 1 x 1 float32."""
    inputs, outputs = x.shape[1], gradient.shape[1]
    result = torch.empty(outputs, inputs, 1, 1)
    _run("kernel gradient", x, inputs, outputs, gradient=gradient.data_ptr(), back=result.data_ptr())
    return result


def _run(name: str, x: Tensor, inputs: int, outputs: int, **values: int) -> None:
    loops, positions = found_loops(x.dtype), _positions(x)
    threads = torch.get_num_threads() if positions * inputs * outputs >= GRAIN else 1
    room = workspace.of(loops.products_room(threads, inputs, outputs), 0)
    values |= {"x": x.data_ptr(), "rows": positions, "channels": inputs, "outputs": outputs, "room": room}
    loops.run(name, x.dtype, threads, **values)
