"""1x1 convolutions, which are products of matrices: of a map's positions and the kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from msinet_core.models.norms import compiled_loops, in_loops, workspace

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
    return _product(x, kernels)


def _product(x: Tensor, kernels: Tensor) -> Tensor:
    if _positions(x) > FEW or not x.is_contiguous(memory_format=torch.channels_last):
        return functional.conv2d(x, kernels)
    return functional.linear(x.permute(0, 2, 3, 1), kernels.flatten(1)).permute(0, 3, 1, 2)


def _positions(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _in_loops(x: Tensor, kernels: Tensor) -> bool:
    """Whether the compiled loops would find the kernels' gradient, and find it sooner than torch does."""
    outputs, inputs = kernels.shape[:2]
    computed = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32  # by torch's own layers
    if x.dtype != computed or kernels.dtype != torch.float32 or not in_loops(x):
        return False
    loops = compiled_loops(x.dtype)
    return loops is not None and loops.takes_product(x.dtype == torch.bfloat16, inputs, outputs)


class _Product(torch.autograd.Function):
    """The same, with the gradient of the kernels from the compiled loops, in float32 whatever the maps are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        rounded = kernels.to(x.dtype)
        ctx.save_for_backward(x, rounded)
        return _product(x, rounded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, kernels = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        back = _back(gradient, x, kernels) if ctx.needs_input_grad[0] else None
        return back, kernel_gradient(gradient, x) if ctx.needs_input_grad[1] else None


def _back(gradient: Tensor, x: Tensor, kernels: Tensor) -> Tensor:
    """The gradient of a convolution's input."""
    if _positions(x) <= FEW:
        rows = gradient.permute(0, 2, 3, 1).flatten(0, 2) @ kernels.flatten(1)
        return rows.view(x.shape[0], *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    once, none = (1, 1), (0, 0)
    asked = (True, False, False)
    return torch.ops.aten.convolution_backward(gradient, x, kernels, None, once, none, once, False, none, 1, asked)[0]


def kernel_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Of both maps channels-last, N x D x H x W and N x C x H x W -> D x C x 1 x 1 float32."""
    loops = compiled_loops(x.dtype)
    assert loops is not None
    (inputs, outputs), positions = (x.shape[1], gradient.shape[1]), _positions(x)
    threads = torch.get_num_threads() if positions * inputs * outputs >= GRAIN else 1
    result = torch.empty(outputs, inputs, 1, 1)
    loops.run(
        "kernel gradient", x.dtype, threads, x=x.data_ptr(), gradient=gradient.data_ptr(), back=result.data_ptr(), rows=positions,
        channels=inputs, outputs=outputs, room=workspace.of(loops.products_room(threads, inputs, outputs), 0),
    )  # fmt: skip
    return result
