"""What a channel gate does with channels-last maps: sums over each picture's positions, and scaling
by picture and channel.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

from numba import njit

from msinet_core.models.loops.threads import FAST, FLOAT, share, size_of
from msinet_core.models.loops.vectors import LANES, load, store, zero

TILE = 64  # positions whose sums are kept apart, so that float32 suffices


@njit(**FAST)
def image_sums(job, like):
    """Into `y`, N x C float32: sums of `x` over each picture's positions, or of its product with
    `gradient`.
    """
    size = size_of(like)
    step = size * job.channels
    first, last = share(job.rows)
    for image in range(first, last):
        begin, target = image * job.height * step, job.y + 4 * image * job.channels
        for c in range(0, job.channels, LANES):
            store(target + 4 * c, zero(), FLOAT)
        for start in range(0, job.height, TILE):
            stop = min(start + TILE, job.height)
            for c in range(0, job.channels, LANES):
                total = zero()
                for place in range(start, stop):
                    at = begin + place * step + c * size
                    value = load(job.x + at, like)
                    if job.gradient != 0:
                        value = value * load(job.gradient + at, like)
                    total = total + value
                store(target + 4 * c, load(target + 4 * c, FLOAT) + total, FLOAT)


@njit(**FAST)
def image_scale(job, like):
    """Into `y`: `x` times `gain`, N x C float32, and plus `shift`, where there is one."""
    size = size_of(like)
    step = size * job.channels
    first, last = share(job.rows)
    for image in range(first, last):
        factors = 4 * image * job.channels
        for place in range(image * job.height, (image + 1) * job.height):
            for c in range(0, job.channels, LANES):
                at = place * step + c * size
                value = load(job.x + at, like) * load(job.gain + factors + 4 * c, FLOAT)
                if job.shift != 0:
                    value = value + load(job.shift + factors + 4 * c, FLOAT)
                store(job.y + at, value, like)
