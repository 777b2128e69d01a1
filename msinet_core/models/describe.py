"""How large a network is: parameters and multiply-adds, part by part."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msinet_core.models.blocks import Trunk
from msinet_core.models.networks import ReidNetwork
from msinet_core.space import CELLS_PER_STAGE, NUM_STAGES

# In training only, so not part of what is deployed and compared in the literature.
TRAINING_ONLY = ("classifier", "part_classifier", "learned_map", "alphas")


def describe(model: nn.Module, height: int = 256, width: int = 128) -> pd.DataFrame:
    """A row for each part, then total. Columns: parameters, multiply_adds.

    Parts are stem, stages, down-samplers and heads of MSINet and the supernet; of another trunk
    its own children, of any other module likewise. Multiply-adds are of one image of `height` x
    `width`, forward, necks included. The total leaves out what only training uses (classifiers,
    learned map, alpha), which has a row of its own.
    """
    counted = _multiply_adds(model, height, width)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    training = sum(size for name, size in sizes.items() if name.split(".")[0] in TRAINING_ONLY)
    rows = {
        part: (
            sum(size for name, size in sizes.items() if name.startswith(_within(prefixes))),
            sum(counted.get(prefix, 0) for prefix in prefixes),
        )
        for part, prefixes in _parts(model).items()
    }
    total = sum(sizes.values()) - training, counted[""]
    parameters, multiply_adds = map(sum, zip(*rows.values(), strict=True))
    rest = total[0] - parameters, total[1] - multiply_adds
    if any(rest):  # such as the position embedding of a transformer
        rows["rest"] = rest
    rows |= {"total": total, "training only": (training, 0)}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["parameters", "multiply_adds"])
    return table.rename_axis("part")


def _within(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}." for prefix in prefixes)


def _parts(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The modules that make up each row."""
    trunk = getattr(model, "trunk", None)
    parts: dict[str, tuple[str, ...]] = {}
    if isinstance(trunk, Trunk):
        parts = _stages()
    elif isinstance(model, ReidNetwork):
        inner = "trunk.network" if hasattr(model.trunk, "network") else "trunk"
        children = _children(model.get_submodule(inner))
        parts = {name: (f"{inner}.{name}",) for name in children}
    else:
        return {name: (name,) for name in _children(model)}
    if isinstance(model, ReidNetwork):
        parts |= {"global neck": ("neck",), "part branch": ("part_conv", "part_neck")}
    return parts


def _stages() -> dict[str, tuple[str, ...]]:
    parts: dict[str, tuple[str, ...]] = {"stem": ("trunk.stem",)}
    for stage in range(NUM_STAGES):
        cells = range(stage * CELLS_PER_STAGE, (stage + 1) * CELLS_PER_STAGE)
        parts[f"stage {stage + 1}"] = tuple(f"trunk.cells.{cell}" for cell in cells)
        if stage < NUM_STAGES - 1:
            parts[f"down-sampler {stage + 1}"] = (f"trunk.downs.{stage}",)
    return parts


def _children(module: nn.Module) -> Iterator[str]:
    """Names of the children that compute something; a list of modules counts as its entries."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            yield from (f"{name}.{entry}" for entry, _ in child.named_children())
        else:
            yield name


class _Embedding(nn.Module):
    """All that retrieval computes, as one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.model, ReidNetwork):
            return self.model.embed(images, after_necks=True)
        return self.model(images)


def _multiply_adds(model: nn.Module, height: int, width: int) -> dict[str, int]:
    """Multiply-adds of one image by module name; "" is the whole."""
    was_training = model.training
    images = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _Embedding(model.eval())(images)
    model.train(was_training)
    counted = {
        name.removeprefix("_Embedding.model").removeprefix("."): sum(operations.values()) // 2
        for name, operations in counter.get_flop_counts().items()
        if name.startswith("_Embedding.model")
    }
    return {"": counter.get_total_flops() // 2, **counted}  # a multiply-add is two operations
