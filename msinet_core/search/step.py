"""The bilevel search step with twin memories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from msinet_core.models.supernet import Supernet
from msinet_core.runs import guards
from msinet_core.runs.processes import ALONE, Processes
from msinet_core.search.memory import ContrastiveMemory

Batch = tuple[Tensor, Tensor]  # images N x 3 x H x W, labels N
Passed = tuple[Tensor, Tensor, Sequence[Tensor | None]]
Pass = Callable[[ContrastiveMemory, Sequence[Tensor], float, Tensor, Tensor], Passed]


@dataclass(frozen=True)
class StepReport:
    """What one step did; norms are Euclidean."""

    train_loss: float
    validation_loss: float | None
    alpha_gradient: float | None
    weight_gradient: float

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


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
    one_pass: Pass | None = None,
) -> StepReport:
    """One first-order step: alpha on the validation twin, then the weights on the train twin.

    The validation loss is differentiated with respect to alpha only and the train loss with
    respect to the weights only, so that validation identities never train the weights. With
    `leak_validation_gradient` the validation loss's gradient is added to the weights' one, as the
    authors' code does. Without a validation batch only the weights move (first step of an epoch).

    Of a list of batches, and of the batches of several `processes`, gradients are averaged; the
    memories take in all of them afterwards, in order. A loss that is not finite raises
    `guards.NotFinite` before it has moved anything. `one_pass` replaces the function of that name.
    """
    weights, one_pass = supernet.weights(), one_pass or partial(pass_of, supernet)
    validation_loss = alpha_gradient = None
    leaked: Sequence[Tensor | None] = [None] * len(weights)
    if validation is not None:
        wanted = [supernet.alphas, *weights] if leak_validation_gradient else [supernet.alphas]
        validation_loss, (gradient, *rest), seen = _gradients(
            one_pass, validation_memory, validation, wanted
        )
        assert gradient is not None
        processes.average([gradient])
        supernet.alphas.grad = gradient
        alpha_gradient = float(gradient.norm())
        checked = processes.mean(
            {"validation_loss": validation_loss, "alpha_gradient": alpha_gradient}
        )
        guards.require_finite(checked)
        validation_loss = checked["validation_loss"]
        alpha_optimizer.step()
        supernet.alphas.grad = None
        _remember(validation_memory, seen, processes)
        leaked = rest or leaked
    train_loss, gradients, seen = _gradients(one_pass, train_memory, train, weights)
    for weight, own, other in zip(weights, gradients, leaked, strict=True):
        weight.grad = own if other is None or own is None else own + other
    moved = [w.grad for w in weights if w.grad is not None]
    processes.average(
        [*moved, *(buffer for buffer in supernet.buffers() if buffer.is_floating_point())]
    )
    weight_gradient = float(nn.utils.get_total_norm(moved))
    train_loss = processes.mean({"train_loss": train_loss})["train_loss"]
    report = StepReport(train_loss, validation_loss, alpha_gradient, weight_gradient)
    guards.require_finite(report.values())
    weight_optimizer.step()
    weight_optimizer.zero_grad()
    _remember(train_memory, seen, processes)
    return report


def pass_of(
    supernet: Supernet,
    memory: ContrastiveMemory,
    wanted: Sequence[Tensor],
    share: float,
    images: Tensor,
    labels: Tensor,
) -> Passed:
    """The loss of a batch by a memory, its features, and `share` of the loss's gradient by each
    tensor wanted.
    """
    features = supernet(images)
    loss = memory.loss(features, labels)
    gradients = torch.autograd.grad(loss if share == 1 else loss * share, wanted, allow_unused=True)
    return loss.detach(), features.detach(), gradients


def _gradients(
    one_pass: Pass,
    memory: ContrastiveMemory,
    batches: Batch | list[Batch],
    wanted: Sequence[Tensor],
) -> tuple[float, list[Tensor | None], list[Batch]]:
    """Mean loss of the batches, its gradient by each tensor wanted, and each batch's features and
    labels.
    """
    batches = batches if isinstance(batches, list) else [batches]
    losses: list[Tensor] = []
    total: list[Tensor | None] = [None] * len(wanted)
    seen: list[Batch] = []
    for images, labels in batches:
        loss, features, part = one_pass(memory, wanted, 1 / len(batches), images, labels)
        total = [
            new if old is None else old if new is None else old + new
            for old, new in zip(total, part, strict=True)
        ]
        losses.append(loss)
        seen.append((features, labels))
    return float(losses[0] if len(losses) == 1 else torch.stack(losses).mean()), total, seen


def _remember(memory: ContrastiveMemory, seen: list[Batch], processes: Processes) -> None:
    """Move the memory by all processes' features, in the order of ranks."""
    for features, labels in seen:
        memory.update(processes.all_gather(features), processes.all_gather(labels))
