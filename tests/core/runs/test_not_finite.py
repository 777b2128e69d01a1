"""Numbers that are none: the run stops, reports, and its checkpoint stays sound."""

import json
import sys
from pathlib import Path

import pytest
import torch
from common import StopAfter, same_weights, small_training

from msinet_core import ReidError
from msinet_core.config import SearchConfig
from msinet_core.runs.folder import RunFolder
from msinet_core.search import ContrastiveMemory, search
from msinet_core.training import train

training_room = sys.modules[train.__module__]


def test_a_loss_that_is_not_finite_stops_and_leaves_a_report(tiny_settings, tmp_path, monkeypatch):
    true_loss, calls = training_room.training_loss, []

    def loss(output, labels, **options):
        calls.append(1)
        if len(calls) == 6:  # the second step of the second epoch
            output.global_logits.data[0, 0] = float("inf")
        return true_loss(output, labels, **options)

    monkeypatch.setattr(training_room, "training_loss", loss)
    with pytest.raises(ReidError, match=r"not finite in epoch 2 after step 1 .*failure\.json"):
        small_training(tiny_settings, tmp_path / "run", images_per_identity=4)
    run = RunFolder(tmp_path / "run")
    checkpoint = run.checkpoint()
    assert checkpoint.state["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in checkpoint.weights.values())
    report = json.loads((run.path / "failure.json").read_text())
    assert (report["epoch"], report["steps_done"]) == (2, 1)
    assert report["learning_rates"] == [pytest.approx(0.065, rel=1)]
    assert len(report["batch"]["train"]) == 16
    assert all((Path(tiny_settings["root"]) / path).is_file() for path in report["batch"]["train"])
    # looked at before the step that would have spoilt them
    assert not report["weight_norms"]["not_finite"]
    assert report["gradient_norms"]["not_finite"]
    assert report["values"]["loss"] in ("nan", "inf")
    monkeypatch.setattr(training_room, "training_loss", true_loss)
    small_training(tiny_settings, run.path, images_per_identity=4)  # goes on from there
    assert not (run.path / "failure.json").exists()
    whole = small_training(tiny_settings, tmp_path / "whole", images_per_identity=4)
    assert same_weights(run, whole)


@pytest.mark.parametrize("side", [0, 1])
def test_a_search_loss_that_is_not_finite(tiny_settings, tmp_path, monkeypatch, side):
    true_loss, calls = ContrastiveMemory.loss, []

    def loss(self, x, y):
        calls.append(1)
        value = true_loss(self, x, y)
        # step 1: one loss; then two each
        return value * float("nan") if len(calls) == 4 + side else value

    monkeypatch.setattr(ContrastiveMemory, "loss", loss)
    with pytest.raises(
        ReidError,
        match=("validation_loss", "train_loss")[side] + " is not finite in epoch 1 after step 2",
    ):
        search(SearchConfig(**tiny_settings, overlap=1.0), tmp_path / "run", progress=False)
    report = json.loads((tmp_path / "run/failure.json").read_text())
    assert len(report["batch"]["train"]) == len(report["batch"]["validation"]) == 4
    assert len(report["learning_rates"]) == 2
    assert not RunFolder(tmp_path / "run").has_checkpoint()


def test_spoilt_weights_are_not_saved(tiny_settings, tmp_path):
    """Weights tell of a spoilt gradient one step before the loss does."""
    worker = []
    true_init = training_room.Training.__init__

    def init(self, *words, **options):
        true_init(self, *words, **options)
        worker.append(self)

    def spoil():
        next(worker[0].model.parameters()).data.mul_(float("inf"))
        return True

    training_room.Training.__init__ = init
    try:
        with pytest.raises(ReidError, match="not finite"):
            small_training(tiny_settings, tmp_path / "run", stop=StopAfter(1, spoil))
    finally:
        training_room.Training.__init__ = true_init
    assert not RunFolder(tmp_path / "run").has_checkpoint()
