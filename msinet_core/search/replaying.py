"""The passes of a bilevel step as CUDA graphs, one of each memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from msinet_core.models.supernet import Supernet
from msinet_core.runs.replaying import Replayed
from msinet_core.search.memory import ContrastiveMemory
from msinet_core.search.step import Passed, pass_of


class ReplayedPasses:
    """In the place of `step.pass_of`, for steps of one batch a side. What it gives lasts until that
    side's next pass.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet
        self.sides: dict[int, Replayed] = {}
        self.pool = (
            torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None
        )  # for both, as they take turns

    def __call__(
        self,
        memory: ContrastiveMemory,
        wanted: Sequence[Tensor],
        share: float,
        images: Tensor,
        labels: Tensor,
    ) -> Passed:
        if id(memory) not in self.sides:
            function = partial(pass_of, self.supernet, memory, wanted, share)
            self.sides[id(memory)] = Replayed(
                function, lambda: self.supernet.temperature, self.pool
            )
        passed: Passed = self.sides[id(memory)](images, labels)
        return passed
