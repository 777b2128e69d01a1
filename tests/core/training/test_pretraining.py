"""Pretraining: batches by lot, answers counted, stopped and resumed, and started from."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from common import StopAfter, lines_without_clock, same_weights

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.config import PretrainConfig, TrainConfig
from msinet_core.data import load_dataset
from msinet_core.data.shuffling import ShuffledSampler
from msinet_core.errors import Stopped
from msinet_core.retrieval import load_model
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import STARTED
from msinet_core.training import load_network, pretrain, train
from msinet_core.training.pretraining import accuracies, logits_of, split_classes


@pytest.fixture(scope="module")
def image_folder(tiny_root, tmp_path_factory):
    """The tiny photographs sorted by class: train/CLASS/*.png, and val of the same classes."""
    root = tmp_path_factory.mktemp("classes")
    table = pd.read_csv(tiny_root / "manifest.csv")
    for _, row in table[table["identity"] < 6].iterrows():
        number = int(row["path"].rpartition("_")[2].partition(".")[0])
        folder = root / ("val" if number >= 6 else "train") / f"n{row['identity']:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes((tiny_root / row["path"]).read_bytes())
    return root


@pytest.fixture
def settings(tiny_settings, image_folder):
    fields = "height", "width", "channels", "epochs", "device", "workers", "pad"
    mine = {name: tiny_settings[name] for name in fields}
    mine |= {"batch": 8, "learning_rate": 0.05, "augmentation": "none"}
    return {**mine, "root": str(image_folder)}


def run_pretraining(settings, folder, stop=None, **changes):
    config = PretrainConfig(**{**settings, **changes})
    resume = RunFolder(folder).has_checkpoint()
    return pretrain(config, folder, progress=False, stop=stop, resume=resume)


def test_an_image_folder_learnt_stopped_and_resumed(settings, tmp_path):
    whole = run_pretraining(settings, tmp_path / "whole", epochs=4)
    for steps in (3, 10):
        folder = tmp_path / f"parts{steps}"
        with pytest.raises(Stopped):
            run_pretraining(settings, folder, stop=StopAfter(steps), epochs=4)
        parts = run_pretraining(settings, folder, epochs=4)
        assert same_weights(whole, parts)
        assert lines_without_clock(whole) == lines_without_clock(parts)
    assert whole.metrics()["images"] == 12
    evaluations = [line for line in whole.lines() if line["kind"] == "evaluation"]
    assert [line["epoch"] for line in evaluations] == [1, 2, 3, 4]
    model = load_network(whole)
    assert model.num_identities == 6
    assert not whole.config().HIDDEN & {"batch", "held_out", "label_smoothing"}
    features = load_model(whole.path, after_necks=True).embed([torch.zeros(2, 3, 32, 32)])
    expected = model.classifier(torch.from_numpy(features[:, :64])).detach()
    np.testing.assert_allclose(logits_of(model, features), expected, atol=1e-5)


def test_classes_are_learnt(settings, tmp_path):
    metrics = run_pretraining(settings, tmp_path / "run", epochs=16, evaluate_every=0).metrics()
    assert metrics["top1"] >= 0.5  # of six; colours are easy
    assert metrics["top5"] >= metrics["top1"]


@pytest.mark.filterwarnings("ignore:weights of")
def test_a_training_starts_from_it(settings, tiny_settings, tmp_path):
    first = run_pretraining(settings, tmp_path / "first", epochs=1)
    changes = {"weights": str(first.path), "epochs": 1, "freeze_epochs": 1}
    run = train(TrainConfig(**{**tiny_settings, **changes}), tmp_path / "run", progress=False)
    loaded = json.loads((run.path / STARTED).read_text())["loaded"]
    assert len(loaded) == len(load_network(run).state_dict()) - 4  # all but the classifiers
    expected, found = first.checkpoint().weights, run.checkpoint().weights
    assert all(torch.equal(expected[name], found[name]) for name in loaded)


def test_without_test_images_of_its_classes_a_share_validates(tiny_dataset):
    config = PretrainConfig(held_out=0.25, seed=3)
    train_rows, validation = split_classes(tiny_dataset, config)
    assert set(validation["split"]) == {"train"}
    assert list(validation.groupby("identity").size()) == [2] * 8
    assert list(train_rows.groupby("identity").size()) == [6] * 8
    assert not set(validation["path"]) & set(train_rows["path"])
    again = split_classes(tiny_dataset, config)[1]
    assert list(again["path"]) == list(validation["path"])
    other = split_classes(tiny_dataset, PretrainConfig(held_out=0.25, seed=4))[1]
    assert list(other["path"]) != list(validation["path"])


def test_one_class_is_none(tiny_dataset):
    one = tiny_dataset.with_table(tiny_dataset.table[tiny_dataset.table["identity"] == 0])
    with pytest.raises(ReidError, match="has 1 classes to train on"):
        split_classes(one, PretrainConfig())


def test_batches_by_lot_meet_each_image_once_and_are_shared_out():
    labels = np.repeat(np.arange(5), 8)
    parts = [ShuffledSampler(labels, 1, 4, 7, rank=rank, world_size=2) for rank in (0, 1)]
    assert [len(part) for part in parts] == [5, 5]
    seen = np.concatenate([np.concatenate(part.epoch(3)) for part in parts])
    assert sorted(seen) == list(range(40))
    assert [list(b) for b in parts[0].epoch(3)] == [list(b) for b in parts[0].everyones(3)[::2]]
    assert [list(b) for b in parts[0].epoch(3)] != [list(b) for b in parts[0].epoch(4)]
    few = ShuffledSampler(labels[:3], 1, 8, 0)
    assert [len(batch) for batch in few.epoch(0)] == [8]


def test_accuracies_by_a_loop():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 9)), rng.integers(0, 9, 50)
    order = np.argsort(-logits, axis=1)
    for k in (1, 5):
        expected = np.mean([labels[i] in order[i, :k] for i in range(50)])
        assert accuracies(logits, labels)[f"top{k}"] == pytest.approx(expected)


def test_an_image_folder_is_read(image_folder, tmp_path):
    dataset = load_dataset("classes", image_folder)
    assert dataset.summary()["images"].to_dict() == {"train": 36, "query": 0, "gallery": 12}
    assert set(dataset.train["identity"]) == {f"n{k:04}" for k in range(6)}
    assert len(load_dataset("classes", image_folder, val="")) == 36
    with pytest.raises(ReidError, match=r"train/CLASS"):
        load_dataset("classes", tmp_path)


def test_on_the_command_line(settings, tmp_path, capsys):
    words = [
        "pretrain",
        "--root",
        settings["root"],
        "--run",
        str(tmp_path / "run"),
        "--epochs",
        "1",
    ]
    words += ["--height", "32", "--width", "32", "--channels", "16", "16", "16", "16"]
    assert main([*words, "--batch", "8", "--device", "cpu", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "top-1" in said
    assert "mAP" not in said
    assert RunFolder(tmp_path / "run").config().KIND == "pretrain"
    assert main(["train", "--run", str(tmp_path / "run"), "--resume"]) == 2
    assert "resume it with `msinet pretrain`" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    said = capsys.readouterr().out
    assert "--batch" in said
    assert "--margin" not in said
