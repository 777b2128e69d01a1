"""Work in threads, and on a GPU beside its main stream, whose results are wanted in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
T = TypeVar("T")


def ahead(make: Callable[[Item], T], items: Iterable[Item], workers: int) -> Iterator[T]:
    """`make(item)` for each item, in order; `workers` threads keep that many more in the making.

    0 workers make each when it is asked for. Where the consumer stops early (Ctrl-C, say) or an
    item fails, no more than those few are still made.
    """
    if workers == 0:
        yield from map(make, items)
        return
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class SideStream:
    """Work on a GPU beside what its main stream computes; on other devices, just the work."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Any]:
        """`work()`, in any thread, with the moment at which its tensors are there."""
        if self.stream is None:
            return work(), None
        with torch.cuda.stream(self.stream):
            made = work()
            ready = torch.cuda.Event()
            ready.record()
        return made, ready

    def take(self, made: Sequence[Tensor], ready: Any) -> Sequence[Tensor]:
        """The tensors for the main stream, which waits for them where it must."""
        if ready is not None:
            main = torch.cuda.current_stream()
            main.wait_event(ready)
            for tensor in made:
                if tensor.is_cuda:
                    tensor.record_stream(main)
        return made
