"""A run's step at the speed of its GPU: recorded once, replayed from then on, and never waited for.

Starting a step's thousands of kernels one by one takes longer than computing them, and asking for
its losses lets the GPU run dry. So a step is recorded as CUDA graphs (`Replayed`), its optimisers
read what they need from the GPU (`Stepper`), and its losses are read a few steps later (`Reports`).
On other devices each of these just does the thing itself.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

WARM = 3  # calls before a graph is recorded, in which libraries choose and load their kernels


class Replayed:
    """`function` of tensors as one CUDA graph, recorded at its fourth call and replayed from then
    on: a GPU otherwise waits for its thousands of kernels to be started.

    What it gives then lies in the same memory each time, and so do gradients that it leaves: they
    last until the next call. It must take its gradients away itself, ask the GPU for nothing, and
    depend on nothing but its tensors, the weights in place and `constants()`, a change of which
    records anew. Calls of other shapes, those on a CPU, and all after a recording failed (one
    warning) just call `function`.

    pool: from `torch.cuda.graph_pool_handle()`, for functions that are called one after the other.
    works: False never records.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        constants: Callable[[], object] = lambda: None,
        pool: Any = None,
        works: bool = True,
    ) -> None:
        self.function, self.constants, self.pool = function, constants, pool
        self.works, self.calls = works, 0
        self.place = 0  # another number whenever results and gradients have come to lie elsewhere
        self.known: object = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream: torch.cuda.Stream | None = None
        self.inputs: list[Tensor] = []
        self.outputs: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        if not self.works or not all(x.is_cuda for x in inputs):
            return self.function(*inputs)
        if self.calls < WARM:
            return self._warm(*inputs)
        if (self.graph is None or self.known != self.constants()) and not self._record(*inputs):
            return self.function(*inputs)
        assert self.graph is not None
        if len(inputs) != len(self.inputs) or any(
            mine.shape != x.shape or mine.dtype != x.dtype
            for mine, x in zip(self.inputs, inputs, strict=True)
        ):
            # recorded anew next time, as this call leaves gradients elsewhere
            self.known, self.place = object(), self.place + 1
            return self.function(*inputs)
        for mine, x in zip(self.inputs, inputs, strict=True):
            mine.copy_(x, non_blocking=True)
        self.graph.replay()
        return self.outputs

    def _warm(self, *inputs: Tensor) -> Any:
        """A real call, on the stream that will be recorded."""
        self.calls, self.place = self.calls + 1, self.place + 1
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _record(self, *inputs: Tensor) -> bool:
        """Record the function, which computes nothing yet; gives whether that worked."""
        self.outputs, self.known, self.place = None, self.constants(), self.place + 1
        self.inputs = [x.clone() for x in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads make batches meanwhile, and may ask for memory.
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                self.outputs = self.function(*self.inputs)
        except Exception as error:  # whatever it does that cannot be recorded
            self.works, self.inputs, self.outputs = False, [], None
            # ending a recording that broke fails again
            reason = str(error.__context__ or error).strip().splitlines()[0]
            warnings.warn(
                f"the step cannot be replayed as a CUDA graph and runs kernel by kernel: {reason}",
                stacklevel=3,
            )
            return False
        self.graph = graph  # the graph before goes only now, as it keeps the pool
        return True


class NotFinite(Exception):
    """A loss or norm that is no number any more, found before the step that it would spoil.

    counted: steps begun from that one on, all of them without effect; 0 where it was not finished.
    """

    def __init__(self, values: Mapping[str, float], counted: int = 0) -> None:
        super().__init__(", ".join(f"{name} {value:.3g}" for name, value in values.items()))
        self.values, self.counted = dict(values), counted


class Values(NamedTuple):
    """What a step says of itself: names, and as many numbers in one tensor on its device."""

    names: Sequence[str]
    numbers: Tensor

    def read(self) -> dict[str, float]:
        """The numbers, waited for."""
        return dict(zip(self.names, self.numbers.tolist(), strict=True))


class Stepper:
    """An optimiser's steps, taken only while every value seen is finite.

    recorded: for a step that is replayed. The GPU is then asked for nothing: its fused optimiser
    passes over the step whose values are not finite, and over all after it, until somebody reads
    them. Otherwise the values are read at once, and `NotFinite` is raised.

    Either way a GPU reads the learning rates from its own memory, as a recorded step must: the same
    float32 numbers, so that both give the same bits. spoilt: another's, to stop together with it.
    """

    def __init__(self, optimizer: Optimizer, recorded: bool, spoilt: Tensor | None = None) -> None:
        self.optimizer, self.recorded = optimizer, recorded
        self.written: list[float] = []
        device = optimizer.param_groups[0]["params"][0].device
        on_device = recorded or device.type == "cuda"
        groups = optimizer.param_groups if on_device else []
        self.rates = [torch.zeros((), device=device) for _ in groups]
        self.spoilt = torch.zeros((), device=device) if spoilt is None else spoilt
        if recorded:
            optimizer.found_inf = self.spoilt  # type: ignore[attr-defined]

    def write_rates(self) -> None:
        """Hand the optimiser's learning rates to the next step."""
        wanted = [group["lr"] for group in self.optimizer.param_groups]
        if self.rates and wanted != self.written:
            for rate, value in zip(self.rates, wanted, strict=True):
                rate.fill_(value)
            self.written = wanted

    def step(self, values: Values) -> None:
        """Move the weights, unless one of the values so far was not finite."""
        if self.recorded:
            broken = values.numbers.isfinite().logical_not().any()
            self.spoilt.copy_(torch.maximum(self.spoilt, broken.to(self.spoilt)))
        else:
            require_finite(values.read())
        with self._reading_rates():
            self.optimizer.step()

    @contextmanager
    def _reading_rates(self) -> Iterator[None]:
        groups = self.optimizer.param_groups if self.rates else []
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
        try:
            yield
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number


def require_finite(values: Mapping[str, float], counted: int = 0) -> None:
    """Raise `NotFinite` with all values if any is infinite or not a number."""
    if not all(map(math.isfinite, values.values())):
        raise NotFinite(values, counted)


class Reports:
    """Steps' values on their way from the device, in order.

    most: steps that may be under way while the next is begun; 0 waits for each.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way: deque[tuple[int, Values, torch.cuda.Event | None]] = deque()

    def add(self, step: int, values: Values) -> Iterator[tuple[int, dict[str, float]]]:
        """Take a step's values; yields those of earlier steps (or of this) that are there now.

        `NotFinite` where one is not.
        """
        event = None
        if values.numbers.is_cuda:
            here = torch.empty(values.numbers.shape, pin_memory=True)
            here.copy_(values.numbers, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            values = Values(values.names, here)
        self.under_way.append((step, values, event))
        yield from self._arrived(self.most)

    def rest(self) -> Iterator[tuple[int, dict[str, float]]]:
        """What is still under way."""
        yield from self._arrived(0)

    def _arrived(self, leave: int) -> Iterator[tuple[int, dict[str, float]]]:
        while len(self.under_way) > leave:
            step, values, event = self.under_way.popleft()
            if event is not None:
                event.synchronize()
            found = values.read()
            require_finite(found, 1 + len(self.under_way))
            yield step, found
