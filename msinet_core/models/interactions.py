"""The four interactions between the two branches of a cell, and operations of your own.

Multi-scale interaction (MSI), docs/method.md 1. Each is called with both branches, N x C x H x W,
and gives both back in the same shape.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from msinet_core.errors import ReidError
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
    """`channel_gate`: each branch scaled channel by channel by its own content.

    a <- a * g(a), b <- b * g(b), with one gate for both:
    g(x) = sigmoid(excite(relu(squeeze(mean of x over its positions)))).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """A factor in (0, 1) for every channel: N x C x H x W -> N x C x 1 x 1."""
        pooled = x.mean(dim=(2, 3), keepdim=True)  # N x C x 1 x 1
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))))

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        return a * self.gate(a), b * self.gate(b)


class CrossAttention(nn.Module):
    """`cross_attention`: each branch takes up its own channels, the more, the smaller their
    products with the other's.

    E = A B^T, with A and B flattened over positions; a <- a + gamma * softmax(-E) A and
    b <- b + gamma * softmax(-E^T) B. The *smallest* product gets the largest weight, as in the
    authors' implementation. `gamma` starts at 0, so that the interaction begins as `none`.
    With `scaled` (not in the paper) E is divided by the root of the number of positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.scaled = False

    def attention(self, a: Tensor, b: Tensor) -> Branches:
        """Both attentions, N x C x C, rows summing to 1."""
        energy = a.flatten(2) @ b.flatten(2).transpose(1, 2)  # N x C x C
        if self.scaled:
            energy = energy / (a.shape[2] * a.shape[3]) ** 0.5
        return torch.softmax(-energy, dim=2), torch.softmax(-energy.transpose(1, 2), dim=2)

    def forward(self, a: Tensor, b: Tensor) -> Branches:
        attention_a, attention_b = self.attention(a, b)
        gamma = self.gamma.to(a.dtype)  # or it would widen maps of bf16
        return a + gamma * mix_channels(attention_a, a), b + gamma * mix_channels(attention_b, b)


def mix_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """Each image's channels as sums of its channels; N x C x C, N x C x H x W -> N x C x H x W.

    Written over rows of channels, which where a position's channels lie side by side is a view.
    """
    rows = x.flatten(2).transpose(1, 2)  # N x M x C
    return (rows @ matrix.transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])


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


_MAKERS: dict[str, Maker] = {
    "none": lambda channels: NoInteraction(),
    "channel_gate": ChannelGate,
    "cross_attention": lambda channels: CrossAttention(),
    "exchange": lambda channels: Exchange(),
}
_OWN = frozenset(_MAKERS)  # of the method; further ones are registered


def register_operation(name: str) -> Callable[[Registered], Registered]:
    """Decorator: an operation of your own, from then on part of the search space.

    For a function `(a, b) -> (a, b)` on branches of N x C x H x W, or for a module class made with
    the number of channels whose `forward` does that. Supernets made afterwards have a column for
    it; runs made with it need it registered when they are read. It must not change its inputs in
    place. What it gives is checked: a `ReidError` names it unless that is two tensors of the
    branches' shapes, and says the line where it fails.

        @register_operation("average")
        def average(a, b):
            return (a + b) / 2, (a + b) / 2
    """

    def register(operation: Registered) -> Registered:
        made: Maker
        if inspect.isclass(operation) and issubclass(operation, nn.Module):
            made = operation
        elif callable(operation) and not inspect.isclass(operation):
            made = partial(_as_module, operation)
        else:
            raise ReidError(
                f"operation {name!r} is neither a function of both branches nor a module class"
            )
        OPERATIONS.add(name, operation.__module__)
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
    if name in _OWN:
        module = _MAKERS[name](channels)
    else:
        module = _called(name, _MAKERS[name], channels)
        module.forward = partial(_called, name, module.forward)
        module.register_forward_pre_hook(_remember_versions)
        module.register_forward_hook(partial(_check_outputs, name))
    return module


def _as_module(function: Callable[[Tensor, Tensor], Branches], channels: int) -> nn.Module:
    return FunctionInteraction(function)


def _called(name: str, work: Callable[..., Any], *inputs: Any) -> Any:
    """What an operation of a user's gives; `ReidError` with the line where it fails."""
    try:
        return work(*inputs)
    except Exception as error:
        if isinstance(error, ReidError | MemoryError | torch.OutOfMemoryError):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        last = [frame for frame in frames if "torch" not in Path(frame.filename).parts][-1]
        reason = (str(error).splitlines() or [""])[0]
        raise ReidError(
            f"operation {name!r} fails in line {last.lineno} of {last.filename}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def _remember_versions(module: nn.Module, inputs: Branches) -> None:
    module._versions = _versions(inputs)  # type: ignore[assignment]


def _versions(branches: Branches) -> list[int]:
    """How often each branch was changed in place, where torch counts it."""
    if torch.compiler.is_compiling():
        return []
    return [0 if branch.is_inference() else branch._version for branch in branches]


def _check_outputs(name: str, module: nn.Module, inputs: Branches, outputs: object) -> None:
    """`ReidError` unless an operation of a user's left the branches as they were, and gave two
    tensors that may stand in their place.
    """
    if _versions(inputs) != module._versions:
        raise ReidError(
            f"operation {name!r} changed its branches in place, which the other operations see "
            "too; let it give new tensors"
        )
    expected, what = [_form(branch) for branch in inputs], f"a {type(outputs).__name__}"
    if isinstance(outputs, tuple | list) and all(isinstance(out, Tensor) for out in outputs):
        found = [_form(out) for out in outputs]
        if found == expected:
            return
        what = " and ".join(found) or f"an empty {type(outputs).__name__}"
    raise ReidError(
        f"operation {name!r} must give both branches back, as {' and '.join(expected)}; "
        f"it gave {what}"
    )


def _form(tensor: Tensor) -> str:
    """Shape, device and type, but for the width of floating-point numbers under autocast."""
    where = tensor.device.type
    known = torch.amp.is_autocast_available(where) and torch.is_autocast_enabled(where)
    wide = tensor.is_floating_point() and known
    kind = "floats" if wide else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} of {tuple(tensor.shape)} on {tensor.device}"
