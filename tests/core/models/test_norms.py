"""The norm with its compiled loops, the layers of torch it stands for, and where it gives way to
them.
"""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from msinet_core.models import norms
from msinet_core.models.blocks import ConvNorm
from msinet_core.models.entrance import enter
from msinet_core.models.interactions import ChannelGate
from msinet_core.models.light import Light3x3
from msinet_core.models.norms import Norm, add_normed
from msinet_core.models.pools import pooled

CHANNELS_LAST = {"memory_format": torch.channels_last}
loops = pytest.mark.skipif(
    norms.compiled_loops() is None, reason="torch does not run on GNU's OpenMP here"
)


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


def passed(work, maps, gradient, modules):
    """Output, gradients and buffers of a forward and backward pass of `work` over some maps."""
    maps = [part.detach().requires_grad_() for part in maps]
    with torch.autocast("cpu", torch.bfloat16, enabled=maps[0].dtype == torch.bfloat16):
        y = work(*maps)
    y.backward(gradient)
    found = {"y": y.detach()} | {f"map {number}": part.grad for number, part in enumerate(maps)}
    for number, module in enumerate(modules):
        found |= {f"{number} {name}": value.grad for name, value in module.named_parameters()}
        found |= {f"{number} {name}": value for name, value in module.named_buffers()}
    return {name: value.clone() for name, value in found.items()}


def by_layers(monkeypatch, *arguments):
    """The same by torch's own layers."""
    with monkeypatch.context() as context:
        context.setattr(norms, "compiled_loops", lambda *_: None)
        return passed(*arguments)


def one_norm(channels, relu=True):
    norm = prepared(channels, relu)
    return norm, [norm]


def light(channels):
    """A light convolution whose first step changes nothing, so that the others are seen as they
    are.
    """
    torch.manual_seed(2)
    layer = Light3x3(channels).train()
    nn.init.dirac_(layer.pointwise.weight)
    layer.norm = prepared(channels, relu=True)
    return layer


def a_light(channels):
    layer = light(channels)
    return layer, [layer]


def a_pool(pool):
    """A norm with a pool behind it."""

    def make(channels):
        layer = ConvNorm(channels, channels).train()
        layer.conv = nn.Identity()
        layer.norm = prepared(channels, relu=True)
        return lambda x: pooled(x, layer, pool), [layer.norm]

    return make


def a_sum(channels, count=3):
    """As many norms, whatever else is given is added as it is."""
    parts = [prepared(channels, relu=False, seed=seed) for seed in range(count)]
    return lambda *maps: add_normed(maps[:count], parts, *maps[count:]), parts


POOLS = [("largest", nn.MaxPool2d(3, stride=2, padding=1)), ("mean", nn.AvgPool2d(2, stride=2))]
CASES = [
    ("norm, ReLU", lambda channels: one_norm(channels), 1, {"norm forward", "norm backward"}),
    ("norm", lambda channels: one_norm(channels, relu=False), 1, {"norm forward", "norm backward"}),
    ("light", a_light, 1, {"light forward", "light backward"}),
    ("three", a_sum, 3, {"norm statistics", "sum forward", "sum backward"}),
    (
        "two and a shortcut",
        lambda channels: a_sum(channels, 2),
        3,
        {"norm statistics", "sum forward", "sum backward"},
    ),
    ("three and a shortcut", a_sum, 4, {"norm statistics", "sum forward", "sum backward"}),
]
TOLERANCES = {
    torch.float32: {"rtol": 2e-4, "atol": 2e-4},
    torch.bfloat16: {"rtol": 2**-7, "atol": 0.05},
}


def close(found, expected, **tolerance):
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].to(value.dtype),
            value,
            **tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@contextmanager
def on_threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def passes(monkeypatch):
    """The names of the loops that ran."""
    ran, found = set(), norms.compiled_loops()
    run = found.run

    def noted(name, *arguments, **values):
        if name not in ("product", "kernel gradient"):
            ran.add(name)
        run(name, *arguments, **values)

    monkeypatch.setattr(found, "run", noted)
    return ran


@loops
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "shape", [(5, 48, 7, 3), (2, 64, 8, 4), (1, 528, 3, 1), (3, 16, 1, 5), (4, 32, 2, 1)]
)
@pytest.mark.parametrize("name, make, count, expected", CASES, ids=[case[0] for case in CASES])
def test_equals_the_layers_one_after_the_other(
    monkeypatch, passes, name, make, count, expected, shape, threads
):
    monkeypatch.setattr(norms, "GRAIN", 0)
    gradient, *maps = (drawn(shape, seed=seed) for seed in range(1 + count))
    with on_threads(threads):
        work, modules = make(shape[1])
        ours = passed(work, maps, gradient, modules)
    assert passes == expected
    work, modules = make(shape[1])
    close(ours, by_layers(monkeypatch, work, maps, gradient, modules), rtol=2e-4, atol=2e-4)


def in_bf16_and_float32(monkeypatch, make, count):
    """The loops' results in bf16, and those of the layers from the same values in float32."""
    gradient, *maps = (drawn((6, 32, 9, 5), torch.bfloat16, seed) for seed in range(1 + count))
    work, modules = make(32)
    ours = passed(work, maps, gradient, modules)
    work, modules = make(32)
    return ours, by_layers(
        monkeypatch, work, [part.float() for part in maps], gradient.float(), modules
    )


WITHOUT_LIGHT = [case for case in CASES if case[0] != "light"]


@loops
@pytest.mark.parametrize(
    "name, make, count, expected", WITHOUT_LIGHT, ids=[case[0] for case in WITHOUT_LIGHT]
)
def test_bf16_is_rounded_once(monkeypatch, name, make, count, expected):
    """Half a unit in the last place, not several."""
    ours, exact = in_bf16_and_float32(monkeypatch, make, count)
    for kind, tolerance in ((torch.bfloat16, 2**-8), (torch.float32, 2e-3)):
        close(
            ours,
            {key: value for key, value in exact.items() if ours[key].dtype == kind},
            rtol=tolerance,
            atol=2e-3,
        )


@loops
def test_bf16_between_convolution_and_norm_is_rounded_too(monkeypatch):
    """Which lets a few values more or less through the ReLU: 13 of 8,640 here."""
    ours, exact = in_bf16_and_float32(monkeypatch, a_light, 1)
    for name, value in exact.items():
        apart = (ours[name].to(value.dtype) - value).abs()
        assert (apart > 0.02 * value.abs() + 0.02 * value.abs().max()).float().mean() < 0.01, name


@loops
@pytest.mark.parametrize(
    "name, make, count, expected", CASES[2:], ids=[case[0] for case in CASES[2:]]
)
def test_gives_way_where_channels_make_no_whole_vectors(
    monkeypatch, passes, name, make, count, expected
):
    gradient, *maps = (drawn((3, 24, 4, 5), seed=seed) for seed in range(1 + count))
    work, modules = make(24)
    ours = passed(work, maps, gradient, modules)
    assert not passes & expected
    work, modules = make(24)
    close(ours, by_layers(monkeypatch, work, maps, gradient, modules), rtol=2e-4, atol=2e-4)


@loops
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "shape", [(3, 32, 8, 6), (5, 16, 7, 5), (1, 48, 2, 10), (2, 16, 1, 3), (2, 64, 1, 1)], ids=str
)
@pytest.mark.parametrize("name, pool", POOLS, ids=[name for name, _ in POOLS])
def test_pools_behind_a_norm(monkeypatch, passes, name, pool, shape, threads, kind):
    """Against the layers in float32, on the same values: of bf16, the largest is found before it is
    rounded.
    """
    if name == "mean" and (shape[2] < 2 or shape[3] < 2):
        pytest.skip("there is nothing to take the mean of")
    monkeypatch.setattr(norms, "GRAIN", 0)
    x, make = drawn(shape, kind), a_pool(pool)
    gradient = drawn(pool(x.float()).shape, kind, seed=1)
    with on_threads(threads):
        work, modules = make(shape[1])
        ours = passed(work, [x], gradient, modules)
    whole = shape[2] % 2 == shape[3] % 2 == 0
    taken = (
        {"pool forward", "pool backward"}
        if name == "largest" or whole
        else {"norm forward", "norm backward"}
    )
    assert passes == (taken if shape[2:] != (1, 1) else passes)
    work, modules = make(shape[1])
    close(
        ours,
        by_layers(monkeypatch, work, [x.float()], gradient.float(), modules),
        **TOLERANCES[kind],
    )


@loops
@pytest.mark.parametrize("name, pool", POOLS, ids=[name for name, _ in POOLS])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_comes_through_pools(name, pool, bad):
    work, _ = a_pool(pool)(16)
    x = drawn((4, 16, 4, 4))
    x[2, 3, 1, 1] = bad
    y = work(x)
    assert y[:, 3].isnan().all()
    assert y[:, :3].isfinite().all()
    assert y[:, 4:].isfinite().all()


@loops
def test_networks_in_turn_do_not_disturb_each_other(monkeypatch):
    """The loops work in memory that all layers share: what a pass back needs must not lie there."""
    (work, modules), (other, _) = a_light(32), a_light(48)
    x, gradient = drawn((4, 32, 6, 3)).requires_grad_(), drawn((4, 32, 6, 3), seed=5)
    y = work(x)
    other(drawn((9, 48, 11, 7), seed=6))
    y.backward(gradient)
    work, modules = a_light(32)
    theirs = by_layers(monkeypatch, work, [x], gradient, modules)
    close({"map 0": x.grad}, {"map 0": theirs["map 0"]}, rtol=2e-4, atol=2e-4)


def an_entrance(channels):
    torch.manual_seed(3)
    parts = [ConvNorm(channels, channels).train() for _ in range(2)]
    for seed, part in enumerate(parts):
        part.norm = prepared(channels, relu=True, seed=seed)
    return lambda x: torch.cat(enter(x, *parts), dim=1), parts


@loops
@pytest.mark.parametrize("channels", [24, 32])  # by torch's convolution, and by our product
def test_the_entrance_of_both_branches_is_each_by_itself(monkeypatch, passes, channels):
    x, gradient = drawn((4, channels, 6, 4)), drawn((4, 2 * channels, 6, 4), seed=3)
    work, modules = an_entrance(channels)
    ours = passed(work, [x], gradient, modules)
    assert passes == {"norm forward", "norm backward"}
    work, modules = an_entrance(channels)
    close(ours, by_layers(monkeypatch, work, [x], gradient, modules), rtol=2e-4, atol=2e-4)


@loops
def test_a_slice_of_a_wider_map_is_for_the_layers():
    assert not prepared(16, relu=True).at_once(drawn((4, 40, 6, 2))[:, 24:])


@loops
def test_a_large_mean_does_not_drown_the_variance():
    x = drawn((8, 16, 16, 8)) * 0.01 + 1000
    y = Norm(16, relu=False).train()(x).double()
    exact = nn.functional.batch_norm(x.double(), None, None, training=True)
    assert (y - exact).abs().max() < 0.02 * exact.abs().max()


@loops
def test_nor_that_behind_a_convolution():
    x = drawn((8, 16, 16, 8)) * 0.01 + 100
    layer = Light3x3(16).train()
    nn.init.dirac_(layer.pointwise.weight)
    layer(x)
    norm, exact = (
        layer.norm,
        nn.functional.conv2d(x.double(), layer.depthwise.weight.double(), padding=1, groups=16),
    )
    torch.testing.assert_close(
        norm.running_mean.double(), 0.1 * exact.mean(dim=(0, 2, 3)), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        norm.running_var.double(), 0.9 + 0.1 * exact.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-4
    )


@loops
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name, make, count, expected", CASES, ids=[case[0] for case in CASES])
def test_what_is_not_finite_stays_so(kind, bad, name, make, count, expected):
    """Or a run would go on with a channel that is dead without a word."""
    x, *others = (drawn((4, 16, 4, 4), kind, seed) for seed in range(count))
    work, _ = make(16)
    if name == "light":  # whose first step would take it to all channels
        work.depthwise.weight.data[3, 0, 1, 1] = bad
    else:
        x[2, 3, 1, 1] = bad
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        y = work(x, *others)
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
    assert torch.equal(
        norm(x),
        torch.relu(
            nn.BatchNorm2d.forward(norm.eval() if case == "evaluation" else prepared_like(norm), x)
        ),
    )


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
    a, b = (
        torch.randn(2, 8, 3, 2, dtype=torch.float64)
        .contiguous(memory_format=layout)
        .requires_grad_()
        for _ in range(2)
    )
    parameters = tuple(gate.parameters())

    def gated(a, b, *_):
        return gate(a, b)

    assert torch.autograd.gradcheck(gated, (a, b, *parameters))
    with torch.no_grad():
        plain = gate(a, b)
    for one, two in zip(gate(a, b), plain, strict=True):
        torch.testing.assert_close(one, two)


@loops
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2**-7)])
@pytest.mark.parametrize("shape", [(5, 16, 9, 8), (1, 48, 1, 3), (2, 32, 2, 1)])
def test_the_gate_in_loops(monkeypatch, passes, shape, kind, tolerance, threads):
    """Against the gate of the layers in float64, on the same values."""
    monkeypatch.setattr(norms, "GRAIN", 0)
    torch.manual_seed(0)
    gate, maps = ChannelGate(shape[1], reduction=4), [drawn(shape, kind, seed) for seed in range(2)]
    gradient = drawn(shape, kind, seed=2)

    def both(a, b):
        return torch.stack(gate(a, b))

    with on_threads(threads):
        ours = passed(both, maps, torch.stack((gradient, -gradient)), [gate])
    assert passes == {"image sums", "image scale"}
    gate = gate.double()
    gate.zero_grad()
    exact = passed(
        both,
        [part.double().contiguous() for part in maps],
        torch.stack((gradient, -gradient)).double(),
        [gate],
    )
    for name, value in exact.items():
        assert (ours[name].double() - value).abs().max() <= tolerance * value.abs().max(), name
