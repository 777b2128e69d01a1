"""Weights of one network in another: what is loaded, what begins at random, what has no place."""

import argparse

import pytest
import torch

from msinet_core import PAPER_GENOTYPE, Genotype, ReidError
from msinet_core.models import MSINet, Supernet, reference
from msinet_core.models.backbones import build_backbone
from msinet_core.models.networks import ReidNetwork
from msinet_core.models.warm_start import as_timm_names_it, load, match, part_of
from msinet_core.space import OPERATIONS, slot_label

CHANNELS = (16, 32, 32, 32)
CLASSES = 7


def imagenet_file(path, genotype=PAPER_GENOTYPE):
    """A file as the authors' for ImageNet: pickled arguments beside it, and no part branch."""
    torch.manual_seed(1)
    state = reference.to_reference(MSINet(genotype, CLASSES, CHANNELS))
    state = {f"module.{k}": v for k, v in state.items() if not k.startswith("f_")}
    arguments = argparse.Namespace(data="imagenet", lr=0.1)
    torch.save({"state_dict": state, "args": arguments, "epoch": 90, "best_acc1": 70.0}, path)
    return path


def slots_of(genotype, *operations):
    return {slot_label(k) for k, name in enumerate(genotype.slots) if name in operations}


WITH_WEIGHTS = ("channel_gate", "cross_attention")


@pytest.mark.parametrize(
    "genotype",
    [Genotype.uniform("none"), Genotype.uniform("exchange"), Genotype.sample(3), PAPER_GENOTYPE],
    ids=["none", "exchange", "random", "the same"],
)
def test_the_imagenet_file_starts_any_genotype(tmp_path, genotype):
    state = reference.read_state_dict(imagenet_file(tmp_path / "imagenet.pth"))
    torch.manual_seed(2)
    model = MSINet(genotype, 3, CHANNELS)
    start = match(model, state)
    load(model, start)
    table = start.table
    for part in ("stem", "cells", "down-samplers"):
        assert table.loc[part, "loaded"] > 0
        assert table.loc[part, "random":].sum() == 0
    for slot, (ours, theirs) in enumerate(zip(genotype.slots, PAPER_GENOTYPE.slots, strict=True)):
        label = slot_label(slot)
        count = {"channel_gate": 4, "cross_attention": 1}
        if ours == theirs and ours in count:
            assert list(table.loc[label]) == [count[ours], 0, 0]
        elif label in table.index:
            assert list(table.loc[label]) == [0, count.get(ours, 0), count.get(theirs, 0)]
        else:
            assert not {ours, theirs} & set(count)
    assert table.loc["heads", "loaded"] == 6  # the global neck
    assert table.loc["heads", "random"] == 8  # the part branch
    assert list(table.loc["classifiers"]) == [0, 4, 2]
    whole = table.drop("in all").sum()
    assert whole.equals(table.loc["in all"])
    assert whole[["loaded", "random"]].sum() == len(model.state_dict())
    assert whole[["loaded", "no place"]].sum() == len(state)
    for name, value in start.loaded.items():
        assert torch.equal(model.state_dict()[name], value)
    assert "in all" not in str(start)
    assert "\n" not in str(start)


def test_features_of_the_untouched_part_are_equal(tmp_path):
    """Up to the first slot that differs, both networks compute the same."""
    path = imagenet_file(tmp_path / "imagenet.pth")
    with pytest.warns(UserWarning, match="has no part_conv"):
        theirs = reference.load_msinet(path, PAPER_GENOTYPE)
    first = next(k for k, n in enumerate(PAPER_GENOTYPE.slots) if k > 3 and n == "channel_gate")
    other = list(PAPER_GENOTYPE.slots)
    other[first] = "none"
    model = MSINet(Genotype(tuple(other)), 3, CHANNELS).eval()
    load(model, match(model, reference.read_state_dict(path)))
    images = torch.randn(2, 3, 64, 32)
    seen = {}
    for which, network in (("theirs", theirs), ("ours", model)):
        for cell in range(6):
            network.trunk.cells[cell].register_forward_hook(
                lambda m, i, out, key=(which, cell): seen.__setitem__(key, out.detach())
            )
        network.eval()(images)
    for cell in range(6):
        same = torch.equal(seen["theirs", cell], seen["ours", cell])
        assert same == (cell < first // 2), cell


def test_a_slot_of_another_operation_is_not_filled_from_one_of_the_same_names(tmp_path):
    """Two networks' slots may have weights of the same names and shapes and mean other things."""
    gate, other = (Genotype.uniform(name) for name in ("channel_gate", "cross_attention"))
    source, model = MSINet(gate, 3, CHANNELS), MSINet(gate, 3, CHANNELS)
    assert (
        match(model, source.state_dict(), gate).table["random"].drop("in all")["classifiers"] == 4
    )
    kept = match(model, source.state_dict(), other)  # as if it were of another
    assert kept.table.loc[slot_label(0)].tolist() == [0, 4, 4]


@pytest.mark.parametrize("theirs", [False, True])
def test_a_supernet_gives_each_slot_its_operation(theirs):
    torch.manual_seed(0)
    supernet, model = Supernet(CHANNELS), MSINet(Genotype.sample(5), 3, CHANNELS)
    state = reference.to_reference(supernet) if theirs else supernet.state_dict()
    start = match(model, state)
    load(model, start)
    for slot, name in enumerate(model.genotype.slots):
        mine = model.trunk.cells[slot // 2].slots[slot % 2].state_dict()
        column = OPERATIONS.index(name)
        for key, value in supernet.slots()[slot].operations[column].state_dict().items():
            assert torch.equal(mine[key], value)
    assert start.table.loc["cells", "random"] == 0
    assert start.table.loc["heads", "loaded"] == 0


def test_a_supernets_weights_of_another_operation_have_no_place():
    """Also where they have the names and shapes of those that are wanted."""
    model = MSINet(Genotype.uniform("channel_gate"), 3, CHANNELS)
    state = {
        name.replace("slots.0.", "slots.0.operations.3."): value
        for name, value in model.state_dict().items()
    }
    assert OPERATIONS[3] != "channel_gate"
    counts = match(model, state).table.loc[slot_label(0)]
    assert counts.tolist() == [0, 4, 4]


def test_wrapped_and_nested_as_checkpoints_come(tmp_path):
    model = MSINet(PAPER_GENOTYPE, 3, CHANNELS)
    state = model.state_dict()
    for number, content in enumerate(
        (
            state,
            {"model": {f"backbone.{k}": v for k, v in state.items()}},
            {"network": {"state_dict": {f"module._orig_mod.{k}": v for k, v in state.items()}}},
        )
    ):
        torch.save(content, tmp_path / f"{number}.pth")
        found = match(model, reference.read_state_dict(tmp_path / f"{number}.pth"))
        assert len(found.loaded) == len(state) - 4  # classifiers
    recursive = {}
    recursive["model"] = recursive
    torch.save(recursive, tmp_path / "recursive.pth")
    with pytest.raises(ReidError, match=r"no state dict|holds more than data"):
        reference.read_state_dict(tmp_path / "recursive.pth")


def test_a_librarys_names_fit_its_trunk():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    whole = torchvision.models.resnet18()
    trunk, widths = build_backbone("resnet18", (64, 32))
    model = ReidNetwork(trunk, widths, 3)
    start = match(model, whole.state_dict())
    assert start.no_place == ("fc.weight", "fc.bias")
    assert {n for n in start.random if n.startswith("trunk.")} == set()
    load(model, start)
    assert torch.equal(model.trunk.stages[3][1].bn2.weight, whole.layer4[1].bn2.weight)


def test_timms_names_fit_its_trunk():
    timm = pytest.importorskip("timm")
    for name in ("test_resnet", "test_vit"):
        whole = timm.create_model(name, img_size=(64, 32)) if "vit" in name else None
        whole = whole or timm.create_model(name)
        trunk, widths = build_backbone(f"timm:{name}", (64, 32))
        start = match(ReidNetwork(trunk, widths, 3), whole.state_dict())
        assert not {n for n in start.random if n.startswith("trunk.")}
        assert all("head" in part_of(n) or n.startswith(("fc", "head")) for n in start.no_place)


def test_a_transformers_positions_are_laid_out_for_another_size(tmp_path):
    timm = pytest.importorskip("timm")
    whole = timm.create_model("test_vit")  # for 160 x 160
    torch.nn.init.uniform_(whole.pos_embed)
    whole.pos_embed.data[:, 1:] = torch.arange(whole.embed_dim)  # alike everywhere
    trunk, widths = build_backbone("timm:test_vit", (64, 32))
    model = ReidNetwork(trunk, widths, 3)
    state = {f"module.{name}": value for name, value in whole.state_dict().items()}
    assert "trunk.network.pos_embed" in match(model, state).random
    start = match(model, as_timm_names_it(state, trunk.network))
    assert not {n for n in start.random if n.startswith("trunk.")}
    load(model, start)
    found, known = model.trunk.network.pos_embed, whole.pos_embed
    assert found.shape[1] == 4 * 2 + 1
    assert torch.equal(found[:, 0], known[:, 0])  # that of the class token
    torch.testing.assert_close(found[:, 1:], known[:, 1:9])


def test_nothing_that_fits_is_an_error():
    model = MSINet(PAPER_GENOTYPE, 3, CHANNELS)
    for state in ({}, {"layer.weight": torch.zeros(3)}, MSINet(PAPER_GENOTYPE, 3).state_dict()):
        with pytest.raises(ReidError, match=r"none of the .* fits this network's trunk"):
            match(model, state)
