"""Loops over channels-last maps on a CPU, compiled by numba, in torch's own threads."""

from msinet_core.models.loops.depthwise import scratch
from msinet_core.models.loops.entries import address, run
from msinet_core.models.loops.norm import GRADIENTS, SAVED, matrix, room
from msinet_core.models.loops.pools import pool_scratch
from msinet_core.models.loops.products import products_room, takes_product
from msinet_core.models.loops.sums import room_of_sum
from msinet_core.models.loops.vectors import LANES

__all__ = [
    "GRADIENTS",
    "LANES",
    "SAVED",
    "address",
    "matrix",
    "pool_scratch",
    "products_room",
    "room",
    "room_of_sum",
    "run",
    "scratch",
    "takes_product",
]
