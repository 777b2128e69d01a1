"""Learning rates over time."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, LRScheduler, MultiStepLR

from msinet_core.config import PAPER_WARMUP


class Schedule:
    """A learning rate over time: ten stairs of linear warm-up from a hundredth, a tenth at every
    milestone.

    Time is counted in ticks, which are the paper's epochs: a shorter run passes several of them in
    one of its own, so that its rates are the paper's, scaled. `milestones` are ticks; a `warmup`
    takes ten.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: tuple[int, ...],
        ticks_per_epoch: float = 1.0,
        warmup: bool = False,
    ) -> None:
        steps: list[LRScheduler] = [MultiStepLR(optimizer, list(milestones), gamma=0.1)]
        if warmup:
            steps.append(LinearLR(optimizer, start_factor=0.01, total_iters=PAPER_WARMUP))
        self.ticks_per_epoch = ticks_per_epoch
        self.ticks, self.schedule = 0, ChainedScheduler(steps)

    def move_to(self, place: float) -> None:
        """Set the rates for the step at `place`, in epochs from the start; time only goes on."""
        # of a tick before the first step, which short runs may have
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while self.ticks < int(place * self.ticks_per_epoch + 1e-9):
                self.schedule.step()
                self.ticks += 1

    def state_dict(self) -> dict[str, Any]:
        return {"ticks": self.ticks, "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ticks = state["ticks"]
        self.schedule.load_state_dict(state["schedule"])
