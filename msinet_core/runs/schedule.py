"""Learning rates over time.

A rate depends on nothing but the configuration and the place in the run, so no schedule is saved:
one that is made anew and moved to a place gives the rates that it would have had there. That is
also what a run made longer on resume means: from there on it has the rates of the longer plan.
"""

from __future__ import annotations

import math
import warnings
from typing import Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, LRScheduler, MultiStepLR

from msinet_core.config import PAPER_WARMUP


class RateOverTime(Protocol):
    """What moves an optimiser's learning rates."""

    def move_to(self, place: float) -> None:
        """Set the rates for the step at `place`, in epochs from the start; time only goes on."""


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
        from_the_start(optimizer)
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


class Cosine:
    """Linear warm-up from a hundredth of the rate, then half a cosine down to 0 at the end; moved
    in every step.
    """

    def __init__(self, optimizer: Optimizer, epochs: float, warmup: float) -> None:
        from_the_start(optimizer)
        self.optimizer, self.epochs, self.warmup = optimizer, epochs, warmup
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.move_to(0.0)

    def factor(self, place: float) -> float:
        """Share of the full rate at a place, in epochs from the start."""
        if place < self.warmup:
            return 0.01 + 0.99 * place / self.warmup
        done = (place - self.warmup) / max(self.epochs - self.warmup, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def move_to(self, place: float) -> None:
        """Set the rates for the step at `place`, in epochs from the start."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.factor(place)


def from_the_start(optimizer: Optimizer) -> None:
    """The rates that the optimiser was made with, whatever it has been through since."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"])
