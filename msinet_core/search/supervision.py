"""What else could supervise a search: identities and triplets, in place of the memories (the
mechanism's own comparison, `--supervision identity`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from msinet_core.search.memory import ContrastiveMemory
from msinet_core.training.losses import batch_hard_triplet


class IdentityClassifier(ContrastiveMemory):
    """Cross-entropy of a linear classifier plus the batch-hard triplet loss, where a memory would
    be: `rows` are the classifier's weights, K x D.

    They are moved as a memory's rows are, after each backward pass, but by their own gradient:
    SGD at `rate` with `momentum`.
    """

    def __init__(
        self,
        num_identities: int,
        length: int,
        rate: float,
        momentum: float = 0.9,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(num_identities, length, momentum, device=device)
        self.rate, self.velocity = rate, torch.zeros_like(self.rows)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """N x D, N -> scalar."""
        x = x.float()
        logits = x @ self.rows.to(x.device, torch.float32).T
        return functional.cross_entropy(logits, y) + batch_hard_triplet(x, y)

    @torch.no_grad()
    def update(self, x: Tensor, y: Tensor, most: int | None = None) -> None:
        """One step of the classifier on x (N x D) and y (N)."""
        x, y = x.detach().to(self.rows), y.to(self.rows.device)
        excess = (x @ self.rows.T).softmax(dim=1)
        excess[torch.arange(len(y), device=y.device), y] -= 1
        self.velocity.mul_(self.momentum).add_(excess.T @ x / len(y))
        self.rows.sub_(self.rate * self.velocity)

    def state_dict(self) -> dict[str, Tensor]:
        return {"rows": self.rows, "velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.velocity.copy_(state["velocity"])
