"""Against collapse: what may be done to alpha beside the paper's recipe. Everything is off by
default.

A search collapses when most slots end with an operation that does nothing, because that one is the
easiest to train with. Each field of `SearchConfig` named here keeps the choice open for longer, or
lets it be made in the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from msinet_core.config import SearchConfig
from msinet_core.models.interactions import CrossAttention
from msinet_core.models.supernet import Supernet

DROPPED = -1e4  # alpha of a dropped operation: its softmax weight is exactly 0 in float32


class Steadying:
    """Acts on one search: `begin_step` before each step, `end_epoch` after each epoch, the rest by
    hooks.

    It holds no state beyond alpha itself and the step's place, so that a resumed search goes on
    alike.
    """

    def __init__(
        self, config: SearchConfig, supernet: Supernet, alpha_optimizer: Optimizer
    ) -> None:
        self.config, self.supernet = config, supernet
        self.penalty = 0.0
        alpha_optimizer.register_step_pre_hook(self._add_penalty)
        alpha_optimizer.register_step_post_hook(self._keep_dropped)

    def begin_step(self, epoch: int, step: int) -> bool:
        """Set temperature and penalty for a step of an epoch (both from 0); whether alpha may move
        in it.
        """
        self.supernet.temperature = temperature_at(self.config, epoch)
        self.penalty = penalty_at(self.config, epoch)
        return (
            epoch >= self.config.alpha_warmup_epochs and (step - 1) % self.config.alpha_every == 0
        )

    def end_epoch(self, epochs: int) -> None:
        """After `epochs` epochs: drop each slot's weakest operation if that is a milestone."""
        if epochs in self.config.drop_milestones:
            drop_weakest(self.supernet.alphas)

    def _add_penalty(self, *_: Any) -> None:
        alphas = self.supernet.alphas
        if self.penalty and alphas.grad is not None:
            with torch.enable_grad():
                value = self.penalty * mean_entropy(self.supernet.logits())
                alphas.grad += torch.autograd.grad(value, alphas)[0]

    @torch.no_grad()
    def _keep_dropped(self, *_: Any) -> None:
        alphas = self.supernet.alphas
        alphas.masked_fill_(alphas < DROPPED / 2, DROPPED)


def prepare(supernet: Supernet, config: SearchConfig) -> Supernet:
    """Initial gammas and scaled attention, as configured; draws nothing at random."""
    for module in supernet.modules():
        if isinstance(module, CrossAttention):
            module.scaled = config.scaled_attention
            if config.initial_gamma:
                torch.nn.init.constant_(module.gamma, config.initial_gamma)
    return supernet


def temperature_at(config: SearchConfig, epoch: int) -> float:
    """Of the softmax over alpha in an epoch (from 0): geometric from the first epoch's to the last
    one's.
    """
    start, end = config.alpha_temperature, config.alpha_temperature_end
    if end is None or config.epochs < 2:
        return start
    return float(start * (end / start) ** (min(epoch, config.epochs - 1) / (config.epochs - 1)))


def penalty_at(config: SearchConfig, epoch: int) -> float:
    """Weight of the entropy penalty in an epoch (from 0): constant, or rising from 0 after the
    warm-up.
    """
    if config.entropy_schedule == "constant":
        return config.entropy_penalty
    first, last = config.alpha_warmup_epochs, config.epochs - 1
    return config.entropy_penalty * min(1.0, max(0.0, (epoch - first) / max(1, last - first)))


def mean_entropy(logits: Tensor) -> Tensor:
    """Mean over the slots of the entropy of softmax(logits), in shares of the largest possible;
    scalar.
    """
    log = torch.log_softmax(logits, dim=1)
    return -(log.exp() * log).sum(1).mean() / torch.log(torch.tensor(float(logits.shape[1])))


@torch.no_grad()
def drop_weakest(alphas: Tensor) -> None:
    """In place: the smallest alpha of every slot that still has two operations is `DROPPED`."""
    for row in alphas:
        kept = row > DROPPED / 2
        if int(kept.sum()) > 1:
            row[int(torch.where(kept, row, float("inf")).argmin())] = DROPPED
