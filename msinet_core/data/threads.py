"""Work in threads whose results are wanted in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
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
