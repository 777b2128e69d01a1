"""How large a network is: parameters and multiply-adds, stage by stage."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msinet_core.models.msinet import MSINet
from msinet_core.models.supernet import Supernet
from msinet_core.space import CELLS_PER_STAGE, NUM_STAGES

# In training only, so not part of what is deployed and compared in the literature.
TRAINING_ONLY = ("classifier", "part_classifier", "learned_map", "alphas")


def describe(model: MSINet | Supernet, height: int = 256, width: int = 128) -> pd.DataFrame:
    """Rows: stem, the stages, the down-samplers, the heads, total. Columns: parameters,
    multiply_adds.

    Multiply-adds are of one image of `height` x `width`, forward, necks included. The total leaves
    out what only training uses (classifiers, learned map, alpha), which has a row of its own.
    """
    counted = _multiply_adds(model, height, width)
    names = {name for name, _ in model.named_parameters()}
    rows = {}
    for part, prefixes in _parts(model).items():
        own = [n for n in names if n.startswith(tuple(f"{p}." for p in prefixes))]
        rows[part] = (
            sum(model.get_parameter(n).numel() for n in own),
            sum(counted.get(p, 0) for p in prefixes),
        )
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["parameters", "multiply_adds"])
    table.loc["total"] = table.sum()
    training = sum(
        p.numel() for n, p in model.named_parameters() if n.split(".")[0] in TRAINING_ONLY
    )
    table.loc["training only"] = (training, 0)
    return table.rename_axis("part")


def _parts(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The modules that make up each row."""
    parts: dict[str, tuple[str, ...]] = {"stem": ("trunk.stem",)}
    for stage in range(NUM_STAGES):
        cells = range(stage * CELLS_PER_STAGE, (stage + 1) * CELLS_PER_STAGE)
        parts[f"stage {stage + 1}"] = tuple(f"trunk.cells.{cell}" for cell in cells)
        if stage < NUM_STAGES - 1:
            parts[f"down-sampler {stage + 1}"] = (f"trunk.downs.{stage}",)
    if isinstance(model, MSINet):
        parts["global neck"] = ("neck",)
        parts["part branch"] = ("part_conv", "part_neck")
    return parts


class _Embedding(nn.Module):
    """All that retrieval computes, as one forward pass."""

    def __init__(self, model: MSINet | Supernet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return (
            self.model.embed(images, after_necks=True)
            if isinstance(self.model, MSINet)
            else self.model(images)
        )


def _multiply_adds(model: MSINet | Supernet, height: int, width: int) -> dict[str, int]:
    """Multiply-adds by module name, for one image."""
    was_training = model.training
    images = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _Embedding(model.eval())(images)
    model.train(was_training)
    # A multiply-add is two floating-point operations.
    return {
        name.removeprefix("_Embedding.model."): sum(operations.values()) // 2
        for name, operations in counter.get_flop_counts().items()
    }
