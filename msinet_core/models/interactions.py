"""The four interactions between the two branches of a cell.

Each is called with both branches, N x C x H x W, and gives both back in the same shape.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet_core.errors import ReidError
from msinet_core.models.norms import image_scale, image_sums
from msinet_core.space import OPERATIONS, operation_name

Branches = tuple[Tensor, Tensor]
Maker = Callable[[int], nn.Module]  # from the number of channels of a branch
Registered = TypeVar("Registered", bound=Callable)


class NoInteraction(nn.Module):
    """`none`: the branches go on as they are."""

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return a, b


class Exchange(nn.Module):
    """`exchange`: the branches change places."""

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return b, a


class ChannelGate(nn.Module):
    """`channel_gate`: each branch scaled channel by channel by its own content, through one gate
    for both.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def gates(self, a: Tensor, b: Tensor) -> Branches:
        """Factors in (0, 1) for every channel of both branches, N x C x 1 x 1 each."""
        # One pass over both branches' pooled vectors: 2N x C x 1 x 1.
        pooled = torch.cat((a.mean(dim=(2, 3), keepdim=True), b.mean(dim=(2, 3), keepdim=True)))
        gate_a, gate_b = (
            torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))
            .unflatten(0, (2, -1))
            .unbind()
        )
        return gate_a, gate_b

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        if channels_last(a, b) and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            layers = [self.squeeze.weight, self.squeeze.bias, self.excite.weight, self.excite.bias]
            with torch.autocast(a.device.type, enabled=False):
                return cast(Branches, _Gated.apply(a, b, *layers))
        gate_a, gate_b = self.gates(a, b)
        return a * gate_a, b * gate_b


class _Gated(torch.autograd.Function):
    """The channel gate with a gradient that goes over each branch three times, not six.

    A branch x reaches the result twice, y = x * g(mean(x)), so that its gradient is g * dy + dmean
    / HW with dg = sum of dy * x over positions and dmean what the two layers make of it.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, *layers: Tensor) -> Branches:
        squeeze, squeeze_bias, excite, excite_bias = (
            layer.flatten(1) if layer.dim() > 1 else layer for layer in layers
        )
        pooled = torch.cat((image_sums(a), image_sums(b))).to(squeeze.dtype) / (
            a.shape[2] * a.shape[3]
        )  # 2N x C
        hidden = torch.addmm(squeeze_bias, pooled, squeeze.T).relu_()
        gates = torch.addmm(excite_bias, hidden, excite.T).sigmoid_()
        ctx.save_for_backward(a, b, squeeze, excite, pooled, hidden, gates)
        gate_a, gate_b = gates.chunk(2)
        return image_scale(a, gate_a), image_scale(b, gate_b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        a, b, squeeze, excite, pooled, hidden, gates = ctx.saved_tensors
        gradients = tuple(dy.contiguous(memory_format=torch.channels_last) for dy in gradients)
        by_gate = torch.cat(
            [image_sums(dy, x) for dy, x in zip(gradients, (a, b), strict=True)]
        ).to(gates.dtype)
        by_logit = by_gate * gates * (1 - gates)
        by_hidden = (by_logit @ excite) * (hidden > 0)
        by_mean = (by_hidden @ squeeze) / (a.shape[2] * a.shape[3])
        parts = zip(gradients, gates.chunk(2), by_mean.chunk(2), strict=True)
        back = [image_scale(dy, gate, level) for dy, gate, level in parts]
        layers = (by_hidden.T @ pooled, by_hidden.sum(0), by_logit.T @ hidden, by_logit.sum(0))
        return *back, *(layer[..., None, None] if layer.dim() > 1 else layer for layer in layers)


class CrossAttention(nn.Module):
    """`cross_attention`: each branch takes up its own channels, weighted by how little they
    resemble the other's.

    attention_a = softmax(rowmax(E) - E) with E = A B^T over channels, which is softmax(-E): the
    *least* similar channel gets the largest weight, as in the authors' implementation. `gamma`
    starts at 0, so that the interaction begins as `none`. With `scaled` (not in the paper) E is
    divided by the root of the number of positions.
    """

    scaled = False

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, a: Tensor, b: Tensor) -> Branches:
        """Both attentions, N x C x C, rows summing to 1."""
        share = (a.shape[2] * a.shape[3]) ** -0.5 if self.scaled else 1.0
        nothing = a.new_zeros(1, 1, 1)
        # -E: N x C x C; branch b's is its transpose
        opposite = torch.baddbmm(
            nothing, a.flatten(2), b.flatten(2).transpose(1, 2), beta=0, alpha=-share
        )
        return torch.softmax(opposite, dim=-1), torch.softmax(opposite.transpose(1, 2), dim=-1)

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        attention_a, attention_b = self.attention(a, b)
        gamma = self.gamma.to(a.dtype)  # or it would widen maps of bf16
        if not channels_last(a, b):
            taken_a = (attention_a @ a.flatten(2)).view_as(a)
            taken_b = (attention_b @ b.flatten(2)).view_as(b)
            return gamma * taken_a + a, gamma * taken_b + b
        if a.shape[2] * a.shape[3] <= a.shape[1]:  # the branches are smaller than the attentions
            taken_a, taken_b = mix_channels(attention_a, a), mix_channels(attention_b, b)
            return gamma * taken_a + a, gamma * taken_b + b
        itself = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        return mix_channels(gamma * attention_a + itself, a), mix_channels(
            gamma * attention_b + itself, b
        )


def channels_last(*branches: Tensor) -> bool:
    """Whether a position's channels lie side by side, so that positions are the rows of a matrix as
    they are.
    """
    return all(x.is_contiguous(memory_format=torch.channels_last) for x in branches)


def mix_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Each image's channels as sums of its channels; N x C x C, N x C x H x W -> N x C x H x W,
    both channels-last.
    """
    count, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(count, height * width, channels)  # a view
    return (rows @ matrix.transpose(1, 2)).view(count, height, width, channels).permute(0, 3, 1, 2)


def scale_attention(model: nn.Module) -> None:
    """Let every cross attention of a network divide its energies by the root of the number of
    positions.
    """
    for module in model.modules():
        if isinstance(module, CrossAttention):
            module.scaled = True


class FunctionInteraction(nn.Module):
    """A function (a, b) -> (a, b) without parameters, as a module."""

    def __init__(self, function: Callable[[Tensor, Tensor], Branches]) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return self.function(a, b)


_MAKERS: dict[str, Maker] = {}  # of registered operations


def register_operation(name: str) -> Callable[[Registered], Registered]:
    """Decorator: an operation of your own, from then on part of the search space.

    For a function `(a, b) -> (a, b)` on branches of N x C x H x W, or for a module class made with
    the number of channels whose `forward` does that. Supernets made afterwards have a column for
    it; runs made with it need it registered when they are read. It must not change its inputs in
    place.

        @register_operation("average")
        def average(a, b):
            return (a + b) / 2, (a + b) / 2
    """

    def register(operation: Registered) -> Registered:
        if not callable(operation):
            raise ReidError(
                f"operation {name!r} is neither a function of both branches nor a module class"
            )
        OPERATIONS.add(name, operation.__module__)
        made = cast(
            Maker,
            operation
            if inspect.isclass(operation)
            else lambda channels: FunctionInteraction(operation),
        )
        _MAKERS[name] = made
        return operation

    return register


def forget_operation(name: str) -> None:
    """Undo `register_operation`; `ReidError` for the four that belong to the method."""
    OPERATIONS.remove(name)
    del _MAKERS[name]


def make_interaction(operation: str, channels: int) -> nn.Module:
    """The module of an operation for branches of `channels` channels."""
    name = operation_name(operation)
    if name in _MAKERS:
        return _MAKERS[name](channels)
    if name == "channel_gate":
        return ChannelGate(channels)
    if name == "cross_attention":
        return CrossAttention()
    return Exchange() if name == "exchange" else NoInteraction()
