"""Where the seconds of a step go, by kinds of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks._rows import seconds
from msinet_core.models import norms

Work = Callable[[], float]  # one step; gives the loss

KINDS = {
    "convolutions and products": ("conv", "mm", "product", "kernel gradient"),
    "norms with their sums and ReLUs": ("norm",),
    "other sums and scalings": ("add", "mul", "sum", "mean", "relu", "threshold"),
}


class Stopwatch(TorchDispatchMode):
    """Seconds of each kind of work in a step, as it runs: a tracing profiler scatters its records
    through the memory that the step's maps would be given again, and the step then waits for new
    pages."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, float] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        return self.timed(
            function.name().removeprefix("aten::"), function, *arguments, **(options or {})
        )

    def timed(self, name: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = work(*arguments, **options)
        taken = time.perf_counter() - began
        kind = next(
            (kind for kind, words in KINDS.items() if any(word in name for word in words)),
            "the rest",
        )
        self.times[kind] = self.times.get(kind, 0.0) + taken
        return result

    def step(self, work: Work) -> float:
        """Seconds of one step, whose parts are then in `times`."""
        loops = norms.compiled_loops()
        if loops is None:
            with self:
                return seconds(work)
        run = loops.run

        def watched(name: str, *arguments: Any, **options: Any) -> None:
            kind = name if name in ("product", "kernel gradient") else f"norm, {name}"
            self.timed(kind, run, name, *arguments, **options)

        with self, mock.patch.object(loops, "run", watched):
            return seconds(work)
