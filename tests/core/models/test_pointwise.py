"""1x1 convolutions: the compiled product against float64, with any threads, and where it gives way
to torch.
"""

import pytest
import torch

from msinet_core.models import norms, pointwise
from msinet_core.models.pointwise import Pointwise

CHANNELS_LAST = {"memory_format": torch.channels_last}
TYPES = {torch.float32: 5e-6, torch.bfloat16: 8e-3}  # of the largest value


def taken(kind, positions=64, inputs=64, outputs=32):
    loops = norms.compiled_loops(kind)
    return loops is not None and loops.takes_product(
        kind == torch.bfloat16, positions, inputs, outputs
    )


@pytest.fixture(params=TYPES, ids=lambda kind: str(kind)[6:])
def kind(request):
    if not taken(request.param):
        pytest.skip("this processor lacks what the product is made for")
    return request.param


@pytest.fixture
def ran(monkeypatch):
    """How often the compiled product was taken."""
    calls, run = [], pointwise._run
    monkeypatch.setattr(
        pointwise, "_run", lambda *values, **named: calls.append(values[0]) or run(*values, **named)
    )
    return calls


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def drawn(shape, kind):
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
        .to(kind)
        .contiguous(**CHANNELS_LAST)
    )


def near(found, right, kind):
    right = right.to(torch.float64)
    assert (found.to(torch.float64) - right).abs().max() <= TYPES[kind] * right.abs().max()


# Positions: eight, which one thread takes; no whole number of eights a thread; several panels and a
# rest; many.
@pytest.mark.parametrize(
    "shape", [(2, 64, 4, 1), (3, 32, 8, 3), (5, 96, 17, 16), (2, 64, 64, 32)], ids=str
)
@pytest.mark.parametrize("outputs", [32, 96, 128])
def test_a_convolution_and_its_gradients_are_those_of_float64(shape, outputs, kind, threads, ran):
    x, layer = drawn(shape, kind).requires_grad_(), Pointwise(shape[1], outputs)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        y = layer(x)
    gradient = drawn(y.shape, kind)
    y.backward(gradient)
    assert ran == ["product", "product", "kernel gradient"]
    assert y.dtype == kind
    exact, weight = (
        x.detach().double().requires_grad_(),
        layer.weight.detach().to(kind).double().requires_grad_(),
    )
    right = torch.nn.functional.conv2d(exact, weight)
    right.backward(gradient.double())
    near(y.detach(), right, kind)
    near(x.grad, exact.grad, kind)
    near(
        layer.weight.grad, weight.grad, torch.float32
    )  # is summed in float32, and not rounded to bf16


def test_a_value_that_is_no_number_reaches_the_gradients_it_belongs_to(kind):
    x, layer = drawn((2, 64, 9, 8), kind), Pointwise(64, 32)
    x[1, 5, 3, 3] = float("nan")
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        y = layer(x)
    y.backward(torch.ones_like(y))
    wrong = ~layer.weight.grad.isfinite()
    assert wrong[:, 5].all()
    assert wrong.sum() == 32


@pytest.mark.parametrize(
    "change",
    [
        lambda x, layer: (x[:, :48], Pointwise(48, 32)),
        lambda x, layer: (x, Pointwise(64, 48)),
        lambda x, layer: (x[:, :, :, :7].contiguous(**CHANNELS_LAST), layer),
        lambda x, layer: (x.contiguous(), layer),
        lambda x, layer: (x.double(), layer.double()),
    ],
    ids=["inputs", "outputs", "positions", "layout", "float64"],
)
def test_what_the_product_is_not_made_for_goes_to_torch(change, ran):
    x, layer = change(drawn((2, 64, 9, 8), torch.float32), Pointwise(64, 32))
    layer(x).sum().backward()
    assert not ran
    assert layer.weight.grad.isfinite().all()


def test_frozen_kernels_need_no_gradient(ran):
    x, layer = (
        drawn((2, 64, 9, 8), torch.float32).requires_grad_(),
        Pointwise(64, 32).requires_grad_(False),
    )
    torch.relu(layer(x)).sum().backward()
    assert not ran
    assert x.grad is not None


def test_float32_maps_under_autocast_are_torch_s_to_round(ran):
    with torch.autocast("cpu", torch.bfloat16):
        y = Pointwise(64, 32)(drawn((2, 64, 9, 8), torch.float32))
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert not ran
