"""The form that trains is the plain form: same outputs, same gradients, in float64."""

import pytest
import torch

from benchmarks._plain import plain
from msinet_core import PAPER_GENOTYPE
from msinet_core.loop import memory_format
from msinet_core.models import MSINet, Supernet

CHANNELS = (16, 32, 48, 64)


def everything(model, images):
    """Outputs, gradients and buffers of one training pass."""
    output = model(images)
    outputs = [output] if isinstance(output, torch.Tensor) else [part for part in output if part is not None]
    torch.manual_seed(1)
    sum((part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in outputs).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return outputs, gradients, dict(model.named_buffers())


@pytest.mark.parametrize("make", [lambda: MSINet(PAPER_GENOTYPE, 5, CHANNELS), lambda: Supernet(CHANNELS)], ids=["msinet", "supernet"])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_equals_the_plain_form(make, layout):
    torch.manual_seed(0)
    model, images = make().double().train(), torch.randn(4, 3, 64, 32, dtype=torch.float64)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") or name == "alphas":  # where they start, much would be 0
            torch.nn.init.normal_(parameter)
    other = plain(model)
    if layout == "channels_last":
        memory_format(model)
        found = everything(model, images.contiguous(memory_format=torch.channels_last))
    else:
        found = everything(model, images)
    outputs, gradients, buffers = everything(other, images)
    for one, two in zip(found[0], outputs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)
    largest = max(float(gradient.norm()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-7, atol=1e-9 * largest, msg=name)
    for name, value in buffers.items():
        torch.testing.assert_close(found[2][name], value, rtol=1e-9, atol=1e-12, msg=name)
