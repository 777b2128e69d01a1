"""What a replayed step is made of, on a processor; `test_gpu.py` has the graphs themselves."""

import json
import sys

import pytest
import torch
from common import lines_without_clock, same_weights
from torch import nn

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import ReidError
from msinet_core.replay import NotFinite, Replayed, Reports, Stepper, Values
from msinet_core.runs.folder import RunFolder
from msinet_core.search import ContrastiveMemory, search
from msinet_core.search.twin_search import make_adam
from msinet_core.training import train

training_room = sys.modules[train.__module__]


@pytest.fixture
def fused_adam(monkeypatch):
    """Alpha's optimiser in the form that it has on a GPU."""

    def make(supernet, config):
        (group,) = make_adam(supernet, config).param_groups
        return torch.optim.Adam([{**group, "fused": True}], fused=True)

    monkeypatch.setattr("msinet_core.search.twin_search.make_adam", make)


@pytest.fixture
def recorded(monkeypatch, fused_adam):
    """Runs take the way of a step that is recorded, whose functions a processor just calls."""
    monkeypatch.setattr("msinet_core.speed.replays", lambda *_: True)


def optimizer_of(weight, **options):
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9, fused=True, **options)
    weight.grad = torch.ones_like(weight)
    return optimizer


def test_a_recorded_step_reads_its_rate_and_stops_at_what_is_not_finite():
    weight, other = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    stepper = Stepper(optimizer_of(weight), recorded=True)
    second = Stepper(optimizer_of(other), True, stepper.spoilt)
    sound, broken = (Values(["loss"], torch.tensor([x])) for x in (1.0, float("nan")))
    stepper.optimizer.param_groups[0]["lr"] = 0.5
    stepper.write_rates()
    second.write_rates()
    stepper.step(sound)
    assert weight.tolist() == [-0.5] * 3
    assert stepper.optimizer.param_groups[0]["lr"] == 0.5  # schedules go on with plain numbers
    second.step(broken)
    for later in (sound, sound):
        stepper.step(later)
    assert weight.tolist() == [-0.5] * 3
    assert other.tolist() == [0.0] * 3


def test_a_step_that_is_not_recorded_asks_at_once():
    weight = nn.Parameter(torch.zeros(3))
    stepper = Stepper(optimizer_of(weight), recorded=False)
    with pytest.raises(NotFinite, match="loss inf") as caught:
        stepper.step(Values(["loss"], torch.tensor([float("inf")])))
    assert caught.value.counted == 0
    assert weight.tolist() == [0.0] * 3


@pytest.mark.parametrize("most", [0, 1, 3])
def test_values_arrive_in_order_and_at_most_so_late(most):
    reports, seen = Reports(most), []
    for step in range(1, 8):
        seen += reports.add(step, Values(["loss"], torch.tensor([float(step)])))
        assert [number for number, _ in seen] == list(range(1, step + 1 - most))
    seen += reports.rest()
    assert seen == [(step, {"loss": float(step)}) for step in range(1, 8)]


def test_the_first_that_is_not_finite_is_named_however_late():
    reports = Reports(3)
    for step, value in enumerate([1.0, float("nan"), float("inf")], 1):
        assert not list(reports.add(step, Values(["loss"], torch.tensor([value]))))
    found = reports.add(4, Values(["loss"], torch.tensor([0.0])))
    assert next(found) == (1, {"loss": 1.0})
    with pytest.raises(NotFinite, match="loss nan") as caught:
        list(reports.rest())
    assert caught.value.counted == 3  # that step and the two after it


def test_another_place_is_told():
    replayed = Replayed(lambda x: x + 1, works=False)
    assert replayed(torch.ones(1)).item() == 2
    assert replayed.place == 0  # nothing is ever recorded from it


EXACT = {"precision": "fp32", "learning_rate": 2**-5, "warmup_epochs": 0.0, "milestones": ()}
EXACT_ALPHA = {"alpha_learning_rate": 2**-11, "alpha_milestones": ()}


@pytest.mark.parametrize(
    "kind, run, changes",
    [
        (TrainConfig, train, {}),
        (TrainConfig, train, {"accumulate": 2, "ema": 0.9, "centre_weight": 1e-3}),
        (TrainConfig, train, {"optimizer": "adamw", "learning_rate": 2**-10}),
        (SearchConfig, search, {"overlap": 1.0}),
        (SearchConfig, search, {"leak_validation_gradient": True, "entropy_penalty": 0.1}),
        (SearchConfig, search, {"supervision": "identity", "accumulate": 2}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_both_ways_give_the_same_bits(
    tiny_settings, tmp_path, monkeypatch, fused_adam, kind, run, changes
):
    """At rates that float32 holds, as it is what a recorded step reads them in."""
    alpha = EXACT_ALPHA if kind is SearchConfig else {}
    config = kind(**{**tiny_settings, **EXACT, **alpha, **changes})
    ends = [run(config, tmp_path / "eager", progress=False)]
    monkeypatch.setattr("msinet_core.speed.replays", lambda *_: True)
    ends.append(run(config, tmp_path / "recorded", progress=False))
    assert len(ends[0].lines()) > 4
    assert lines_without_clock(ends[0]) == lines_without_clock(ends[1])
    assert same_weights(*ends)


def test_a_training_that_breaks_is_told_with_its_step(
    tiny_settings, tmp_path, monkeypatch, recorded
):
    true_loss, calls = training_room.training_loss, []

    def loss(output, labels, **options):
        calls.append(1)
        if len(calls) == 3:
            output.global_logits.data[0, 0] = float("inf")
        return true_loss(output, labels, **options)

    monkeypatch.setattr(training_room, "training_loss", loss)
    config = TrainConfig(**{**tiny_settings, "precision": "fp32"})
    with pytest.raises(ReidError, match=r"not finite in epoch 1 after step 2 .*failure\.json"):
        train(config, tmp_path / "run", progress=False)
    assert len(calls) > 4  # others had begun by then
    report = json.loads((tmp_path / "run/failure.json").read_text())
    assert (report["epoch"], report["steps_done"]) == (1, 2)
    assert not report["weight_norms"]["not_finite"]
    assert report["gradient_norms"] is None  # they are of a later step
    assert not RunFolder(tmp_path / "run").has_checkpoint()


def test_a_search_that_breaks_is_told_with_its_step(tiny_settings, tmp_path, monkeypatch, recorded):
    true_loss, calls = ContrastiveMemory.loss, []

    def loss(self, x, y):
        calls.append(1)
        value = true_loss(self, x, y)
        return value * float("nan") if len(calls) == 4 else value

    monkeypatch.setattr(ContrastiveMemory, "loss", loss)
    config = SearchConfig(**{**tiny_settings, "precision": "fp32"}, overlap=1.0)
    with pytest.raises(ReidError, match="validation_loss is not finite in epoch 1 after step 2"):
        search(config, tmp_path / "run", progress=False)
    report = json.loads((tmp_path / "run/failure.json").read_text())
    assert report["steps_done"] == 2
    assert not report["weight_norms"]["not_finite"]
