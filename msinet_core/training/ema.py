"""The moving average of a network's weights, which `--ema` scores and keeps."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """A copy of `model` whose weights follow it: average <- decay * average + (1 - decay) * weight,
    once a step; the first step is taken whole.

    The running statistics of the batch norms are averaged alike, so that they stay those of the
    weights beside them and no further pass over the data is needed. (torch's `AveragedModel` counts
    its steps on the processor, which a step that is replayed on a GPU must not ask.)
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model, self.network = model, copy.deepcopy(model)
        self.average, self.is_first = get_ema_multi_avg_fn(decay), True

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimiser."""
        mine, theirs = _tensors(self.network), _tensors(self.model)
        numbers = [n for n, x in enumerate(mine) if x.is_floating_point() and not self.is_first]
        if numbers:
            self.average([mine[n] for n in numbers], [theirs[n] for n in numbers], torch.empty(0))
        for number in set(range(len(mine))).difference(numbers):  # counters, and all at first
            mine[number].copy_(theirs[number])
        self.is_first = False

    def state_dict(self) -> dict[str, Any]:
        """What the average does not say itself: the weights that it follows, and whether any step
        is in it.
        """
        return {"model": self.model.state_dict(), "steps": int(not self.is_first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.is_first = not state["steps"]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in model.parameters()), *model.buffers()]
