"""The contrastive memory of one twin.

Shapes: K identities, N images in a batch, D feature length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class ContrastiveMemory:
    """One row of length D for each of K identities, moved explicitly after each backward pass.

    `loss` compares features with all rows; `update` moves the rows of the identities seen:
    row <- momentum * row + (1 - momentum) * x / |x|, then row <- row / |row|, in batch order.
    Rows start at zero and carry no gradient.
    """

    def __init__(
        self,
        num_identities: int,
        length: int,
        momentum: float = 0.2,
        temperature: float = 0.05,
        device: torch.device | str = "cpu",
    ) -> None:
        self.momentum, self.temperature = momentum, temperature
        self.rows = torch.zeros(num_identities, length, device=device)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy of cosine similarities over the temperature; N x D, N -> scalar."""
        similarity = (
            functional.normalize(x.float(), dim=1) @ self.rows.to(x.device, torch.float32).T
        )
        return functional.cross_entropy(similarity / self.temperature, y)

    @torch.no_grad()
    def update(self, x: Tensor, y: Tensor, most: int | None = None) -> None:
        """Move the rows of `y` (N) towards `x` (N x D), exactly as one after the other would.

        Images of different identities do not touch each other's rows, so all first images of
        their identity move at once, then all second ones, and so on. most: images of one identity
        that there can be, where the batch itself is not to be asked.
        """
        x = functional.normalize(x.detach().to(self.rows), dim=1)
        y = y.to(self.rows.device)
        place = order_within(y)
        if most is None:
            most = int(place.max()) + 1 if len(y) else 0
        for turn in range(most):
            moved = self.momentum * self.rows[y] + (1 - self.momentum) * x  # N x D
            moved = functional.normalize(moved, dim=1)
            # of each identity the image whose turn it is, or none: identities x images
            chosen = (torch.arange(len(self.rows), device=y.device)[:, None] == y) & (place == turn)
            self.rows.copy_(
                torch.where(chosen.any(1)[:, None], moved[chosen.int().argmax(1)], self.rows)
            )

    def state_dict(self) -> dict[str, Tensor]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        rows = state["rows"]
        if rows.shape != self.rows.shape:  # which a copy would stretch
            raise KeyError(f"rows of a memory are {tuple(rows.shape)}")
        self.rows.copy_(rows)


def order_within(labels: Tensor) -> Tensor:
    """How many earlier entries carry the same label, for each entry; N -> N.

    >>> order_within(torch.tensor([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    same = labels[:, None] == labels[None, :]
    return same.tril(diagonal=-1).sum(dim=1)
