"""Where and how a run computes: device, precision, memory layout, threads."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn
from torch.optim import SGD

from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.errors import ReidError
from msinet_core.models.compiling import compile_network
from msinet_core.models.rounding import rounded_products
from msinet_core.runs.processes import ALONE, Processes


def choose_device(name: str, processes: Processes = ALONE) -> torch.device:
    """`auto` takes a GPU if there is one, of several processes each its own; `ReidError` for a GPU
    that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ReidError("no usable GPU was found (--device cuda); use --device cpu or auto")
    if processes.device is not None:
        return processes.device
    return torch.device(name)


def worker_threads(config: RunConfig, device: torch.device) -> int:
    """On a CPU a thread that prepares batches only takes the network's time."""
    if config.workers is not None:
        return config.workers
    return 4 if device.type == "cuda" else 0


def descent(parameters: Iterable[nn.Parameter], config: SearchConfig | TrainConfig) -> SGD:
    """The optimiser of the weights; where torch can, it moves all of them in one go."""
    moved = [parameter for parameter in parameters if parameter.requires_grad]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in moved)
    return SGD(moved, config.learning_rate, config.momentum, weight_decay=config.weight_decay, fused=fused)


@contextmanager
def autocast(config: RunConfig, device: torch.device) -> Iterator[None]:
    """bf16 arithmetic where the configuration asks for it."""
    # A recorded pass must round the weights itself, as they will have moved when it is replayed.
    cached = device.type != "cuda"
    with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16", cached):
        yield


def products_as_asked(config: RunConfig, device: torch.device) -> AbstractContextManager[None]:
    """For the time of a run: float32 products with TF32 factors, where the configuration asks for
    it and a GPU computes.
    """
    return rounded_products(config.precision == "tf32" and device.type == "cuda")


def memory_format(model: nn.Module) -> nn.Module:
    """Channels last: what convolutions on CPUs and GPUs are fastest with."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_if_asked(model: nn.Module, config: RunConfig, device: torch.device) -> None:
    """Compile the network for the batches that this run will bring, where `config.compile` asks for
    it.
    """
    if config.compile:
        images = torch.zeros(config.batch_size, 3, config.height, config.width, device=device)
        with autocast(config, device), products_as_asked(config, device):
            compile_network(model, images.contiguous(memory_format=torch.channels_last))


def keep_freed_memory() -> bool:
    """Let the C library keep what was freed, instead of handing each large tensor back to the
    system.

    On a CPU a new large tensor otherwise costs a page fault for every 4 KB, time and again. Gives
    False where the library is not glibc; results never depend on it.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    one_arena, no_mapping, no_trimming = (-8, 1), (-3, 1 << 25), (-1, (1 << 31) - 1)
    # no bins of small pieces, which each large one that is freed would go through
    nothing_to_gather = (1, 0)
    return all(set_option(*option) == 1 for option in (one_arena, no_mapping, no_trimming, nothing_to_gather))
