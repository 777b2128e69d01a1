"""The weights that a warm start loaded: held still for the first epochs, and moved more slowly."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer


class Loaded:
    """The parts of a network that a warm start loaded, by the names of its parameters.

    While frozen their weights and the running statistics of their norms stay as they are.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        wanted = set(names)
        self.parameters = [
            p for name, p in model.named_parameters() if name in wanted and p.requires_grad
        ]
        known = {id(parameter) for parameter in self.parameters}
        self.norms = [
            module
            for module in model.modules()
            if hasattr(module, "running_mean")
            and any(id(parameter) in known for parameter in module.parameters(recurse=False))
        ]
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        """Hold the loaded weights still, or let them move; the network is in training."""
        self.frozen = frozen
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        for norm in self.norms:
            norm.train(not frozen)

    def separate(self, optimizer: Optimizer, factor: float) -> None:
        """Let the loaded weights move at a share of their rate: a group behind all others'.

        In a group of their own they may also begin to move later than the others.
        """
        (group,) = optimizer.param_groups
        known = {id(parameter) for parameter in self.parameters}
        loaded = [parameter for parameter in group["params"] if id(parameter) in known]
        group["params"] = [p for p in group["params"] if id(p) not in known]
        optimizer.add_param_group({**group, "params": loaded, "lr": group["lr"] * factor})
