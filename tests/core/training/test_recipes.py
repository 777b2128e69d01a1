"""Recipes, optimisers, schedules, the moving average and further losses; what they share with the
paper's recipe stays to the bit (`test_exact_recipe.py`).
"""

import copy

import pytest
import torch
from common import NARROW, StopAfter, flags, lines_without_clock, same_weights, small_training
from torch import nn
from torch.nn import functional

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import Stopped
from msinet_core.models.networks import ReidOutput
from msinet_core.runs.feeding import augmentation_of
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.schedule import Cosine
from msinet_core.training.ema import MovingAverage
from msinet_core.training.further_losses import FurtherLosses


def test_recipes_are_defaults_that_what_is_given_overrides():
    strong = TrainConfig.of_recipe("strong", epochs=30, learning_rate=0.1)
    assert (strong.schedule, strong.ema, strong.augmentation) == ("cosine", 0.99, "both")
    assert (strong.learning_rate, strong.scaled_warmup) == (0.1, 3)
    assert TrainConfig.of_recipe() == TrainConfig()
    assert TrainConfig.of_recipe(exact=True) == TrainConfig.to_the_letter()
    assert SearchConfig.of_recipe(exact=True) == SearchConfig.to_the_letter()
    with pytest.raises(ReidError, match="no recipe 'strnog'; there are paper, strong"):
        TrainConfig.of_recipe("strnog")
    with pytest.raises(ReidError, match="to the letter"):
        TrainConfig.of_recipe("strong", exact=True)


WORDS = flags({**NARROW, "epochs": 1, "identities_per_batch": 4})


def test_the_command_takes_a_recipe_and_says_what_differs(tiny_root, tmp_path, capsys):
    words = ["train", "--root", str(tiny_root), "--run", str(tmp_path / "run"), *WORDS]
    assert main([*words, "--recipe", "strong", "--learning-rate", "0.02"]) == 0
    said = capsys.readouterr().out
    assert "what differs from the paper's recipe" in said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line[:2] == "  "}
    assert rows["schedule"] == ["cosine", "(steps)"]
    assert rows["learning_rate"] == ["0.02", "(0.065)"]
    config = RunFolder(tmp_path / "run").config()
    assert (config.ema, config.learning_rate, config.augmentation) == (0.99, 0.02, "both")
    assert main(["train", "--run", str(tmp_path / "run"), "--resume", "--quiet"]) == 0
    assert "differs" not in capsys.readouterr().out
    assert main(["train", "--run", str(tmp_path / "run"), "--recipe", "strong", "--exact"]) == 2
    assert "to the letter" in capsys.readouterr().err


def test_exact_on_the_command_line(tiny_root, tmp_path):
    words = ["train", "--root", str(tiny_root), "--run", str(tmp_path / "run"), *WORDS, "--quiet"]
    assert main([*words, "--exact"]) == 0
    config = RunFolder(tmp_path / "run").config()
    assert (config.different_cameras, config.max_gradient_norm) == (False, None)


def test_help_names_the_recipes_and_shows_their_values(capsys):
    for words, expected in (([], "default: 0.0)"), (["--recipe", "strong"], "default: 0.99)")):
        with pytest.raises(SystemExit):
            main(["train", *words, "--help"])
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "strong: --schedule cosine --learning-rate 0.13 --ema 0.99" in said
        assert expected in said.split("--ema FLOAT")[1][:300]


@pytest.mark.parametrize(
    ("height", "width", "pixels"), [(256, 128, 10), (64, 64, 5), (256, 256, 10), (64, 32, 2)]
)
def test_padding_in_proportion(height, width, pixels):
    size = {"height": height, "width": width}
    assert augmentation_of(TrainConfig(pad=None, **size)).pad == pixels
    assert augmentation_of(TrainConfig(**size)).pad == 10
    assert augmentation_of(TrainConfig(pad=0, augmentation="none", **size)).pad == 0


def test_cosine_rises_and_falls():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    cosine = Cosine(optimizer, epochs=30, warmup=3)
    places = {0.0: 0.02, 1.5: 2 * 0.505, 3.0: 2.0, 16.5: 1.0, 30.0: 0.0}
    for place, rate in places.items():
        cosine.move_to(place)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-12)
    assert TrainConfig(schedule="cosine", epochs=30, warmup_epochs=1).scaled_warmup == 1


def test_adamw_asks_for_a_rate_of_its_own():
    for kind in (TrainConfig, SearchConfig):
        with pytest.raises(ReidError, match="is SGD's; AdamW takes one about"):
            kind(optimizer="adamw")
        assert kind(optimizer="adamw", learning_rate=3e-4).optimizer == "adamw"


ALL = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "ema": 0.9,
    "augmentation": "both",
    "circle_weight": 0.1,
    "centre_weight": 5e-4,
    "pooling": "gem",
    "drop_path": 0.3,
    "colour_cast": 0.3,
    "grey": 0.2,
    "evaluate_every": 1,
}


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    """Uninterrupted, with all of it."""
    pytest.importorskip("pytorch_metric_learning")
    return small_training(tiny_settings, tmp_path_factory.mktemp("whole") / "run", **ALL)


@pytest.mark.parametrize("looks", [1, 6, 8])  # 8: after the last step of an epoch
def test_all_of_it_is_resumed_bit_for_bit(whole, tiny_settings, tmp_path, looks):
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "parts", StopAfter(looks), **ALL)
    parts = small_training(tiny_settings, tmp_path / "parts", **ALL)
    assert same_weights(whole, parts)
    states = [run.checkpoint().state for run in (whole, parts)]
    for part in ("model", "steps"):
        assert str(states[0]["average"][part]) == str(states[1]["average"][part])
    assert torch.equal(*(state["further"]["centre.centres"] for state in states))
    assert lines_without_clock(whole) == lines_without_clock(parts)


AN_EPOCH = {"learning_rate": 1e-3, "epochs": 1}


@pytest.fixture(scope="module")
def plain(tiny_settings, tmp_path_factory):
    return small_training(tiny_settings, tmp_path_factory.mktemp("plain") / "run", **AN_EPOCH)


@pytest.mark.parametrize("name", sorted({*ALL} - {"evaluate_every", "learning_rate"}))
def test_each_of_them_changes_what_is_learnt(plain, tiny_settings, tmp_path, name):
    """So that the test above cannot pass by ignoring one."""
    if name == "circle_weight":
        pytest.importorskip("pytorch_metric_learning")
    changed = small_training(tiny_settings, tmp_path / "run", **AN_EPOCH, **{name: ALL[name]})
    assert not same_weights(plain, changed)


def test_what_is_scored_is_what_is_saved(tiny_settings, tmp_path):
    from msinet_core.data import load_dataset
    from msinet_core.retrieval import evaluate, load_model

    run = small_training(tiny_settings, tmp_path / "run", ema=0.9)
    dataset = load_dataset("manifest", tiny_settings["root"])
    metrics = evaluate(load_model(run.path), dataset).metrics()
    assert metrics["mAP"] == pytest.approx(run.metrics()["mAP"])
    raw = run.checkpoint().state["average"]["model"]
    assert any(not torch.equal(raw[n], w) for n, w in run.checkpoint().weights.items())


def test_the_moving_average_is_that_of_weights_and_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average, expected = MovingAverage(model, 0.75), None
    for _ in range(5):
        model(torch.randn(8, 3)).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
        now = copy.deepcopy(model.state_dict())
        expected = (
            now
            if expected is None
            else {name: 0.75 * value + 0.25 * now[name] for name, value in expected.items()}
        )
        average.update()
    found = average.network.state_dict()
    for name in ("0.weight", "1.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(found[name], expected[name])


def output_of(features, part):
    return ReidOutput(features, features, part, part, features, None)


def test_the_circle_loss_against_its_formula():
    pytest.importorskip("pytorch_metric_learning")
    torch.manual_seed(0)
    features, part = torch.randn(8, 3), torch.randn(8, 2)
    identities = torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    losses = FurtherLosses(TrainConfig(circle_weight=2.0), 3, 5)
    unit = functional.normalize(torch.cat((features, part), 1))
    similarity, margin, scale = unit @ unit.T, 0.4, 80
    same, own = identities[:, None] == identities, torch.eye(8, dtype=torch.bool)
    near = scale * (similarity + margin).clamp(min=0) * (similarity - margin)
    far = -scale * (1 + margin - similarity).clamp(min=0) * (similarity - (1 - margin))
    terms = torch.logsumexp(far.masked_fill(~same | own, -torch.inf), 1)
    terms = terms + torch.logsumexp(near.masked_fill(same, -torch.inf), 1)
    expected = 2 * functional.softplus(terms).mean()
    torch.testing.assert_close(losses(output_of(features, part), identities), expected)


def test_centres_move_to_their_images_whatever_the_weight():
    torch.manual_seed(0)
    features, part, identities = torch.randn(4, 3), torch.randn(4, 2), torch.tensor([0, 0, 1, 1])
    whole, moved = torch.cat((features, part), 1), []
    for weight in (1.0, 1e-3):
        losses = FurtherLosses(TrainConfig(centre_weight=weight), 2, 5)
        before = losses.centre.centres.detach().clone()
        loss = losses(output_of(features, part), identities)
        distance = (whole - before[identities]).square().sum(1).mean()
        torch.testing.assert_close(loss, weight * distance)
        loss.backward()
        losses.step()
        moved.append(losses.centre.centres.detach())
        expected = (
            before
            + torch.stack([(whole[:2] - before[0]).sum(0), (whole[2:] - before[1]).sum(0)]) / 4
        )
        torch.testing.assert_close(moved[-1], expected)
    torch.testing.assert_close(*moved)


def test_a_run_may_grow_and_its_schedule_is_stretched(tiny_settings, tmp_path, capsys):
    for schedule in ("steps", "cosine"):
        changes = {"schedule": schedule, "learning_rate": 0.01}
        long = small_training(tiny_settings, tmp_path / f"{schedule}-long", epochs=4, **changes)
        grown = small_training(tiny_settings, tmp_path / schedule, **changes)
        assert grown.finished
        grown = small_training(tiny_settings, tmp_path / schedule, epochs=4, **changes)
        assert len(grown.epochs()) == 4
        rates = [run.epochs()["learning_rate"].tolist() for run in (long, grown)]
        assert rates[0][2:] == rates[1][2:]
        assert rates[0][:2] != rates[1][:2]
        log = (grown.path / "log.txt").read_text()
        assert "from 2 to 4 epochs: the schedule is that of 4 epochs from here on" in log
        with pytest.raises(ReidError, match="epochs was 4, now 3"):
            small_training(tiny_settings, tmp_path / schedule, epochs=3, **changes)
    words = ["train", "--run", str(tmp_path / "steps"), "--resume", "--epochs", "5"]
    assert main(words) == 0
    assert "from 4 to 5 epochs: the schedule is stretched" in capsys.readouterr().out
