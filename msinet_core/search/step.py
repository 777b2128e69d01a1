"""The bilevel search step with twin memories: docs/method.md 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from msinet_core.models.supernet import Supernet
from msinet_core.runs import guards
from msinet_core.runs.processes import ALONE, Processes
from msinet_core.search.memory import ContrastiveMemory

Batch = tuple[Tensor, Tensor]  # images N x 3 x H x W, labels N
Gradients = list[Tensor | None]
# A batch's loss, its features (N x D), and the loss's gradient by each tensor asked for.
Passed = tuple[Tensor, Tensor, Sequence[Tensor | None]]
OnePass = Callable[[Supernet, ContrastiveMemory, Sequence[Tensor], Tensor, Tensor], Passed]


@dataclass(frozen=True)
class StepReport:
    """What one step did; norms are Euclidean."""

    train_loss: float
    validation_loss: float | None
    alpha_gradient: float | None
    weight_gradient: float

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


def one_pass(
    supernet: Supernet,
    memory: ContrastiveMemory,
    wanted: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
) -> Passed:
    """Images N x 3 x H x W through the supernet and a memory's loss, and back to `wanted` only."""
    features = supernet(images)  # N x D
    loss = memory.loss(features, labels)
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return loss.detach(), features.detach(), gradients


def bilevel_step(
    supernet: Supernet,
    weight_optimizer: Optimizer,
    alpha_optimizer: Optimizer,
    train_memory: ContrastiveMemory,
    validation_memory: ContrastiveMemory,
    train: Batch | list[Batch],
    validation: Batch | list[Batch] | None,
    *,
    leak_validation_gradient: bool = False,
    processes: Processes = ALONE,
    one_pass: OnePass = one_pass,
) -> StepReport:
    """One first-order step: alpha on the validation twin, then the weights on the train twin.

    The validation loss is differentiated with respect to alpha only and the train loss with
    respect to the weights only, so that validation images never train the weights. With
    `leak_validation_gradient` the validation loss's gradient is added to the weights' one, as the
    authors' code does. Without a validation batch only the weights move (first step of an epoch).

    Of a list of batches, and of the batches of several `processes`, gradients are averaged; the
    memories take in all of them afterwards, in order. A loss that is not finite raises
    `guards.NotFinite` before it has moved anything. `one_pass` replaces the function of that name.
    """
    alphas, weights = supernet.alphas, supernet.weight_parameters()
    validation_loss = alpha_gradient = None
    leaked: Gradients = [None] * len(weights)

    # 1. The validation batch moves alpha.
    if validation is not None:
        wanted = [alphas, *weights] if leak_validation_gradient else [alphas]
        passes = [one_pass(supernet, validation_memory, wanted, *b) for b in _listed(validation)]
        loss, (alphas.grad, *rest) = _means(passes)
        assert alphas.grad is not None
        processes.average([alphas.grad])
        values = {"validation_loss": loss, "alpha_gradient": float(alphas.grad.norm())}
        validation_loss, alpha_gradient = _finite(processes.mean(values)).values()
        alpha_optimizer.step()
        alphas.grad = None
        _remember(validation_memory, passes, _listed(validation), processes)
        leaked = rest or leaked

    # 2. The train batch moves the weights.
    passes = [one_pass(supernet, train_memory, weights, *batch) for batch in _listed(train)]
    loss, gradients = _means(passes)
    for weight, own, other in zip(weights, gradients, leaked, strict=True):
        weight.grad = _sum(own, other)
    moved = [weight.grad for weight in weights if weight.grad is not None]
    processes.average([*moved, *(b for b in supernet.buffers() if b.is_floating_point())])
    train_loss = processes.mean({"train_loss": loss})["train_loss"]
    weight_gradient = float(nn.utils.get_total_norm(moved))
    report = StepReport(train_loss, validation_loss, alpha_gradient, weight_gradient)
    _finite(report.values())
    weight_optimizer.step()
    weight_optimizer.zero_grad()
    _remember(train_memory, passes, _listed(train), processes)
    return report


def _listed(batches: Batch | list[Batch]) -> list[Batch]:
    return batches if isinstance(batches, list) else [batches]


def _means(passes: list[Passed]) -> tuple[float, Gradients]:
    """The loss and the gradients, averaged over the batches that were passed."""
    losses = [loss for loss, _, _ in passes]
    total: Gradients = list(passes[0][2])
    for _, _, gradients in passes[1:]:
        total = [_sum(old, new) for old, new in zip(total, gradients, strict=True)]
    if len(passes) > 1:
        total = [None if gradient is None else gradient / len(passes) for gradient in total]
    return float(torch.stack(losses).mean()), total


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Of two gradients, either of which may be missing."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _finite(values: dict[str, float]) -> dict[str, float]:
    guards.require_finite(values)
    return values


def _remember(
    memory: ContrastiveMemory, passes: list[Passed], batches: list[Batch], processes: Processes
) -> None:
    """Move the memory by all processes' features, in the order of ranks."""
    for (_, features, _), (_, labels) in zip(passes, batches, strict=True):
        memory.update(processes.all_gather(features), processes.all_gather(labels))
