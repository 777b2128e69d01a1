"""Several data sets as one, and batches of them."""

import numpy as np
import pandas as pd
import pytest
from common import same_weights, small_training
from conftest import write_tiny_photographs

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.config import SearchConfig, TrainConfig, config_from_dict
from msinet_core.data import ReidDataset, load_dataset, protocol_for
from msinet_core.data.joining import BalancedSampler, join_datasets
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.sources import sharing_options
from msinet_core.runs.feeding import open_dataset
from msinet_core.runs.folder import RunFolder
from msinet_core.search.twin_search import split_for
from msinet_core.training import train


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The folder of two data sets whose identities and cameras have the same names: a has eight
    identities to train on, b five.
    """
    home = tmp_path_factory.mktemp("both")
    for name, identities in (("a", 8), ("b", 5)):
        write_tiny_photographs(home / name, identities, 4 if name == "a" else 6)
    return home


def roots(both):
    return str(both / "a"), str(both / "b")


def joined_by_hand(both):
    tables = []
    for name in ("a", "b"):
        table = pd.read_csv(both / name / "manifest.csv")
        label = load_dataset("manifest", both / name).name
        tables.append(
            pd.DataFrame(
                {
                    "path": f"{name}/" + table["path"],
                    "identity": [f"{label} {who}" for who in table["identity"]],
                    "camera": [f"{label} {which}" for which in table["camera"]],
                    "split": table["split"],
                }
            )
        )
    return ReidDataset("by hand", both, pd.concat(tables, ignore_index=True))


def test_two_sources_of_clashing_names_equal_a_table_joined_by_hand(both, tiny_settings, tmp_path):
    joined, by_hand = open_dataset(TrainConfig(root=roots(both))), joined_by_hand(both)
    columns = ["path", "identity", "camera", "split"]
    pd.testing.assert_frame_equal(joined.table[columns], by_hand.table[columns])
    assert joined.train["identity"].nunique() == 13
    assert joined.table["camera"].nunique() == 4
    settings = {**tiny_settings, "root": roots(both)}
    run = small_training(settings, tmp_path / "run", epochs=1)
    config = TrainConfig(
        **{**settings, "channels": (16, 16, 16, 16), "identities_per_batch": 4, "epochs": 1}
    )
    other = train(config, tmp_path / "other", dataset=by_hand, progress=False)
    assert same_weights(run, other)
    assert run.metrics() == other.metrics()
    apart = small_training(tiny_settings, tmp_path / "apart", root=roots(both)[0], epochs=1)
    assert not same_weights(run, apart)


def test_a_configuration_of_several_sources_is_plain_and_old_ones_open(both, tmp_path):
    config = TrainConfig(data=["manifest", "table"], root=roots(both))
    assert config.data_names == ("manifest", "table")
    assert config_from_dict(config.to_dict()) == config
    assert TrainConfig(root=["a"]) == TrainConfig(root="a")
    assert TrainConfig(root=("a", "b")).data_names == ("manifest", "manifest")
    with pytest.raises(ReidError, match="3 folders; give each --data its --root"):
        TrainConfig(data=("manifest", "table"), root=("a", "b", "c"))
    assert SearchConfig(root="~/x").root != "~/x"
    assert "~" not in "".join(SearchConfig(root=("~/x", "~/y")).root)


def test_junk_and_cameraless_data_keep_their_meaning(both):
    a = load_dataset("manifest", both / "a", junk_identities="8")
    free = load_dataset("manifest", both / "b")
    free = free.with_table(free.table.assign(camera=pd.NA))
    joined = join_datasets([a, free])
    assert joined.junk_identities == (f"{a.name} 8",)
    assert protocol_for(joined).exclude_same_camera
    own = joined.table[joined.table["source"] == free.name]
    assert own["camera"].is_unique
    twice = join_datasets([a, a])
    assert list(twice.table["source"].unique()) == [a.name, f"{a.name} (2)"]
    assert join_datasets([a]) is a


def test_options_go_to_the_data_sets_that_have_them():
    given = {"validation": "leave", "file": "x.csv"}
    assert sharing_options(("msmt17", "manifest"), given) == [
        {"validation": "leave"},
        {"file": "x.csv"},
    ]
    with pytest.raises(ReidError, match="none of the data sets msmt17, cuhk03 has an option"):
        sharing_options(("msmt17", "cuhk03"), {"test_size": 5})


SIZES = {"a": (8, 12), "b": (3, 4), "c": (5, 6)}  # identities, images of each


@pytest.fixture(scope="module")
def images():
    rows = [(s, f"{s}{i}") for s, (n, k) in SIZES.items() for i in range(n) for _ in range(k)]
    table = pd.DataFrame(rows, columns=["source", "identity"])
    return table["source"], pd.factorize(table["identity"], sort=True)[0]


@pytest.mark.parametrize("world", [1, 2])
def test_balanced_batches_have_as_many_of_each(images, world):
    sources, labels = images
    samplers = [
        BalancedSampler(labels, 7, 2, 5, sources=sources, rank=rank, world_size=world)
        for rank in range(world)
    ]
    plain = IdentitySampler(labels, 7, 2, 5, world_size=world)
    assert len(samplers[0]) == len(plain)
    for epoch in range(3):
        batches = [sampler.epoch(epoch) for sampler in samplers]
        for step in range(len(plain)):
            for rank in range(world):
                rows = batches[rank][step]
                assert len(np.unique(labels[rows])) == 7
                who = pd.Series(labels[rows]).groupby(sources.to_numpy()[rows]).nunique()
                assert who.to_dict() == {"a": 3, "b": 2, "c": 2}
                assert (rows == samplers[0].everyones(epoch)[step * world + rank]).all()
    assert (
        BalancedSampler(labels, 7, 2, 5, sources=sources).batch(2, 1)
        == (BalancedSampler(labels, 7, 2, 5, sources=sources).batch(2, 1))
    ).all()
    seen = np.concatenate([np.concatenate(samplers[0].epoch(epoch)) for epoch in range(12)])
    assert set(seen) == set(range(len(labels)))  # nothing is left out for good
    with pytest.raises(ReidError, match="mixing proportional"):
        BalancedSampler(labels, 2, 2, 5, sources=sources)


def test_mixing_is_asked_for_by_the_configuration(both, tiny_settings, tmp_path):
    runs = [
        small_training(tiny_settings, tmp_path / mixing, root=roots(both), epochs=1, mixing=mixing)
        for mixing in ("proportional", "balanced")
    ]
    assert not same_weights(*runs)


def test_both_twins_see_both_data_sets(both):
    config = SearchConfig(root=roots(both))
    dataset = open_dataset(config)
    split, names = split_for(config, dataset), set(dataset.table["source"])
    for side in (split.train, split.validation):
        assert set(side["source"]) == names
        assert sorted(side["label"].unique()) == list(range(side["identity"].nunique()))
    assert split.shared_images == 0
    assert len(split.train) + len(split.validation) == len(dataset.train)


def test_several_sources_on_the_command_line(both, tmp_path, capsys):
    words = ["train", "--data", "manifest", "table", "--root", *roots(both), "--options"]
    words += ["file=manifest.csv", "--run", str(tmp_path / "run"), "--height", "32", "--width"]
    words += ["32", "--channels", "16", "16", "16", "16", "--epochs", "1", "--device", "cpu"]
    words += ["--identities-per-batch", "4", "--images-per-identity", "2", "--quiet"]
    assert main([*words, "--mixing", "balanced"]) == 0
    run = RunFolder(tmp_path / "run")
    assert run.config().data == ("manifest", "table")
    assert run.checkpoint().state["num_identities"] == 13
    assert main(["train", "--run", str(tmp_path / "run"), "--resume", "--epochs", "2"]) == 0
    assert main(["evaluate", "--run", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert " + " in capsys.readouterr().out
