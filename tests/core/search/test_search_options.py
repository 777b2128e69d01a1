"""A search scored on the way, supervised by identities, and followed by a tracker."""

import sys
import types

import pytest
import torch
from accelerate import tracking
from common import StopAfter, lines_without_clock, same_weights
from torch.nn import functional

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.config import SearchConfig
from msinet_core.errors import Stopped
from msinet_core.runs.folder import RunFolder
from msinet_core.search import ContrastiveMemory, search
from msinet_core.search.supervision import IdentityClassifier
from msinet_core.training import batch_hard_triplet


def run_search(settings, folder, stop=None, **changes):
    config = SearchConfig(**{**settings, "channels": (16, 16, 16, 16), **changes})
    resume = RunFolder(folder).has_checkpoint()
    return search(config, folder, progress=False, stop=stop, resume=resume)


def test_the_supernet_is_scored_on_identities_that_train_no_weight(tiny_settings, tmp_path):
    plain = run_search(tiny_settings, tmp_path / "plain", epochs=3)
    run = run_search(tiny_settings, tmp_path / "run", epochs=3, evaluate_every=2)
    assert same_weights(plain, run)
    lines = [line for line in run.lines() if line["kind"] == "evaluation"]
    assert [line["epoch"] for line in lines] == [2, 3]
    assert all(0 < line["mAP"] <= 1 for line in lines)
    assert run.metrics()["mAP"] == lines[-1]["mAP"]
    assert "held-out identities" in run.metrics()["protocol"]
    # Of eight identities one trains only, two are shared, and five are the validation's alone.
    assert lines[0]["queries"] == 2 * 5
    with pytest.raises(ReidError, match=r"overlap 1\.0 every identity trains the weights"):
        run_search(tiny_settings, tmp_path / "none", evaluate_every=1, overlap=1.0)


def test_identities_supervise_instead_of_memories(tiny_settings, tmp_path):
    changes = {"supervision": "identity", "evaluate_every": 1}
    whole = run_search(tiny_settings, tmp_path / "whole", **changes)
    with pytest.raises(Stopped):
        run_search(tiny_settings, tmp_path / "parts", StopAfter(5), **changes)
    parts = run_search(tiny_settings, tmp_path / "parts", **changes)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)
    memories = [run.checkpoint().state["memories"] for run in (whole, parts)]
    for one, two in zip(*memories, strict=True):
        assert torch.equal(one["velocity"], two["velocity"])
        assert one["velocity"].abs().max() > 0
    twins = run_search(tiny_settings, tmp_path / "twins", evaluate_every=1)
    assert not same_weights(whole, twins)


def test_the_classifier_against_autograd():
    torch.manual_seed(0)
    classifier = IdentityClassifier(4, 6, rate=0.3, momentum=0.5)
    assert isinstance(classifier, ContrastiveMemory)
    weights = torch.zeros(4, 6, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.3, momentum=0.5)
    for _ in range(3):
        x, y = torch.randn(8, 6), torch.randint(4, (8,))
        entropy = functional.cross_entropy(x @ weights.T, y)
        torch.testing.assert_close(classifier.loss(x, y), entropy + batch_hard_triplet(x, y))
        optimizer.zero_grad()
        entropy.backward()
        optimizer.step()
        classifier.update(x, y)
        torch.testing.assert_close(classifier.rows, weights.detach())


# -- trackers ------------------------------------------------------------------------------------


class FakeTracker:
    """Stands in for accelerate's own of trackio."""

    made: list = []  # noqa: RUF012

    def __init__(self, **options):
        self.options, self.lines, self.config, self.ended = options, [], None, False
        FakeTracker.made.append(self)

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None):
        if self.options["name"] == "broken" and len(self.lines) == 2:
            raise RuntimeError("no network")
        self.lines.append((step, values))

    def finish(self):
        self.ended = True


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("trackio")
    module.__spec__ = types.SimpleNamespace(name="trackio")
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", FakeTracker)
    FakeTracker.made.clear()
    return FakeTracker.made


def test_a_tracker_gets_the_numbers_of_the_history(tiny_settings, tmp_path, fake):
    plain = run_search(tiny_settings, tmp_path / "plain")
    run = run_search(tiny_settings, tmp_path / "run", track="trackio", evaluate_every=2)
    assert same_weights(plain, run)
    (tracker,) = fake
    assert tracker.options == {"run_name": "msinet", "name": "run"}
    assert tracker.config["epochs"] == 2
    assert tracker.ended
    lines = [line for line in run.lines() if line["kind"] in ("step", "epoch", "evaluation")]
    assert len(tracker.lines) == len(lines)
    steps = [step for step, _ in tracker.lines]
    assert steps == sorted(steps)
    for (_, sent), line in zip(tracker.lines, lines, strict=True):
        assert all(line[name.split("/")[1]] == value for name, value in sent.items())
    assert "epoch/train_loss" in tracker.lines[-2][1]
    assert "evaluation/mAP" in tracker.lines[-1][1]


def test_a_tracker_that_fails_ends_no_run(tiny_settings, tmp_path, fake):
    with pytest.warns(UserWarning, match=r"trackio takes no more \(no network\); the run goes on"):
        run = run_search(tiny_settings, tmp_path / "broken", track="trackio")
    assert run.finished


def test_a_tracker_that_is_not_installed_is_one_sentence(tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ReidError, match="wandb is not installed: pip install wandb"):
        run_search(tiny_settings, tmp_path / "run", track="wandb")
    assert not (tmp_path / "run").exists()


def test_tensorboard(tiny_settings, tmp_path):
    pytest.importorskip("tensorboard")
    words = ["search", "--root", tiny_settings["root"], "--run", str(tmp_path / "run"), "--quiet"]
    words += ["--height", "32", "--width", "32", "--channels", "16", "16", "16", "16"]
    words += ["--identities-per-batch", "2", "--images-per-identity", "2", "--epochs", "1"]
    assert main([*words, "--device", "cpu", "--track", "tensorboard"]) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run/tracking")).Reload()
    line = RunFolder(tmp_path / "run").epochs().iloc[-1]
    (scalar,) = events.Scalars("epoch/train_loss")
    assert scalar.value == pytest.approx(line["train_loss"])
