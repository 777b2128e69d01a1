"""Whether a GPU may round the factors of float32 products to TF32 (10 bits of mantissa for 23)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def rounded_products(allowed: bool) -> Iterator[None]:
    """For as long as it lasts, of matrices and of convolutions alike; torch by itself rounds in
    convolutions only.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
