"""Which networks are kept, by which identities the best is judged, and tests on other data."""

import pandas as pd
import pytest
import torch
from common import StopAfter, lines_without_clock, same_weights, small_training
from conftest import write_tiny_photographs

from msinet_core import ReidError, load_model
from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.data.held_out import as_test, hold_out
from msinet_core.errors import Stopped
from msinet_core.training import load_network

JUDGED = {"validation_share": 0.25, "identities_per_batch": 2, "evaluate_every": 1, "epochs": 3}


@pytest.fixture(scope="module")
def other_root(tmp_path_factory):
    """Another data set, of other identities than the tiny photographs'."""
    root = tmp_path_factory.mktemp("other")
    write_tiny_photographs(root, identities=4, images=4)
    return root


def test_the_best_needs_identities_to_judge_by():
    with pytest.raises(ReidError, match=r"held out: give --validation-share 0\.1"):
        TrainConfig(keep="best")
    with pytest.raises(ReidError, match="validation_share lies between 0 and 1"):
        TrainConfig(validation_share=1.0)


def test_held_out_identities_train_nothing(tiny_dataset):
    train = tiny_dataset.train
    kept, held = hold_out(train, 0.25, seed=3)
    assert not set(kept["identity"]) & set(held["identity"])
    assert len(kept) + len(held) == len(train)
    assert held["identity"].nunique() == 2
    assert hold_out(train, 0.25, seed=3)[1].equals(held)
    draws = {tuple(hold_out(train, 0.25, seed)[1]["identity"].unique()) for seed in range(8)}
    assert len(draws) > 2
    rows, rules = as_test(held, 0)
    assert rules.exclude_same_camera
    assert set(rows["split"]) == {"query", "gallery"}
    with pytest.raises(ReidError, match="hold more of them out"):
        as_test(held[held["camera"] == 0].reset_index(drop=True), 0)


def test_the_best_is_kept_and_opened_by_its_path(tiny_settings, tmp_path, capsys):
    run = small_training(tiny_settings, tmp_path / "run", keep="all", **JUDGED)
    history = run.history()
    judged = history[history["kind"] == "validation"]
    assert list(judged["epoch"]) == [1, 2, 3]
    best = int(judged.loc[judged["mAP"].idxmax(), "epoch"])
    assert run.metrics()["best"] == {"epoch": best, "mAP": judged["mAP"].max()}
    assert "held-out identities" in run.metrics()["validation"]["protocol"]
    place = run.path / "checkpoints"
    kept = {path.name for path in place.iterdir() if path.name[0] != "."}
    assert kept == {"last", "previous", "best", "epoch-0001", "epoch-0002", "epoch-0003"}
    networks = {name: load_network(place / name).state_dict() for name in kept - {"previous"}}
    for name, twin in (("best", f"epoch-{best:04}"), ("last", "epoch-0003")):
        assert all(torch.equal(networks[name][k], networks[twin][k]) for k in networks[name])
    first = networks["epoch-0001"]
    assert any(not torch.equal(first[k], networks["last"][k]) for k in first)
    assert load_model(place / "best").model.num_identities == 6
    with pytest.raises(ReidError, match=r"no checkpoint 'bset'; it has best, .*epoch-0001.*last"):
        load_network(place / "bset")
    words = ["evaluate", "--run", str(run.path), "--device", "cpu", "--checkpoint"]
    assert main([*words, "best"]) == 0
    assert "mAP" in capsys.readouterr().out
    assert main([*words, "bset"]) == 2
    assert "no checkpoint 'bset'" in capsys.readouterr().err
    (place / "best/weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ReidError, match="truncated or was altered"):
        load_network(place / "best")


def test_without_being_asked_only_the_last_is_kept(tiny_settings, tmp_path):
    run = small_training(tiny_settings, tmp_path / "run", **JUDGED)
    kept = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert kept == {"last", "previous"}


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    place = tmp_path_factory.mktemp("whole") / "run"
    return small_training(tiny_settings, place, keep="best", **JUDGED)


@pytest.mark.parametrize("looks", [3, 8])
def test_a_judged_run_is_resumed_to_the_same_best(whole, tiny_settings, tmp_path, looks):
    with pytest.raises(Stopped):
        small_training(tiny_settings, tmp_path / "parts", StopAfter(looks), keep="best", **JUDGED)
    parts = small_training(tiny_settings, tmp_path / "parts", keep="best", **JUDGED)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)
    assert whole.metrics() == parts.metrics()
    one, two = (load_network(run.path / "checkpoints/best").state_dict() for run in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_targets_are_scored_and_change_nothing_else(tiny_settings, other_root, tmp_path):
    given = {"augmentation": "within", "evaluate_every": 1}
    alone = small_training(tiny_settings, tmp_path / "alone", **given)
    targets = (f"manifest={other_root}", f"manifest={tiny_settings['root']}")
    run = small_training(tiny_settings, tmp_path / "run", target=targets, **given)
    assert same_weights(alone, run)
    lines = [line for line in run.lines() if line["kind"] == "target"]
    names = [f"manifest {other_root.name}", f"manifest {other_root.parent.name}"]
    assert [line["epoch"] for line in lines] == [1, 1, 2, 2]
    names = list(run.metrics()["targets"])
    assert [line["name"] for line in lines] == 2 * names
    home = run.metrics()["targets"][names[1]]  # the run's own data again
    assert home["mAP"] == run.metrics()["mAP"] == alone.metrics()["mAP"]


def test_across_domains_the_augmentation_turns_unless_it_was_given(
    tiny_settings, other_root, tmp_path, capsys
):
    target = (f"manifest={other_root}",)
    assert TrainConfig(target=target).chosen_augmentation == "across"
    assert TrainConfig(target=target, augmentation="within").chosen_augmentation == "within"
    assert TrainConfig().chosen_augmentation == "within"
    assert TrainConfig().differences(TrainConfig(augmentation="within")) == {}
    runs = [
        small_training(tiny_settings, tmp_path / str(place), epochs=1, **changes)
        for place, changes in enumerate(({"target": target}, {"augmentation": "across"}))
    ]
    assert same_weights(*runs)
    words = ["train", "--root", tiny_settings["root"], "--run", str(tmp_path / "run")]
    words += ["--target", target[0], "--height", "32", "--width", "32", "--epochs", "1"]
    words += ["--channels", "16", "16", "16", "16", "--identities-per-batch", "4"]
    assert main([*words, "--images-per-identity", "2", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "augmentation is `across`, as --target tests on other data" in said.out


@pytest.mark.parametrize(
    "target, words",
    [("manifest", "name=folder"), ("manifest=/nowhere", "nowhere"), ("what=.", "called 'what'")],
)
def test_a_target_that_is_none_is_one_sentence(tiny_settings, tmp_path, target, words):
    with pytest.raises(ReidError, match=words):
        small_training(tiny_settings, tmp_path / "run", target=(target,))


def test_data_without_a_test_set_can_be_judged_and_has_targets(
    tiny_settings, tiny_root, other_root, tmp_path
):
    table = pd.read_csv(tiny_root / "manifest.csv")
    train = table[table["split"] == "train"]
    train.assign(path=str(tiny_root) + "/" + train["path"]).to_csv(tmp_path / "a.csv", index=False)
    from msinet_core.data import ReidDataset
    from msinet_core.training import train as carry_out

    dataset = ReidDataset("untested", tiny_root, train)
    config = TrainConfig(
        **{**tiny_settings, **JUDGED, "epochs": 1, "target": (f"manifest={other_root}",)}
    )
    run = carry_out(config, tmp_path / "run", dataset=dataset, progress=False)
    assert set(run.metrics()) == {"epoch", "validation", "best", "targets"}
