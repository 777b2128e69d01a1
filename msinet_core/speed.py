"""Speed, from outside of the models: where and how a network computes, and nothing of what.

The models are plain PyTorch and know nothing of this file. `accelerate` makes a network ready for
training on a device; `autocast`, `tf32`, `deterministic`, `make_optimizer` and what `replay.py` has
are what a run does beside it; `fold_for_inference` is a network's form for evaluation.
"""

from __future__ import annotations

import copy
import ctypes
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.optim import SGD, AdamW, Optimizer

from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models.blocks import Cell, ConvNorm, Light3x3
from msinet_core.models.interactions import Branches, CrossAttention
from msinet_core.models.networks import Neck, ReidNetwork

Network = TypeVar("Network", bound=nn.Module)

CACHED_PIXELS = 16 * 128 * 64  # per part of a batch; on a CPU larger ones cost memory traffic


def choose_device(name: str, own: torch.device | None = None) -> torch.device:
    """`auto` takes what `torch.accelerator` offers (CUDA, ROCm under CUDA's name, Apple's mps, xpu)
    and otherwise the processor; of several processes each has its `own`.

    `ReidError` for a device that is not there.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return own or found or torch.device("cpu")
    if name != "cpu" and (found is None or found.type != name):
        there = "cpu" if found is None else f"{found.type} or cpu"
        raise ReidError(
            f"no usable device was found for --device {name}; use --device auto, {there}"
        )
    if own is not None and own.type != name:
        raise ReidError(
            f"several processes compute on {own.type} here, not on --device {name}; use --device "
            "auto, or start a single process"
        )
    return own or torch.device(name)


def device_name(device: torch.device) -> str:
    """What its driver calls a GPU (`NVIDIA H100`); `mps` and `cpu` as they are."""
    tell = getattr(getattr(torch, device.type), "get_device_name", None)
    return str(tell(device)) if tell else device.type


# -- training ------------------------------------------------------------------------------------


def accelerate(model: Network, device: torch.device, config: RunConfig) -> Network:
    """The model on its device, ready to be trained as fast as it can be there.

    Channels-last, which is what convolutions on CPUs and GPUs are fastest with; compiled for the
    batches that this run will bring, where `config.compile` asks for it.
    """
    model = channels_last(model.to(device))
    if config.compile:
        images = torch.zeros(config.batch_size, 3, config.height, config.width, device=device)
        with tf32(config, device), autocast(config, device):
            compile_network(model, images)
    return model


def channels_last(model: Network) -> Network:
    """The model with its weights in that layout; whatever enters it takes the layout over."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def replays(config: RunConfig, device: torch.device) -> bool:
    """Whether steps are recorded and replayed: where CUDA graphs exist, unless `speed` is eager."""
    return config.speed == "auto" and device.type == "cuda"


def precision_of(config: RunConfig, device: torch.device) -> str:
    """What `precision` auto comes to: bf16 on a CUDA GPU that computes in it (Ampere and newer),
    else float32.
    """
    if config.precision != "auto":
        return config.precision
    fast = replays(config, device) and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def in_words(config: RunConfig, device: torch.device) -> str:
    """Where and how a run computes, in a line for its log and whoever watches."""
    if device.type == "cpu":
        count = torch.get_num_threads()
        place = f"cpu with {count} thread{'s' * (count > 1)}"
    else:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        place = f"{device} ({name})" if name else str(device)
    said = [place, precision_of(config, device)]
    if config.compile:
        said.append("compiled")
    if replays(config, device):
        said.append("steps replayed as CUDA graphs (--speed eager turns that and auto bf16 off)")
    if config.deterministic:
        said.append("deterministic")
    return ", ".join(said)


@contextmanager
def autocast(config: RunConfig, device: torch.device) -> Iterator[None]:
    """bf16 arithmetic where the configuration asks for it."""
    # A recorded pass must round the weights itself, as they will have moved when it is replayed.
    cached = device.type != "cuda"
    wanted = precision_of(config, device) == "bf16"
    with torch.autocast(device.type, torch.bfloat16, wanted, cached):
        yield


@contextmanager
def arithmetic(config: RunConfig, device: torch.device) -> Iterator[None]:
    """`tf32` and `deterministic` as a run's configuration asks for them."""
    with tf32(config, device), deterministic(config.deterministic):
        yield


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """For as long as it lasts torch takes algorithms that give the same bits each time; of what has
    none, torch warns.
    """
    if not wanted:
        yield
        return
    # cuBLAS reads it when it is first used; without it some products are refused
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=warned)
        torch.backends.cudnn.deterministic = before[1]


@contextmanager
def tf32(config: RunConfig | None = None, device: torch.device | None = None) -> Iterator[None]:
    """For as long as it lasts, a GPU rounds the factors of float32 products to TF32 (10 bits of
    mantissa for 23) if the configuration asks for it, and does not otherwise.

    Of matrices and of convolutions alike; torch by itself rounds in convolutions only.
    """
    allowed = config is not None and config.precision == "tf32"
    allowed = allowed and (device is None or device.type == "cuda")
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: SearchConfig | TrainConfig
) -> Optimizer:
    """The optimiser of the weights; where torch can, it moves all of them in one go."""
    make = {"sgd": make_sgd, "adamw": make_adamw}[config.optimizer]
    return make(parameters, config)


def make_sgd(parameters: Iterable[nn.Parameter], config: SearchConfig | TrainConfig) -> SGD:
    """SGD with momentum, of what has a gradient."""
    moved = [parameter for parameter in parameters if parameter.requires_grad]
    return SGD(
        moved,
        config.learning_rate,
        config.momentum,
        weight_decay=config.weight_decay,
        fused=fusible(moved),
    )


def make_adamw(parameters: Iterable[nn.Parameter], config: SearchConfig | TrainConfig) -> AdamW:
    """AdamW, whose weight decay is apart from the gradient; the momentum is its first beta."""
    moved = [parameter for parameter in parameters if parameter.requires_grad]
    return AdamW(
        moved,
        config.learning_rate,
        (config.momentum, 0.999),
        weight_decay=config.weight_decay,
        fused=fusible(moved),
        capturable=all(parameter.is_cuda for parameter in moved),
    )


def fusible(parameters: list[nn.Parameter]) -> bool:
    """Whether torch can move all of them in one go, which is also what can be replayed."""
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


def compile_network(model: nn.Module, images: Tensor, backend: str = "inductor") -> bool:
    """Compile `model` in place for batches like `images` (N x 3 x H x W), if this machine can.

    One pass forward and backward is tried at once; it leaves no trace in the running statistics,
    and a failure leaves the model eager. Gives whether it worked; where it did not, one warning
    says why. Shapes are taken as fixed, which saves compiling for sizes that never come. Of our own
    networks the cells are compiled, one by one: nearly all of the work is there, and starting takes
    a fraction of what one program of the whole network takes.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cells: list[nn.Module] = [module for module in model.modules() if isinstance(module, Cell)]
    regions = cells or [model]
    for region in regions:
        region.compile(dynamic=False, backend=backend)
    try:
        _anything(model(images)).backward()
    except Exception as error:  # whatever a compiler throws: training goes on without it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f"torch.compile does not work here, so the network runs uncompiled: {reason[0]}",
            stacklevel=2,
        )
        torch.compiler.reset()
        for region in regions:
            region._compiled_call_impl = None  # what torch itself does to a module that it copies
        return False
    finally:
        model.zero_grad()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
    return True


def _anything(output: object) -> Tensor:
    """A scalar that depends on everything that came out."""
    if isinstance(output, Tensor):
        return output.float().mean()
    assert isinstance(output, tuple)
    return torch.stack([_anything(part) for part in output if isinstance(part, Tensor)]).sum()


def keep_freed_memory() -> bool:
    """Let the C library keep what was freed, instead of handing each large tensor back to the
    system.

    On a CPU a new large tensor otherwise costs a page fault for every 4 KB, time and again. Gives
    False where the library is not glibc; results never depend on it.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of that name
        return False
    one_arena, no_mapping, no_trimming = (-8, 1), (-3, 1 << 25), (-1, (1 << 31) - 1)
    # no bins of small pieces, which each large one that is freed would go through
    nothing_to_gather = (1, 0)
    options = one_arena, no_mapping, no_trimming, nothing_to_gather
    return all(set_option(*option) == 1 for option in options)


# -- evaluation ----------------------------------------------------------------------------------


def fold_for_inference(model: nn.Module, precision: str = "float32") -> nn.Module:
    """A copy of a `ReidNetwork` for evaluation: the same features to about 1e-6, several times
    faster; any other module as it is, in float32.

    `bfloat16` halves its traffic, where the device computes in that. Later changes of the model's
    weights do not reach the copy.
    """
    if precision not in ("float32", "bfloat16"):
        raise ReidError(f"precision is float32 or bfloat16, not {precision!r}")
    if not isinstance(model, ReidNetwork):
        if precision == "bfloat16":
            raise ReidError(
                "bfloat16 is offered for networks with ReID heads only; embed "
                f"{type(model).__name__} in float32"
            )
        return model
    folded = Folded(model)
    return folded.to(torch.bfloat16) if precision == "bfloat16" else folded


class Folded(nn.Module):
    """A network frozen as it is: images N x 3 x H x W -> features N x D, float32.

    Batch norms are folded into the layers before them, maps stay channels-last, and on a CPU a
    batch is cut so that they stay in the cache.
    """

    def __init__(self, model: ReidNetwork) -> None:
        super().__init__()
        self.network = channels_last(copy.deepcopy(model)).eval().requires_grad_(False)
        self.feature_length = model.feature_length
        for module in list(self.network.modules()):
            _fold(module)

    @torch.inference_mode()
    def embed(self, images: Tensor, after_necks: bool = False) -> Tensor:
        """Retrieval features, before the necks or after them."""
        most = len(images)
        if images.device.type == "cpu":
            most = max(1, CACHED_PIXELS // (images.shape[2] * images.shape[3]))
        kind = self.network.part_conv.weight.dtype
        parts = images.to(kind, memory_format=torch.channels_last).split(most)
        return torch.cat([self.network.embed(part, after_necks) for part in parts]).float()

    forward = embed


class FoldedCell(Cell):
    """Its two output convolutions add up in one map."""

    def leave(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        one, two = self.expand_a.conv, self.expand_b.conv
        assert one.bias is not None
        assert two.bias is not None
        y = torch.addmm(one.bias + two.bias, _rows(a), one.weight.flatten(1).T)
        y = y.addmm_(_rows(b), two.weight.flatten(1).T)  # NHW x C
        return _picture(y, x).add_(shortcut).relu_()


class FoldedAttention(CrossAttention):
    """With energies in float32, as half precision is too coarse for an exponent."""

    def attention(self, a: Tensor, b: Tensor) -> Branches:
        one, two = super().attention(a.float(), b.float())
        return one.to(a.dtype), two.to(a.dtype)


def _rows(x: Tensor) -> Tensor:
    """N x C x H x W -> NHW x C, a view where it is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    """NHW x C -> N x C x H x W, channels-last, a view."""
    return rows.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)


def _fold(module: nn.Module) -> None:
    """Fold a block's norm into the layer before it, or give it its form for inference."""
    if isinstance(module, ConvNorm):
        _fold_norm(module, module.conv, fuse_conv_bn_weights)
    elif isinstance(module, Light3x3):
        _fold_norm(module, module.depthwise, fuse_conv_bn_weights)
    elif isinstance(module, Neck):
        _fold_norm(module, module.linear, fuse_linear_bn_weights)
    elif type(module) is Cell:
        module.__class__ = FoldedCell
    elif type(module) is CrossAttention:
        module.__class__ = FoldedAttention


def _fold_norm(block: Any, layer: Any, fuse: Callable[..., tuple[Tensor, Tensor]]) -> None:
    norm = block.norm
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    layer.weight, layer.bias = fuse(layer.weight, layer.bias, *statistics)
    block.norm = nn.Identity()
