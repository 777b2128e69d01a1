"""Work in threads: order, bounds, failures, early ends."""

from __future__ import annotations

import threading
import time

import pytest

from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_ahead_keeps_order_and_bounds(workers):
    alive, most, lock = set(), [0], threading.Lock()

    def make(item):
        with lock:
            alive.add(item)
            most[0] = max(most[0], len(alive))
        return item

    for item in ahead(make, range(20), workers):
        with lock:
            alive.discard(item)
    assert most[0] <= workers + 1
    assert list(ahead(make, range(7), workers)) == list(range(7))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_reaches_the_consumer_and_stops_the_rest(workers):
    made = []

    def make(item):
        if item == 2:
            raise ReidError("image 2 cannot be read")
        made.append(item)
        return item

    with pytest.raises(ReidError, match="image 2"):
        list(ahead(make, range(100), workers))
    assert len(made) < 10


def test_stopping_early_leaves_no_threads():
    before = threading.active_count()
    steps = ahead(lambda item: item, range(100), 2)
    next(steps)
    steps.close()
    assert threading.active_count() == before


def test_ctrl_c_does_not_wait_for_everything():
    made = []

    def make(item):
        time.sleep(0.01)
        made.append(item)
        return item

    def consume():
        for item in ahead(make, range(1000), 2):
            if item == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert len(made) < 12
