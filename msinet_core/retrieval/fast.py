"""MSINet for inference only: the same function of the same weights, in fewer and larger steps.

What makes it fast on a processor: batch norms are folded into the convolutions before them;
pictures stay channels-last, so that a 1x1 convolution is one matrix product over rows of channels;
both branches' first 1x1 convolutions are one product, and a cell's two output convolutions and its
shortcut accumulate into one result; a batch is cut so that the activations stay in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.models.blocks import Cell, ConvNorm, Light3x3
from msinet_core.models.interactions import ChannelGate, CrossAttention, Exchange, NoInteraction
from msinet_core.models.msinet import NUM_PARTS, Neck
from msinet_core.space import CELLS_PER_STAGE

CACHED_PIXELS = 16 * 128 * 64  # per part of a batch; on a processor larger ones cost memory traffic


def folded(weight: Tensor, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight (outputs first) and bias of a bias-free layer together with the batch norm behind it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    bias = norm.bias.double() - norm.running_mean.double() * scale
    shape = (-1,) + (1,) * (weight.dim() - 1)
    return (weight.double() * scale.view(shape)).float(), bias.float()


class _Fixed(nn.Module):
    """Holds tensors that move with the module, under their names."""

    def hold(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone().contiguous())


class _Pointwise(_Fixed):
    """1x1 convolution and norm: N x inputs x H x W -> N x outputs x H x W, channels-last."""

    weight: Tensor
    bias: Tensor

    def __init__(self, *layers: ConvNorm) -> None:
        """Several layers with the same input are put side by side."""
        super().__init__()
        parts = [folded(layer.conv.weight, layer.norm) for layer in layers]
        self.hold(weight=torch.cat([w for w, _ in parts]), bias=torch.cat([b for _, b in parts]))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias)


class _Light(_Fixed):
    """A light 3x3: product over channels, then depthwise 3x3 with the norm folded in, ReLU."""

    point: Tensor
    depth: Tensor
    bias: Tensor

    def __init__(self, layer: Light3x3) -> None:
        super().__init__()
        depth, bias = folded(layer.depthwise.weight, layer.norm)
        self.hold(point=layer.pointwise.weight.flatten(1).T, depth=depth, bias=bias)

    def forward(self, x: Tensor, shape: tuple[int, int, int]) -> Tensor:
        picture = _as_picture(x @ self.point, shape)
        picture = functional.conv2d(
            picture, self.depth, self.bias, padding=1, groups=len(self.depth)
        )
        return _as_rows(picture.relu_())


def _as_picture(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(N * H * W) x C -> N x C x H x W, channels-last, without a copy."""
    return rows.view(*shape, rows.shape[1]).permute(0, 3, 1, 2)


def _as_rows(picture: Tensor) -> Tensor:
    """N x C x H x W -> (N * H * W) x C, without a copy if channels-last."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


class _Gate(_Fixed):
    squeeze: Tensor
    squeeze_bias: Tensor
    excite: Tensor
    excite_bias: Tensor

    def __init__(self, layer: ChannelGate) -> None:
        super().__init__()
        assert layer.squeeze.bias is not None
        assert layer.excite.bias is not None
        self.hold(
            squeeze=layer.squeeze.weight.flatten(1).T,
            squeeze_bias=layer.squeeze.bias,
            excite=layer.excite.weight.flatten(1).T,
            excite_bias=layer.excite.bias,
        )

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        pooled = torch.cat((a.mean(1), b.mean(1)))  # 2N x C
        hidden = torch.addmm(self.squeeze_bias, pooled, self.squeeze).relu_()
        gate_a, gate_b = (
            torch.addmm(self.excite_bias, hidden, self.excite).sigmoid_()[:, None].chunk(2)
        )
        return a.mul_(gate_a), b.mul_(gate_b)


class _Attention(nn.Module):
    def __init__(self, layer: CrossAttention) -> None:
        super().__init__()
        self.gamma = float(layer.gamma.detach())

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if self.gamma == 0:
            return a, b
        energy = (
            a.float().transpose(1, 2) @ b.float()
        )  # N x C x C; half precision is too coarse for an exponent
        one = torch.softmax(-energy, dim=2).to(a.dtype)
        two = torch.softmax(-energy.transpose(1, 2), dim=2).to(a.dtype)
        return self._mix(a, one), self._mix(b, two)

    def _mix(self, x: Tensor, attention: Tensor) -> Tensor:
        return torch.baddbmm(x, x, attention.transpose(1, 2), alpha=self.gamma)


class _Swap(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return b, a


class _Keep(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a, b


def _interaction(layer: nn.Module) -> nn.Module:
    """The same interaction on branches of N x P x C, P positions."""
    if isinstance(layer, ChannelGate):
        return _Gate(layer)
    if isinstance(layer, CrossAttention):
        return _Attention(layer)
    return _Swap() if isinstance(layer, Exchange) else _Keep()


class _FastCell(_Fixed):
    bias: Tensor
    expand_a: Tensor
    expand_b: Tensor

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.reduce = _Pointwise(cell.reduce_a, cell.reduce_b)
        self.shortcut = _Pointwise(cell.shortcut) if isinstance(cell.shortcut, ConvNorm) else None
        self.firsts = nn.ModuleList([_Branch(cell.first_a), _Branch(cell.first_b)])
        self.seconds = nn.ModuleList([_Branch(cell.second_a), _Branch(cell.second_b)])
        self.slots = nn.ModuleList(_interaction(slot) for slot in cell.slots)
        a, b = (
            folded(layer.conv.weight.flatten(1), layer.norm)
            for layer in (cell.expand_a, cell.expand_b)
        )
        self.hold(expand_a=a[0].T, expand_b=b[0].T, bias=a[1] + b[1])
        if self.shortcut is not None:  # its convolution adds the sum of all three at no cost
            self.shortcut.bias += self.bias

    def forward(self, picture: Tensor) -> Tensor:
        """N x C x H x W in and out, channels-last. `picture` may be overwritten."""
        count, _, height, width = picture.shape
        shape = (count, height, width)
        a, b = _as_rows(self.reduce(picture).relu_()).chunk(2, dim=1)
        for branches, slot in zip((self.firsts, self.seconds), self.slots, strict=True):
            a, b = branches[0](a, shape), branches[1](b, shape)
            a, b = slot(*(part.view(count, height * width, -1) for part in (a, b)))
            a, b = a.flatten(0, 1), b.flatten(0, 1)
        x = _as_rows(
            picture.add_(self.bias[:, None, None])
            if self.shortcut is None
            else self.shortcut(picture)
        )
        return _as_picture(x.addmm_(a, self.expand_a).addmm_(b, self.expand_b).relu_(), shape)


class _Branch(nn.Module):
    """One light 3x3, or several in a row: rows in, rows out."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Light(layer) for layer in layers.modules() if isinstance(layer, Light3x3)
        )

    def forward(self, x: Tensor, shape: tuple[int, int, int]) -> Tensor:
        for layer in self.layers:
            x = layer(x, shape)
        return x


class _FastNeck(_Fixed):
    weight: Tensor
    bias: Tensor

    def __init__(self, neck: Neck) -> None:
        super().__init__()
        weight, bias = folded(neck.linear.weight, neck.norm)
        self.hold(weight=weight, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class FastMSINet(_Fixed):
    """An `MSINet` frozen as it is now: images N x 3 x H x W -> features N x (c3 + 256), float32.

    Later changes of the model's weights do not reach it. In float32 features agree with the model's
    to about 1e-6; `.to(torch.bfloat16)` halves the traffic where the device computes in bfloat16.
    """

    stem: Tensor
    stem_bias: Tensor
    part: Tensor
    part_bias: Tensor

    def __init__(self, model: MSINet) -> None:
        super().__init__()
        trunk = model.trunk
        stem, stem_bias = folded(trunk.stem.conv.weight, trunk.stem.norm)
        assert model.part_conv.bias is not None
        self.hold(
            stem=stem,
            stem_bias=stem_bias,
            part=model.part_conv.weight.flatten(1),
            part_bias=model.part_conv.bias,
        )
        self.cells = nn.ModuleList(_FastCell(cell) for cell in trunk.cells)  # type: ignore[arg-type]
        self.downs = nn.ModuleList(_Pointwise(down[0]) for down in trunk.downs)  # type: ignore[index]
        self.neck, self.part_neck = _FastNeck(model.neck), _FastNeck(model.part_neck)
        self.feature_length = model.feature_length
        self.eval().to(model.part_conv.weight.device)

    @torch.inference_mode()
    def embed(self, images: Tensor, after_necks: bool = False) -> Tensor:
        """Retrieval features, before the necks or after them."""
        images = images.to(self.stem.dtype)
        most = len(images)
        if images.device.type == "cpu":
            most = max(1, CACHED_PIXELS // (images.shape[2] * images.shape[3]))
        return torch.cat([self._embed(part, after_necks) for part in images.split(most)]).float()

    forward = embed

    def _embed(self, images: Tensor, after_necks: bool) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        x = functional.conv2d(images, self.stem, self.stem_bias, stride=2, padding=3)
        x = functional.max_pool2d(
            x, 3, stride=2, padding=1
        ).relu_()  # the larger of two is, before ReLU or after
        part = x
        for index, cell in enumerate(self.cells):
            x = cell(x)
            stage, place = divmod(index, CELLS_PER_STAGE)
            if place == CELLS_PER_STAGE - 1 and stage < len(self.downs):
                x = functional.avg_pool2d(self.downs[stage](x).relu_(), 2, stride=2)
                part = functional.adaptive_avg_pool2d(
                    x, (NUM_PARTS, 1)
                )  # now: the next cell may overwrite x
        # A 1x1 convolution and an average may change places: N x parts x c2 -> N x parts x 128.
        parts = functional.linear(
            part.squeeze(3).transpose(1, 2), self.part, self.part_bias
        ).flatten(1)
        whole = x.mean(dim=(2, 3))
        if after_necks:
            whole, parts = self.neck(whole), self.part_neck(parts)
        return torch.cat((whole, parts), dim=1)


def _has_fast_form(model: MSINet) -> bool:
    """Whether every slot holds one of the method's own interactions; others are computed as they
    are.
    """
    known = (ChannelGate, CrossAttention, Exchange, NoInteraction)
    slots = [slot for cell in model.trunk.cells for slot in cell.slots]  # type: ignore[union-attr]
    return all(type(slot) in known and not getattr(slot, "scaled", False) for slot in slots)


def fast(model: nn.Module, precision: str = "float32") -> nn.Module:
    """The model's fast form for embedding, at `float32` or `bfloat16`; models other than MSINet as
    they are.
    """
    if precision not in ("float32", "bfloat16"):
        raise ReidError(f"precision is float32 or bfloat16, not {precision!r}")
    if type(model) is MSINet and _has_fast_form(model):
        model = FastMSINet(model)
    elif precision == "bfloat16" and not isinstance(model, FastMSINet):
        raise ReidError(
            f"bfloat16 is offered for MSINet only; embed {type(model).__name__} in float32"
        )
    return model.to(torch.bfloat16) if precision == "bfloat16" else model
