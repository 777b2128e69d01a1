"""The loops as functions that torch's threads call, one for each type of map, compiled once a
machine.
"""

# mypy:
# disable-error-code="call-arg,call-overload,index,no-untyped-def,operator,type-var,var-annotated"
# (numba finds the types, and hands an intrinsic its first argument)

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import torch
from numba import carray, cfunc, types

from msinet_core.models.loops.depthwise import light_backward, light_forward
from msinet_core.models.loops.images import image_scale, image_sums
from msinet_core.models.loops.norm import norm_backward, norm_forward, norm_statistics
from msinet_core.models.loops.pools import pool_backward, pool_forward
from msinet_core.models.loops.products import kernel_gradient, product
from msinet_core.models.loops.sums import sum_backward, sum_forward
from msinet_core.models.loops.threads import FLOAT, HALF, JOB, run_on_threads

PASSES = (
    "norm forward",
    "norm backward",
    "light forward",
    "light backward",
    "norm statistics",
    "sum forward",
    "sum backward",
    "image sums",
    "image scale",
    "kernel gradient",
    "product",
    "pool forward",
    "pool backward",
)
# numba keeps what it compiled until the file that holds it changes, and looks no further. As a
# variable of the
# functions that are kept, this tells it of all files here.
_SOURCES = zlib.crc32(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
)


def _compiled(sources: int, like: Any) -> Any:
    """The address of the function for maps of one type."""

    @cfunc(types.void(types.voidptr), cache=True)
    def entry(data):
        job = carray(data, (1,), JOB)[0]
        if job.work == 0:
            norm_forward(job, like)
        elif job.work == 1:
            norm_backward(job, like)
        elif job.work == 2:
            light_forward(job, like)
        elif job.work == 3:
            light_backward(job, like)
        elif job.work == 4:
            norm_statistics(job, like)
        elif job.work == 5:
            sum_forward(job, like)
        elif job.work == 6:
            sum_backward(job, like)
        elif job.work == 7:
            image_sums(job, like)
        elif job.work == 8:
            image_scale(job, like)
        elif job.work == 9:
            kernel_gradient(job, like)
        elif job.work == 10:
            product(job, like)
        elif job.work == 11:
            pool_forward(job, like)
        elif job.work == 12 and sources >= 0:
            pool_backward(job, like)

    return entry.address


@cache
def address(dtype: torch.dtype) -> Any:
    """The compiled function for maps of a type; the first call on a machine takes seconds."""
    return _compiled(_SOURCES, HALF if dtype == torch.bfloat16 else FLOAT)


def run(name: str, dtype: torch.dtype, threads: int, **values: float) -> None:
    """A pass over maps of one type; `values` as in `threads.FIELDS`."""
    run_on_threads(address(dtype), threads, {"work": PASSES.index(name), **values})
