"""1x1 convolutions, which are products of matrices: of a map's positions and the kernels."""

from __future__ import annotations

from collections.abc import Sequence
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
    """A 1x1 convolution, N x C x H x W, D x C x 1 x 1 -> N x D x H x W; what is quickest on a CPU
    for its size.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return functional.conv2d(x, kernels)
    if (
        torch.is_grad_enabled()
        and kernels.requires_grad
        and computed_as(x, kernels)
        and _in_loops(x, kernels)
    ):
        y: Tensor = _Product.apply(x, kernels)
        return y
    return _by_torch(x, kernels)


def computed_as(x: Tensor, kernels: Tensor) -> bool:
    """Whether torch's own layers would compute this in the map's type, with kernels that are kept
    in float32.
    """
    kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
    return x.dtype == kind and kernels.dtype == torch.float32


def multiply(x: Tensor, kernels: Tensor) -> Tensor:
    """The same where autograd does not look, and the kernels are float32 for any map."""
    if _in_loops(x, kernels):
        return _product(x, kernels, len(kernels))
    return _by_torch(x, kernels.to(x.dtype)).contiguous(memory_format=torch.channels_last)


def multiply_back(
    gradient: Tensor, x: Tensor, kernels: Tensor, asked: Sequence[bool] = (True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x and, in float32, of the kernels, so far as they are asked for; the gradient
    lies channels-last.
    """
    if _in_loops(x, kernels):
        back = _product(gradient, kernels, x.shape[1], turned=True) if asked[0] else None
        return back, _kernel_gradient(gradient, x) if asked[1] else None
    once, none, both = (1, 1), (0, 0), (*asked, False)
    convolution_backward = torch.ops.aten.convolution_backward
    found = convolution_backward(
        gradient, x, kernels.to(x.dtype), None, once, none, once, False, none, 1, both
    )
    return found[0], None if found[1] is None else found[1].to(kernels.dtype)


def _by_torch(x: Tensor, kernels: Tensor) -> Tensor:
    if _positions(x) > FEW or not x.is_contiguous(memory_format=torch.channels_last):
        return functional.conv2d(x, kernels)
    return functional.linear(x.permute(0, 2, 3, 1), kernels.flatten(1)).permute(0, 3, 1, 2)


def _positions(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _in_loops(x: Tensor, kernels: Tensor) -> bool:
    """Whether the compiled loops take this, and are quicker than torch."""
    outputs, inputs = kernels.shape[:2]
    return in_loops(x) and found_loops(x.dtype).takes_product(
        x.dtype == torch.bfloat16, _positions(x), inputs, outputs
    )


class _Product(torch.autograd.Function):
    """By the compiled loops, which round the kernels as they read them, and find their gradient in
    float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        kernels = kernels.contiguous()
        ctx.save_for_backward(x, kernels)
        return multiply(x, kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, kernels = ctx.saved_tensors
        return multiply_back(
            gradient.contiguous(memory_format=torch.channels_last), x, kernels, ctx.needs_input_grad
        )


def _product(x: Tensor, kernels: Tensor, outputs: int, turned: bool = False) -> Tensor:
    """x's positions times the kernels, or, `turned`, their transpose."""
    count, inputs, height, width = x.shape
    y = torch.empty(
        (count, outputs, height, width), dtype=x.dtype, memory_format=torch.channels_last
    )
    _run("product", x, inputs, outputs, y=y.data_ptr(), kernel=kernels.data_ptr(), turned=turned)
    return y


def _kernel_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """N x D x H x W, N x C x H x W -> D x C x 1 x 1 float32."""
    inputs, outputs = x.shape[1], gradient.shape[1]
    result = torch.empty(outputs, inputs, 1, 1)
    _run(
        "kernel gradient", x, inputs, outputs, gradient=gradient.data_ptr(), back=result.data_ptr()
    )
    return result


def _run(name: str, x: Tensor, inputs: int, outputs: int, **values: int) -> None:
    loops, positions = found_loops(x.dtype), _positions(x)
    threads = torch.get_num_threads() if positions * inputs * outputs >= GRAIN else 1
    room = workspace.of(loops.products_room(threads, inputs, outputs), 0)
    values |= {
        "x": x.data_ptr(),
        "rows": positions,
        "channels": inputs,
        "outputs": outputs,
        "room": room,
    }
    loops.run(name, x.dtype, threads, **values)
