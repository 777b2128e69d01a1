"""The moving average of a network's weights, which `--ema` scores and keeps."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """A copy of `model` whose weights follow it: average <- decay * average + (1 - decay) * weight,
    once a step; the first step is taken whole.

    The running statistics of the batch norms are averaged alike, so that they stay those of the
    weights beside them and no further pass over the data is needed.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = model
        self.averaged = AveragedModel(
            model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )

    @property
    def network(self) -> Network:
        return cast(Network, self.averaged.module)

    def update(self) -> None:
        """After a step of the optimiser."""
        self.averaged.update_parameters(self.model)

    def state_dict(self) -> dict[str, Any]:
        """What the average does not say itself: the weights that it follows, and their steps."""
        return {"model": self.model.state_dict(), "steps": int(self.averaged.n_averaged)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        steps: Tensor = self.averaged.n_averaged
        steps.fill_(state["steps"])
