"""An operation of one's own, in the search space, the search, the figures and the panels."""

import numpy as np
import pytest
import torch
from torch import nn

from msinet_core import OPERATIONS, Genotype, ReidError
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.models import MSINet, Supernet
from msinet_core.models.interactions import (
    NoInteraction,
    forget_operation,
    make_interaction,
    register_operation,
)
from msinet_core.retrieval import Embedder
from msinet_core.search import load_supernet, search
from msinet_core.training import train
from msinet_lab.diagnosis import chance_distance, diagnose
from msinet_lab.figures.architecture import alpha_heatmap
from msinet_lab.figures.network import draw_network
from msinet_lab.figures.style import as_array
from msinet_lab.panels import ArchitecturePanel, SearchSpacePanel, WhatIfPanel

CHANNELS = (16, 64, 64, 64)


@pytest.fixture
def average():
    """A registered function, taken out again afterwards."""

    @register_operation("average")
    def average(a, b):
        middle = (a + b) / 2
        return middle, middle

    yield average
    forget_operation("average")
    assert OPERATIONS == ("none", "channel_gate", "cross_attention", "exchange")


def test_the_list_is_as_a_tuple():
    assert OPERATIONS == ("none", "channel_gate", "cross_attention", "exchange")
    assert OPERATIONS[1:3] == ("channel_gate", "cross_attention")
    assert (len(OPERATIONS), OPERATIONS.index("exchange"), "none" in OPERATIONS) == (4, 3, True)
    assert [*OPERATIONS] == list(OPERATIONS) == [OPERATIONS[place] for place in range(4)]


def test_a_function(average):
    a, b = torch.randn(2, 3, 8, 4, 4).unbind()
    out = make_interaction("average", 8)(a, b)
    torch.testing.assert_close(out, ((a + b) / 2,) * 2)
    supernet = Supernet(CHANNELS)
    assert supernet.alphas.shape == (12, 5)
    genotype = Genotype.parse("-".join(["average"] * 12))
    assert Genotype.parse(str(genotype)) == Genotype.from_json(genotype.to_json()) == genotype
    assert {name for seed in range(30) for name in Genotype.sample(seed).slots} == set(OPERATIONS)
    assert chance_distance(5) == pytest.approx((4 / 5 + 3 / 4) / 2)


def test_a_module_with_parameters():
    @register_operation("scaled_sum")
    class ScaledSum(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.5))

        def forward(self, a, b):
            return a + self.weight * b, b + self.weight * a

    try:
        supernet = Supernet(CHANNELS)
        assert (
            sum(name.endswith("operations.4.weight") for name, _ in supernet.named_parameters())
            == 12
        )
        supernet(torch.randn(2, 3, 32, 32)).sum().backward()
        assert supernet.slots()[3].operations[4].weight.grad.abs().sum() > 0
    finally:
        forget_operation("scaled_sum")


def test_it_is_computed_in_evaluation_too(average):
    """Folding must not take a fifth operation for none."""
    torch.manual_seed(0)
    genotype = Genotype(("average",) * 12)
    model = MSINet(genotype, 2, CHANNELS).eval()
    plain = MSINet(Genotype.uniform("none"), 2, CHANNELS).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(Embedder(model).embed([images]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(Embedder(plain).embed([images]) - expected).max() > 1e-3


def test_search_training_figures_panels(average, tiny_settings, tiny_dataset, tmp_path):
    run = search(SearchConfig(**tiny_settings), tmp_path / "search", progress=False)
    assert np.shape(run.epochs().iloc[-1]["alphas"]) == (12, 5)
    trust = diagnose(run, random=2)
    assert trust.strength.loss.shape == (12, 5)
    assert "all average" in trust.baselines.named
    ArchitecturePanel({"run": run.lines()})
    panel = WhatIfPanel(run, tiny_dataset, k=2)
    panel.slots[0].value = "none"
    panel.slots[0].value = "average"
    assert "error-color" not in panel.status.value
    assert panel.genotype in panel.engine.results
    genotype = Genotype(("average", *run.genotype().slots[1:]))
    assert as_array(draw_network(genotype)).std() > 0
    assert as_array(alpha_heatmap(run)).std() > 0
    photo = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    space = SearchSpacePanel(photo, model=MSINet(genotype, 2, CHANNELS).eval())
    space.operation.value = "average"
    assert "error-color" not in space.status.value
    trained = train(
        TrainConfig(**{**tiny_settings, "genotype": str(genotype)}),
        tmp_path / "train",
        progress=False,
    )
    assert trained.metrics()["mAP"] > 0


def test_a_run_needs_its_operations(tiny_settings, tmp_path):
    register_operation("keep")(lambda a, b: (a, b))
    try:
        run = search(
            SearchConfig(**{**tiny_settings, "epochs": 1}), tmp_path / "run", progress=False
        )
    finally:
        forget_operation("keep")
    with pytest.raises(ReidError, match="5 operations"):
        load_supernet(run)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (lambda a, b: a + b, "a Tensor"),
        (lambda a, b: (a, b, a), r"\(2, 8, 4, 4\) .*\(2, 8, 4, 4\) .*\(2, 8, 4, 4\)"),
        (lambda a, b: (a, b.mean(1, keepdim=True)), r"\(2, 8, 4, 4\) .*\(2, 1, 4, 4\)"),
        (lambda a, b: (a[:1], b[:1]), r"\(1, 8, 4, 4\)"),
        (lambda a, b: (a.double(), b), "float64"),
        (lambda a, b: (a > 0, b), "bool"),
        (lambda a, b: (a.to("meta"), b), "meta"),
        (lambda a, b: (), "an empty tuple"),
        (lambda a, b: (a, None), "a tuple"),
        (lambda a, b: None, "a NoneType"),
    ],
)
def test_what_it_gives_is_checked(operation, said):
    register_operation("odd")(operation)
    try:
        module = make_interaction("odd", 8)
        with pytest.raises(ReidError, match=f"operation 'odd' must give both branches.*{said}"):
            module(*torch.randn(2, 2, 8, 4, 4))
    finally:
        forget_operation("odd")


def test_it_must_leave_its_branches_alone():
    register_operation("odd")(lambda a, b: (a.mul_(2), b))
    try:
        module = make_interaction("odd", 8)
        with pytest.raises(ReidError, match="changed its branches in place"):
            module(*torch.randn(2, 2, 8, 4, 4))
    finally:
        forget_operation("odd")


class Unmade(torch.nn.Module):
    def __init__(self, channels, wish):
        super().__init__()


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (lambda a, b: (a.requires_grad_().numpy(), b), "RuntimeError: Can't call numpy"),
        (lambda a, b: (torch.nn.functional.linear(a, b[:, :1]), b), "RuntimeError: "),
        (lambda a, b: (a.absent, b), "AttributeError: .*absent"),
        (lambda a: a, "TypeError: .* takes 1 positional argument"),
        (Unmade, "TypeError: .* missing 1 required positional argument: 'wish'"),
    ],
)
def test_where_it_fails_is_said(operation, said):
    register_operation("odd")(operation)
    try:
        with pytest.raises(ReidError, match=rf"operation 'odd' fails in line \d+ of .*: {said}"):
            make_interaction("odd", 8)(*torch.randn(2, 2, 8, 4, 4))
    finally:
        forget_operation("odd")


def test_under_autocast_it_may_give_narrow_numbers():
    register_operation("narrow")(lambda a, b: (a.bfloat16(), b.bfloat16()))
    try:
        module = make_interaction("narrow", 8)
        with torch.autocast("cpu", torch.bfloat16):
            assert module(*torch.randn(2, 2, 8, 4, 4))[0].dtype == torch.bfloat16
    finally:
        forget_operation("narrow")


def test_a_class_that_is_no_module_is_refused():
    with pytest.raises(ReidError, match="neither a function of both branches nor a module class"):
        register_operation("odd")(dict)
    assert "odd" not in OPERATIONS


@pytest.mark.parametrize("name", ["none", "ag", "Average", "two words", ""])
def test_bad_names(name):
    with pytest.raises(ReidError):
        register_operation(name)(lambda a, b: (a, b))
    with pytest.raises(ReidError):
        forget_operation("none")
    assert isinstance(make_interaction("none", 8), NoInteraction)
