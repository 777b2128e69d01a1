"""The bilevel search step with twin memories: docs/method.md 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from msinet_core.models.supernet import Supernet
from msinet_core.replay import Replayed, Stepper, Values
from msinet_core.runs.processes import ALONE, Processes
from msinet_core.search.memory import ContrastiveMemory

Batch = tuple[Tensor, Tensor]  # images N x 3 x H x W, labels N
Replay = Callable[[Callable[..., Any], Callable[[], object]], Replayed]


@dataclass(frozen=True)
class StepReport:
    """What one step did; norms are Euclidean."""

    train_loss: float
    weight_gradient: float
    validation_loss: float | None = None
    alpha_gradient: float | None = None

    def values(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}


def one_pass(
    supernet: Supernet,
    memory: ContrastiveMemory,
    wanted: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
    """Images N x 3 x H x W through the supernet and a memory's loss, and back to `wanted` only.

    Gives the loss, the features (N x D), and the loss's gradient by each tensor wanted.
    """
    features = supernet(images)  # N x D
    loss = memory.loss(features, labels)
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    return loss.detach(), features.detach(), gradients


class Twin:
    """One side of the step: its memory, and what its images say of the tensors `wanted`."""

    def __init__(
        self, supernet: Supernet, memory: ContrastiveMemory, wanted: Sequence[Tensor]
    ) -> None:
        self.supernet, self.memory, self.wanted = supernet, memory, wanted
        self.gradients: list[Tensor | None] = []  # None of what the images did not reach

    def look(self, *batches: Tensor) -> list[Tensor]:
        """Leave the mean gradient over some batches, images and labels in turn, in `gradients`;
        gives the mean loss, and the features of each batch.
        """
        pairs = zip(batches[::2], batches[1::2], strict=True)
        passes = [one_pass(self.supernet, self.memory, self.wanted, *pair) for pair in pairs]
        self.gradients = [_mean(own) for own in zip(*(g for _, _, g in passes), strict=True)]
        return [torch.stack([loss for loss, _, _ in passes]).mean(), *(x for _, x, _ in passes)]

    def remember(self, rows: Sequence[Tensor], most: int | None) -> None:
        """Move the memory by features and labels, in turn."""
        for features, labels in zip(rows[::2], rows[1::2], strict=True):
            self.memory.update(features, labels, most)


class BilevelStep:
    """One first-order step: alpha on the validation twin, then the weights on the train twin.

    The validation loss is differentiated with respect to alpha only and the train loss with
    respect to the weights only, so that validation images never train the weights. With `leak` the
    validation loss's gradient is added to the weights' one, as the authors' code does.

    Of several batches, and of the batches of several `processes`, gradients are averaged; the
    memories take in all of them afterwards, in order.

    steppers: of the weights and of alpha. memories: of the train and of the validation twin.
    replay: makes a function of tensors, and of the constants that it reads, one that may be
    replayed; most: images of one identity in a batch of all processes, at most, where it is.
    """

    def __init__(
        self,
        supernet: Supernet,
        steppers: tuple[Stepper, Stepper],
        memories: Sequence[ContrastiveMemory],
        *,
        leak: bool = False,
        processes: Processes = ALONE,
        most: int | None = None,
        replay: Replay = lambda function, constants: Replayed(function, constants, works=False),
        constants: Callable[[], object] = lambda: None,
    ) -> None:
        self.supernet, (self.weights, self.alpha) = supernet, steppers
        self.processes, self.most = processes, most
        self.parameters = supernet.weight_parameters()
        self.leaked = [torch.zeros_like(weight) for weight in self.parameters] if leak else []
        wanted = [supernet.alphas, *(self.parameters if leak else ())]
        self.train = Twin(supernet, memories[0], self.parameters)
        self.validation = Twin(supernet, memories[1], wanted)
        self.look_at_validation = replay(self.validation.look, constants)
        self.look_at_train = replay(self.train.look, constants)
        self.move_alpha = replay(
            self._move_alpha, lambda: (constants(), self.look_at_validation.place)
        )
        self.move_weights = replay(
            self._move_weights, lambda: (constants(), self.look_at_train.place)
        )

    def __call__(self, train: Sequence[Batch], validation: Sequence[Batch] | None) -> Values:
        """One step; without validation batches only the weights move (first step of an epoch).

        Gives the losses and the norms of the gradients. `NotFinite` as `Stepper.step` has it.
        """
        self.weights.write_rates()
        self.alpha.write_rates()
        names, numbers = ["train_loss", "weight_gradient"], []
        if validation is None:
            for gradient in self.leaked:
                gradient.zero_()
        else:
            loss, *features = self.look_at_validation(*_in_turn(validation))
            self.processes.average([loss, *_there(self.validation.gradients)])
            numbers = [self.move_alpha(loss, *self._everyones(features, validation))]
            names += ["validation_loss", "alpha_gradient"]
        loss, *features = self.look_at_train(*_in_turn(train))
        buffers = [b for b in self.supernet.buffers() if b.is_floating_point()]
        self.processes.average([loss, *_there(self.train.gradients), *buffers])
        own = self.move_weights(loss, *self._everyones(features, train))
        return Values(names, torch.cat([own, *numbers]))

    def _move_alpha(self, loss: Tensor, *rows: Tensor) -> Tensor:
        """Move alpha, and the validation memory by features and labels in turn."""
        alphas, (gradient, *leaked) = self.supernet.alphas, self.validation.gradients
        assert gradient is not None
        for kept, new in zip(self.leaked, leaked, strict=True):
            kept.zero_() if new is None else kept.copy_(new)
        values = torch.stack((loss, gradient.norm().to(loss)))
        _hand_over([alphas], [gradient])
        self.alpha.step(Values(["validation_loss", "alpha_gradient"], values))
        alphas.grad = None
        self.validation.remember(rows, self.most)
        return values

    def _move_weights(self, loss: Tensor, *rows: Tensor) -> Tensor:
        """Move the weights, and the train memory by features and labels in turn."""
        gradients = self.train.gradients
        if self.leaked:
            pairs = zip(gradients, self.leaked, strict=True)
            gradients = [other if own is None else own + other for own, other in pairs]
        values = torch.stack((loss, nn.utils.get_total_norm(_there(gradients)).to(loss)))
        _hand_over(self.parameters, gradients)
        self.weights.step(Values(["train_loss", "weight_gradient"], values))
        self.weights.optimizer.zero_grad()
        self.train.remember(rows, self.most)
        return values

    def _everyones(self, features: Sequence[Tensor], batches: Sequence[Batch]) -> list[Tensor]:
        """Features and labels of all processes' batches, in turn."""
        gather = self.processes.all_gather
        pairs = zip(features, batches, strict=True)
        return [gather(x) for own, (_, labels) in pairs for x in (own, labels)]


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
) -> StepReport:
    """One `BilevelStep`. A loss that is not finite raises `NotFinite` before it moves anything."""
    step = BilevelStep(
        supernet,
        (Stepper(weight_optimizer, recorded=False), Stepper(alpha_optimizer, recorded=False)),
        [train_memory, validation_memory],
        leak=leak_validation_gradient,
        processes=processes,
    )
    own = None if validation is None else _listed(validation)
    return StepReport(**step(_listed(train), own).read())


def _listed(batches: Batch | list[Batch]) -> list[Batch]:
    return batches if isinstance(batches, list) else [batches]


def _in_turn(batches: Sequence[Batch]) -> list[Tensor]:
    return [tensor for batch in batches for tensor in batch]


def _mean(gradients: Sequence[Tensor | None]) -> Tensor | None:
    parts = _there(gradients)
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts) if len(parts) > 1 else total


def _hand_over(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Give each parameter its gradient, in the parameter's own memory layout: torch's fused
    optimisers take it to be in that one.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def _there(gradients: Sequence[Tensor | None]) -> list[Tensor]:
    return [gradient for gradient in gradients if gradient is not None]
