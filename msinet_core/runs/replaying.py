"""A pass of fixed shapes as one CUDA graph: a GPU otherwise waits for its thousands of kernels to
be started.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM = 3  # calls before the graph is recorded, in which libraries choose and load their kernels


class Replayed:
    """`function` of tensors, recorded at its fourth call and replayed from then on.

    What it gives then lies in the same memory each time, and so do gradients that it leaves: they
    last until the next call. It must take its gradients away itself, ask the GPU for nothing, and
    depend on nothing but its tensors, the weights in place and `constants()`, a change of which
    records anew. Calls of other shapes, those on a CPU, and all after a recording failed (one
    warning) just call `function`.

    pool: from `torch.cuda.graph_pool_handle()`, for functions that are called one after the other.
    """

    def __init__(self, function: Callable[..., Any], constants: Callable[[], object] = lambda: None, pool: Any = None) -> None:
        self.function, self.constants, self.pool = function, constants, pool
        self.works, self.calls = True, 0
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
        if any(mine.shape != x.shape or mine.dtype != x.dtype for mine, x in zip(self.inputs, inputs, strict=True)):
            # recorded anew next time, as this call leaves gradients elsewhere
            self.known = object()
            return self.function(*inputs)
        for mine, x in zip(self.inputs, inputs, strict=True):
            mine.copy_(x, non_blocking=True)
        self.graph.replay()
        return self.outputs

    def _warm(self, *inputs: Tensor) -> Any:
        """A real call, on the stream that will be recorded."""
        self.calls += 1
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def _record(self, *inputs: Tensor) -> bool:
        """Record the function, which computes nothing yet; gives whether that worked."""
        self.outputs, self.known = None, self.constants()
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
            warnings.warn(f"the step cannot be replayed as a CUDA graph and runs kernel by kernel: {reason}", stacklevel=3)
            return False
        self.graph = graph  # the graph before goes only now, as it keeps the pool
        return True
