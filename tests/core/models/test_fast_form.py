"""The form that trains is the plain form: same outputs, same gradients, in float64."""

import pytest
import torch

from benchmarks._plain import plain
from msinet_core import PAPER_GENOTYPE
from msinet_core.models import MSINet, Supernet, norms
from msinet_core.models.blocks import Cell, ConvNorm, DownSampler
from msinet_core.models.interactions import ChannelGate, CrossAttention
from msinet_core.models.pools import pooled
from msinet_core.runs.devices import memory_format

CHANNELS = (16, 32, 48, 64)


def everything(model, images):
    """Outputs, gradients and buffers of one training pass."""
    output = model(images)
    outputs = (
        [output]
        if isinstance(output, torch.Tensor)
        else [part for part in output if part is not None]
    )
    torch.manual_seed(1)
    sum((part * torch.randn(part.shape, dtype=torch.float64)).sum() for part in outputs).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return outputs, gradients, dict(model.named_buffers())


@pytest.mark.parametrize(
    "make",
    [lambda: MSINet(PAPER_GENOTYPE, 5, CHANNELS), lambda: Supernet(CHANNELS)],
    ids=["msinet", "supernet"],
)
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
        torch.testing.assert_close(
            found[1][name], gradient, rtol=1e-7, atol=1e-9 * largest, msg=name
        )
    for name, value in buffers.items():
        torch.testing.assert_close(found[2][name], value, rtol=1e-9, atol=1e-12, msg=name)


class Gated(torch.nn.Module):
    """A cell with both interactions that compute, and the trunk's two pools in front of it and
    behind.
    """

    def __init__(self):
        super().__init__()
        self.stem, self.pool = ConvNorm(32, 64), torch.nn.MaxPool2d(3, stride=2, padding=1)
        self.cell = Cell(64, 128, 32, (ChannelGate(32), CrossAttention()))
        self.down = DownSampler(ConvNorm(128, 128), torch.nn.AvgPool2d(2, stride=2))

    def forward(self, images):
        return self.down(self.cell(pooled(images, self.stem, self.pool)))


@pytest.mark.skipif(
    norms.compiled_loops() is None, reason="torch does not run on GNU's OpenMP here"
)
def test_the_loops_together_are_the_plain_form(monkeypatch):
    """In float32, against float64."""
    torch.manual_seed(0)
    model, images = Gated().train(), torch.randn(8, 32, 32, 16)
    torch.nn.init.normal_(model.cell.slots[1].gamma)
    ran, run = set(), norms.compiled_loops().run
    monkeypatch.setattr(
        norms.compiled_loops(),
        "run",
        lambda name, *rest, **values: ran.add(name) or run(name, *rest, **values),
    )
    outputs, gradients, buffers = everything(plain(model).double(), images.double())
    assert not ran
    found = everything(memory_format(model), images.contiguous(memory_format=torch.channels_last))
    assert {"pool forward", "norm forward", "light backward", "image scale", "sum backward"} <= ran
    torch.testing.assert_close(found[0][0].double(), outputs[0], rtol=1e-5, atol=2e-5)
    for name, value in (gradients | buffers).items():
        ours = (found[1] | found[2])[name].double()
        assert (ours - value).norm() <= 1e-4 * value.double().norm(), name
