"""Training from raw images to metrics, stopping and resuming, and what is refused beforehand."""

import pandas as pd
import pytest
import torch
from common import StopAfter

from msinet_core import PAPER_GENOTYPE, ReidError
from msinet_core.config import TrainConfig
from msinet_core.data import ReidDataset
from msinet_core.errors import Stopped
from msinet_core.models import MSINet, reference
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import make_network
from msinet_core.runs.schedule import Schedule
from msinet_core.training import load_network, train


def run_training(tiny_settings, folder, stop=None, **changes):
    config = TrainConfig(**{**tiny_settings, **changes})
    return train(config, folder, progress=False, stop=stop, resume=RunFolder(folder).exists)


def test_from_photographs_to_metrics(tiny_settings, tmp_path):
    run = run_training(tiny_settings, tmp_path / "run", evaluate_every=1)
    metrics = run.metrics()
    assert metrics["counted"] == 16
    assert 0 < metrics["mAP"] <= 1
    history = run.history()
    assert list(history[history["kind"] == "evaluation"]["epoch"]) == [1, 2]
    assert str(run.genotype()) == str(PAPER_GENOTYPE)
    model = load_network(run)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, model.feature_length)


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    return run_training(tiny_settings, tmp_path_factory.mktemp("whole") / "run", alignment="pos")


@pytest.mark.parametrize("looks", [2, 17])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(
    whole, tiny_settings, tmp_path, looks
):
    with pytest.raises(Stopped):
        run_training(tiny_settings, tmp_path / "parts", alignment="pos", stop=StopAfter(looks))
    parts = run_training(tiny_settings, tmp_path / "parts", alignment="pos")
    expected, found = whole.checkpoint().weights, parts.checkpoint().weights
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert whole.metrics() == parts.metrics()


def test_workers_and_cache_change_no_bit(tiny_settings, tmp_path):
    runs = [
        run_training(tiny_settings, tmp_path / "a", epochs=1),
        run_training(tiny_settings, tmp_path / "b", epochs=1, workers=3, cache="none"),
    ]
    first, second = (run.checkpoint().weights for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_long_gradients_are_shortened(tiny_settings, tmp_path):
    """By a bound next to nothing the weights stay where they start; without one they leave; both
    tell the norm.
    """
    moved = {}
    for bound in (1e-7, None):
        run = run_training(
            tiny_settings,
            tmp_path / str(bound),
            epochs=1,
            weight_decay=0.0,
            max_gradient_norm=bound,
        )
        model = load_network(run)
        torch.manual_seed(run.config().seed)
        start = make_network(run.config(), run.genotype(), model.num_identities)
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        moved[bound] = max(float((one - two).detach().abs().max()) for one, two in pairs)
        assert run.epochs()["gradient_norm"].iloc[0] > 1
    assert moved[1e-7] < 1e-6
    assert moved[None] > 1e-3


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_train_too(tiny_settings, tmp_path, precision):
    run = run_training(tiny_settings, tmp_path / "run", epochs=1, precision=precision)
    assert run.epochs()["loss"].notna().all()
    assert all(
        w.dtype == torch.float32 for w in run.checkpoint().weights.values() if w.is_floating_point()
    )


def rates_of(config, rate, steps):
    """The learning rate at every step of a run."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    schedule = Schedule(
        optimizer,
        config.milestone_ticks(config.milestones),
        config.ticks_per_epoch,
        config.scaled_warmup > 0,
    )
    rates = []
    for epoch in range(config.epochs):
        for step in range(steps):
            schedule.move_to(epoch + step / steps)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
    return rates


@pytest.mark.parametrize("kind, rate", [("search", 0.025), ("train", 0.065)])
def test_learning_rates_of_all_epochs(golden_file, kind, rate):
    expected = golden_file("lr_schedule.json")[kind]
    assert rates_of(TrainConfig(epochs=350), rate, 1) == pytest.approx(expected, rel=1e-6)
    # A run of a tenth as many epochs passes the same rates, ten of them in each of its own epochs.
    assert rates_of(TrainConfig(epochs=35), rate, 10) == pytest.approx(expected, rel=1e-6)


def test_own_warmup_and_milestones():
    rates = rates_of(TrainConfig(epochs=4, warmup_epochs=1, milestones=(3,)), 1.0, 10)
    stairs = [0.01 + 0.099 * stair for stair in range(10)]
    assert rates == pytest.approx(stairs + 20 * [1.0] + 10 * [0.1])
    assert rates_of(
        TrainConfig(epochs=2, warmup_epochs=0, milestones=(1,)), 1.0, 2
    ) == pytest.approx([1, 1, 0.1, 0.1])


def changed(dataset, **columns):
    return ReidDataset(dataset.name, dataset.root, dataset.table.assign(**columns))


def test_no_match_in_another_camera_is_said_before_training(tiny_settings, tiny_dataset, tmp_path):
    alone = changed(tiny_dataset, camera=1)
    with pytest.raises(ReidError, match="in another camera"):
        train(TrainConfig(**tiny_settings), tmp_path / "run", dataset=alone, progress=False)
    assert not (tmp_path / "run").exists()


def test_data_without_cameras_trains_and_is_scored(tiny_settings, tiny_dataset, tmp_path):
    free = changed(tiny_dataset, camera=pd.NA)
    run = train(
        TrainConfig(**{**tiny_settings, "epochs": 1}),
        tmp_path / "run",
        dataset=free,
        progress=False,
    )
    assert "camera-less" in run.metrics()["protocol"]


def test_an_identity_of_one_image_is_named_and_can_be_left_out(
    tiny_settings, tiny_dataset, tmp_path
):
    table = tiny_dataset.table
    single = table[(table["identity"] != 3) | (table["path"] == "images/003_c0_0.png")]
    dataset = tiny_dataset.with_table(single)
    with pytest.raises(ReidError, match=r"identity '3' .*003_c0_0\.png.*--min-images 2"):
        train(TrainConfig(**tiny_settings), tmp_path / "run", dataset=dataset, progress=False)
    config = {**tiny_settings, "epochs": 1}
    for place, (least, count) in enumerate([(2, 7), (1, 8)]):
        run = train(
            TrainConfig(**config, min_images=least),
            tmp_path / f"run{place}",
            dataset=dataset,
            progress=False,
        )
        assert run.checkpoint().state["num_identities"] == count


def test_a_test_set_needs_queries_and_gallery(tiny_settings, tiny_dataset, tmp_path):
    table = tiny_dataset.table
    dataset = tiny_dataset.with_table(table[table["split"] != "gallery"])
    with pytest.raises(ReidError, match="no gallery images"):
        train(TrainConfig(**tiny_settings), tmp_path / "run", dataset=dataset, progress=False)
    untested = tiny_dataset.with_table(table[table["split"] == "train"])
    run = train(
        TrainConfig(**{**tiny_settings, "epochs": 1}),
        tmp_path / "run",
        dataset=untested,
        progress=False,
    )
    assert run.metrics() is None


def test_weights_to_start_from(tiny_settings, tmp_path):
    first = run_training(tiny_settings, tmp_path / "first", epochs=1)
    with pytest.warns(UserWarning, match="classifier"):
        again = run_training(
            tiny_settings, tmp_path / "again", epochs=1, learning_rate=0.0, weights=str(first.path)
        )
    name = "trunk.cells.5.expand_a.conv.weight"
    assert torch.equal(first.checkpoint().weights[name], again.checkpoint().weights[name])
    reference.save_msinet(load_network(first), tmp_path / "theirs.pth")
    with pytest.warns(UserWarning, match="classifier"):
        run_training(
            tiny_settings, tmp_path / "theirs", epochs=1, weights=str(tmp_path / "theirs.pth")
        )
    with pytest.raises(ReidError, match="none of the"):
        run_training(
            tiny_settings, tmp_path / "other", weights=str(first.path), backbone="resnet18"
        )


def test_alignment_is_not_computed_in_evaluation():
    model = MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64), alignment=True).eval()
    calls = []
    model.learned_map.register_forward_hook(lambda *_: calls.append(1))
    images = torch.randn(4, 3, 64, 32)
    with torch.no_grad():
        model(images)
    assert not calls
    model.train()(images)
    assert calls
