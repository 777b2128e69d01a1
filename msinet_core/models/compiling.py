"""torch.compile where it works, and one warning where it does not."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def compile_network(model: nn.Module, images: Tensor, backend: str = "inductor") -> bool:
    """Compile `model` in place for batches like `images` (N x 3 x H x W), if this machine can.

    One pass forward and backward is tried at once; it leaves no trace in the running statistics,
    and a failure leaves the model eager. Gives whether it worked; where it did not, one warning
    says why. Shapes are taken as fixed, which saves compiling for sizes that never come.
    """
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.compile(dynamic=False, backend=backend)
    try:
        _anything(model(images)).backward()
    except Exception as error:  # whatever a compiler throws: training goes on without it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f"torch.compile does not work here, so the network runs uncompiled: {reason[0]}",
            stacklevel=2,
        )
        torch.compiler.reset()
        model._compiled_call_impl = None  # what torch itself does to a module that it copies
        return False
    finally:
        model.zero_grad()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
    return True


def _anything(output: object) -> Tensor:
    """A scalar that depends on everything that came out."""
    if isinstance(output, Tensor):
        return output.float().mean()
    assert isinstance(output, tuple)
    return torch.stack([_anything(part) for part in output if isinstance(part, Tensor)]).sum()
