"""torch.compile where it works, and one warning where it does not."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn


def compile_network(model: nn.Module, images: Tensor, backend: str = "inductor") -> bool:
    """Compile `model` in place for batches like `images` (N x 3 x H x W), if this machine can.

    A copy is tried first, forward and backward, so that a failure leaves the model as it was: eager.
    Gives whether it worked; where it did not, one warning says why. Shapes are taken as fixed, which
    CUDA graphs need and which saves compiling for sizes that never come.
    """
    trial = copy.deepcopy(model)
    try:
        trial.compile(dynamic=False, backend=backend)
        _anything(trial(images)).backward()
    except Exception as error:  # whatever a compiler throws: training goes on without it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(f"torch.compile does not work here, so the network runs uncompiled: {reason[0]}", stacklevel=2)
        return False
    finally:
        torch.compiler.reset()
    model.compile(dynamic=False, backend=backend)
    return True


def _anything(output: object) -> Tensor:
    """A scalar that depends on everything that came out."""
    if isinstance(output, Tensor):
        return output.float().mean()
    assert isinstance(output, tuple)
    return torch.stack([_anything(part) for part in output if isinstance(part, Tensor)]).sum()
