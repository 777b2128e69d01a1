"""The norm with its compiled loops, the layers of torch it stands for, and where it gives way to them."""

import pytest
import torch
from torch import nn

from msinet_core.models import norms
from msinet_core.models.interactions import ChannelGate
from msinet_core.models.norms import Norm

CHANNELS_LAST = {"memory_format": torch.channels_last}
loops = pytest.mark.skipif(norms.compiled_loops() is None, reason="torch does not run on GNU's OpenMP here")


def drawn(shape, kind=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(shape, generator=generator) + 1).to(kind).contiguous(**CHANNELS_LAST)


def prepared(channels, relu, seed=1):
    """A norm whose parameters and statistics are not those of the start."""
    torch.manual_seed(seed)
    norm = Norm(channels, relu).train()
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values)
    return norm


def passed(norm, x, added, gradient):
    """Output, gradients and buffers of a forward and backward pass."""
    x, *added = (part.detach().requires_grad_() for part in (x, *added))
    norm.zero_grad()
    y = norm(x, *added)
    y.backward(gradient)
    found = {"y": y.detach(), "x": x.grad, "gain": norm.weight.grad, "shift": norm.bias.grad, "mean": norm.running_mean}
    found |= {"variance": norm.running_var, "count": norm.num_batches_tracked}
    found |= {f"added {number}": part.grad for number, part in enumerate(added)}
    return {name: value.clone() for name, value in found.items()}


def by_layers(monkeypatch, *arguments):
    """The same by torch's own layers."""
    with monkeypatch.context() as context:
        context.setattr(norms, "compiled_loops", lambda: None)
        return passed(*arguments)


@loops
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("maps", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 24, 7, 3), (2, 64, 8, 4), (1, 520, 3, 1), (3, 16, 1, 5)])
def test_equals_the_layers_one_after_the_other(monkeypatch, shape, maps, relu, threads):
    monkeypatch.setattr(norms, "GRAIN", 0)
    x, gradient, *added = (drawn(shape, seed=seed) for seed in range(2 + maps))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert prepared(shape[1], relu).at_once(x, *added)
        ours = passed(prepared(shape[1], relu), x, added, gradient)
    finally:
        torch.set_num_threads(before)
    theirs = by_layers(monkeypatch, prepared(shape[1], relu), x, added, gradient)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-4, atol=2e-4, msg=lambda text, name=name: f"{name}: {text}")


@loops
@pytest.mark.parametrize("maps", [0, 1, 2])
def test_bf16_is_rounded_once(monkeypatch, maps):
    """Against float32 arithmetic on the same values: half a unit in the last place, not several."""
    shape = (6, 32, 9, 5)
    x, gradient, *added = (drawn(shape, torch.bfloat16, seed) for seed in range(2 + maps))
    ours = passed(prepared(32, relu=True), x, added, gradient)
    exact = by_layers(monkeypatch, prepared(32, relu=True), x.float(), [part.float() for part in added], gradient.float())
    for name, value in exact.items():
        tolerance = 2**-8 if ours[name].dtype == torch.bfloat16 else 2e-3
        torch.testing.assert_close(ours[name].to(value.dtype), value, rtol=tolerance, atol=2e-3, msg=lambda text, name=name: f"{name}: {text}")


@loops
def test_takes_channels_as_they_lie(monkeypatch):
    """A slice of a wider map need not be copied out first."""
    wide, gradient = drawn((4, 40, 6, 2)), drawn((4, 16, 6, 2), seed=3)
    part = wide[:, 24:]
    norm = prepared(16, relu=True)
    assert norm.at_once(part)
    assert not part.is_contiguous(**CHANNELS_LAST)
    ours = passed(norm, part, [], gradient)
    theirs = by_layers(monkeypatch, prepared(16, relu=True), part.contiguous(**CHANNELS_LAST), [], gradient)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-4, atol=2e-4)


@loops
def test_a_large_mean_does_not_drown_the_variance():
    x = drawn((8, 16, 16, 8)) * 0.01 + 1000
    y = Norm(16, relu=False).train()(x).double()
    exact = nn.functional.batch_norm(x.double(), None, None, training=True)
    assert (y - exact).abs().max() < 0.02 * exact.abs().max()


@loops
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(kind, bad):
    """Or a run would go on with a channel that is dead without a word."""
    x = drawn((4, 8, 4, 4), kind)
    x[2, 3, 1, 1] = bad
    y = Norm(8).train()(x)
    assert y[:, 3].isnan().all()
    assert y[:, :3].isfinite().all()
    assert y[:, 4:].isfinite().all()


@pytest.mark.parametrize("case", ["float64", "contiguous", "evaluation", "no momentum"])
def test_gives_way_to_the_layers(case):
    x, norm = drawn((4, 8, 6, 3)), prepared(8, relu=True)
    if case == "float64":
        x, norm = x.double(), norm.double()
    if case == "contiguous":
        x = x.contiguous()
    if case == "evaluation":
        norm.eval()
    if case == "no momentum":
        norm.momentum = None
    assert not norm.at_once(x)
    assert torch.equal(norm(x), torch.relu(nn.BatchNorm2d.forward(norm.eval() if case == "evaluation" else prepared_like(norm), x)))


def prepared_like(norm):
    """A norm of the same parameters that has seen nothing yet."""
    other = nn.BatchNorm2d(len(norm.weight)).to(norm.weight.dtype).train()
    other.load_state_dict({name: value.clone() for name, value in norm.state_dict().items()})
    other.momentum = norm.momentum
    return other


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_of_the_gate(layout):
    """Against finite differences, in float64."""
    torch.manual_seed(0)
    gate = ChannelGate(8, reduction=2).double()
    a, b = (torch.randn(2, 8, 3, 2, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_() for _ in range(2))
    parameters = tuple(gate.parameters())

    def gated(a, b, *_):
        return gate(a, b)

    assert torch.autograd.gradcheck(gated, (a, b, *parameters))
    with torch.no_grad():
        plain = gate(a, b)
    for one, two in zip(gate(a, b), plain, strict=True):
        torch.testing.assert_close(one, two)
