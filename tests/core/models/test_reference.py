"""Equality with the reference implementation, and its files read and written."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch

from msinet_core import OPERATIONS, PAPER_GENOTYPE, Genotype, ReidError
from msinet_core.models import MSINet, Supernet, reference
from msinet_core.models.alignment import alignment_loss, pairwise_map
from msinet_core.search import ContrastiveMemory
from msinet_core.training import training_loss

PLAIN = ["msinet_plain", "msinet_mixed"]
ALIGNED = ["msinet_sam_pos", "msinet_sam_pos_neg"]
STEPS = 3

layouts = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)


@pytest.fixture
def two_threads():
    """For small batches torch takes other convolutions where it has one thread alone, which round
    unlike those of the record, and its batch norms over few images magnify that.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def load(case, layout=torch.contiguous_format):
    return reference.load_msinet(case.state, case.architecture).to(memory_format=layout)


def distance(ours, theirs):
    """Relative Euclidean distance."""
    ours, theirs = torch.as_tensor(ours).double(), torch.as_tensor(theirs).double()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))


@layouts
@pytest.mark.parametrize("name", PLAIN + ALIGNED)
def test_features_in_evaluation(golden, name, layout):
    case = golden(name)
    model = load(case, layout)
    with torch.no_grad():
        assert distance(model(case.images), case.record["eval.feature"]) < 1e-4
        assert (
            distance(
                model.embed(case.images, after_necks=True), case.record["eval.feature_after_bn"]
            )
            < 1e-4
        )


@pytest.mark.parametrize("name", PLAIN + ALIGNED)
def test_training_outputs_and_losses(golden, name):
    case = golden(name)
    model = load(case).train()
    output, identities = model(case.images), case.record["identity"]
    for part in ("global_feature", "part_feature"):
        assert distance(getattr(output, part), case.record[f"train.{part}"]) < 1e-4
    for part in ("global_logits", "part_logits"):
        # Behind a batch norm over 4 images; the reference's own float32 result is 9e-4 from
        # float64.
        assert distance(getattr(output, part), case.record[f"train.{part}"]) < (
            1e-4 if name in PLAIN else 5e-4
        )
    loss = training_loss(output, identities, alignment=case.sam_mode)
    assert distance(loss.total, case.record["train.loss"]) < 1e-4
    assert float(loss.total) == pytest.approx(case.loss, rel=1e-4)


@pytest.mark.parametrize("name", ALIGNED)
def test_alignment_maps_and_loss(golden, name):
    case = golden(name)
    model = load(case).train()
    output = model(case.images)
    scores = case.record["train.sam_scores"]  # N pairwise maps, then the learned map
    count = len(case.images)
    assert distance(pairwise_map(output.feature_map), scores[:count]) < 1e-4
    largest = scores[count].abs().max()
    assert float((output.learned_map - scores[count]).abs().max() / largest) < 2e-4
    loss = alignment_loss(
        output.feature_map, output.learned_map, case.record["identity"], case.sam_mode
    )
    assert distance(loss, case.record["train.sam_loss"]) < 1e-4


def gradient_norms(case):
    model = load(case).train()
    loss = training_loss(model(case.images), case.record["identity"], alignment=case.sam_mode)
    loss.total.backward()
    return {
        reference.reference_name(name): float(parameter.grad.norm())
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.usefixtures("two_threads")
def test_gradient_norms(golden, name):
    case = golden(name)
    ours = gradient_norms(case)
    theirs = {
        n.removeprefix("grad_norm."): float(v)
        for n, v in case.record.items()
        if n.startswith("grad_norm.")
    }
    assert ours.keys() == theirs.keys()
    for parameter, norm in theirs.items():
        assert ours[parameter] == pytest.approx(norm, rel=1e-3, abs=1e-7), parameter


@pytest.mark.parametrize("name", ALIGNED)
def test_gradient_norms_with_alignment(golden, name):
    """Batch norms over four images magnify rounding: single norms of the record itself are 1 to 11
    % from float64.

    So single norms may stray by what rounding does, but not most of them, and not in one direction.
    """
    case = golden(name)
    ours = gradient_norms(case)
    theirs = {
        n.removeprefix("grad_norm."): float(v)
        for n, v in case.record.items()
        if n.startswith("grad_norm.")
    }
    assert ours.keys() == theirs.keys()
    ratios = torch.tensor([ours[n] / v for n, v in theirs.items() if v > 1e-6])
    strays = (ratios - 1).abs()
    assert float(strays.median()) < 5e-3
    assert float(strays.quantile(0.95)) < 0.03
    assert float(strays.max()) < 0.25
    assert abs(float(ratios.log().mean())) < 5e-3


@pytest.mark.parametrize("name", PLAIN + ALIGNED)
def test_buffers_after_one_training_pass(golden, name):
    case = golden(name)
    model = load(case).train()
    model(case.images)
    buffers = {reference.reference_name(n): b for n, b in model.named_buffers()}
    recorded = {
        n.removeprefix("buffer_after."): v
        for n, v in case.record.items()
        if n.startswith("buffer_after.")
    }
    assert recorded
    for buffer, value in recorded.items():
        assert distance(buffers[buffer], value) < 1e-4, buffer


@pytest.mark.parametrize("name", PLAIN + ALIGNED)
def test_channels_last_in_training(golden, name):
    """Layouts round differently, and batch norms over four images magnify that: the record's own
    float32 features are 1e-4 from float64, its gradient norms 0.2 to 0.7 % in the median. So the
    loss has to agree, and most norms; `test_speed.py` has both layouts in float64.
    """
    case = golden(name)
    model = load(case, torch.channels_last).train()
    output = model(case.images)
    loss = training_loss(output, case.record["identity"], alignment=case.sam_mode).total
    loss.backward()
    assert distance(loss, case.record["train.loss"]) < (1e-4 if name in PLAIN else 5e-4)
    ratios = [
        float(parameter.grad.norm() / case.record[key])
        for key, parameter in (
            (f"grad_norm.{reference.reference_name(n)}", p) for n, p in model.named_parameters()
        )
        if key in case.record and case.record[key] > 1e-6
    ]
    assert len(ratios) > 50
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.02


@pytest.fixture
def golden_supernet(golden):
    case = golden("supernet")
    supernet = reference.load_supernet({**case.state, "alphas": case.record["alphas"]}).train()
    return case, supernet


def test_supernet_features_and_genotype(golden_supernet):
    case, supernet = golden_supernet
    assert supernet.cell_width == "reference"
    assert supernet.genotype() == case.architecture
    for step in range(STEPS):
        assert distance(supernet(case.images), case.record[f"step{step}.feature"]) < 1e-4
        supernet(case.images)  # the reference's step has a second forward pass
    assert distance(supernet.eval()(case.images), case.record["eval.feature"]) < 1e-4


def test_supernet_train_memory_and_losses(golden_supernet):
    case, supernet = golden_supernet
    memory = ContrastiveMemory(case.num_train_classes, supernet.feature_length)
    labels = case.record["identity"]
    for step in range(STEPS):
        features = supernet(case.images)
        assert distance(memory.loss(features, labels), case.record[f"step{step}.train_loss"]) < 2e-4
        memory.update(features, labels)
        assert distance(memory.rows, case.record[f"step{step}.train_memory"]) < 1e-4


def test_supernet_validation_memory_and_alpha_gradients(golden_supernet):
    """The record's alpha gradient is that of both losses, which the reference adds up.

    The validation memory's rows before the first step are not recorded, so that step is checked by
    the rows that no image of the batch touches.
    """
    case, supernet = golden_supernet
    labels, record = case.record["identity"], case.record
    sizes = {"train": case.num_train_classes, "valid": case.num_valid_classes}
    for step in range(1, STEPS):
        memories = {}
        for side, size in sizes.items():
            memories[side] = ContrastiveMemory(size, supernet.feature_length)
            memories[side].rows.copy_(record[f"step{step - 1}.{side}_memory"])
        features = supernet(case.images)
        losses = {side: memory.loss(features, labels) for side, memory in memories.items()}
        assert distance(losses["valid"], record[f"step{step}.valid_loss"]) < 1e-4
        gradient = torch.autograd.grad(sum(losses.values()), supernet.alphas)[0]
        assert distance(gradient, record[f"step{step}.alpha_grad"]) < 1e-4
        for side, memory in memories.items():
            memory.update(features, labels)
            assert distance(memory.rows, record[f"step{step}.{side}_memory"]) < 1e-4
    untouched = [row for row in range(sizes["valid"]) if row not in labels.tolist()]
    first, last = (record[f"step{step}.valid_memory"][untouched] for step in (0, STEPS - 1))
    assert torch.equal(first, last)


@pytest.mark.parametrize("name", PLAIN + ALIGNED)
def test_round_trip_bit_for_bit(golden, tmp_path, name):
    case = golden(name)
    model = reference.load_msinet(case.state, case.architecture)
    for file in ("x.pth", "x.safetensors"):
        written = reference.read_state_dict(reference.save_msinet(model, tmp_path / file))
        assert written.keys() == case.state.keys()
        assert all(torch.equal(written[key], value) for key, value in case.state.items())


def test_supernet_round_trip_bit_for_bit(golden, tmp_path):
    case = golden("supernet")
    supernet = reference.load_supernet(case.state)
    written = reference.read_state_dict(reference.save_supernet(supernet, tmp_path / "x.pth"))
    assert written.keys() == case.state.keys()
    assert all(torch.equal(written[key], value) for key, value in case.state.items())


def test_the_authors_kind_of_pickle_opens(golden, tmp_path):
    case = golden("msinet_plain")
    path = tmp_path / "best.pth"
    wrapped = {f"module.{name}": value for name, value in case.state.items()}
    arguments = argparse.Namespace(dataset="msmt17", lr=0.065, genotypes="msmt", layers=[64, 256])
    torch.save(
        {"state_dict": wrapped, "args": arguments, "best_mAP": np.float64(0.5), "epoch": 3}, path
    )
    model = reference.load_msinet(path, case.architecture)
    assert distance(model(case.images).detach(), case.record["eval.feature"]) < 1e-4


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"state_dict": {}, "x": Attack()}, "evil.pth", _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(ReidError, match=r"mkdir.*foreign code"):
        reference.load_msinet("evil.pth", PAPER_GENOTYPE)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(ReidError, match=r"plain\.pth"):
        reference.load_msinet("plain.pth", PAPER_GENOTYPE)
    assert not (tmp_path / "attacked").exists()


def test_missing_part_branch_is_reported_and_not_fatal(golden):
    case = golden("msinet_plain")
    state = {n: v for n, v in case.state.items() if not n.startswith("f_")}
    with pytest.warns(UserWarning, match=r"part_conv.*part_classifier"):
        model = reference.load_msinet(state, case.architecture)
    features = model(case.images).detach()
    width = case.channels[3]
    assert distance(features[:, :width], case.record["eval.feature"][:, :width]) < 1e-4


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("cells.3.conv2a.bn.weight"), r"lacks 'cells\.3\.conv2a\.bn\.weight'"),
        (lambda s: s.update({"cells.0.odd": torch.zeros(1)}), r"no place for: cells\.0\.odd"),
        (lambda s: s.update({"fc.weight": torch.zeros(3, 3)}), r"'fc\.weight' has shape \(3, 3\)"),
        (lambda s: s.pop("conv1.conv.weight"), r"lacks 'conv1\.conv\.weight'"),
    ],
)
def test_what_does_not_fit_is_named(golden, change, message):
    case = golden("msinet_plain")
    state = dict(case.state)
    change(state)
    with pytest.raises(ReidError, match=message):
        reference.load_msinet(state, case.architecture)


def test_a_genotype_that_contradicts_the_names_is_refused(golden):
    case = golden("msinet_plain")
    slots = list(case.architecture.slots)
    slots[4] = "none" if slots[4] == "cross_attention" else "cross_attention"
    with pytest.raises(ReidError, match="stage 2, cell 1, slot 1"):
        reference.load_msinet(case.state, Genotype(tuple(slots)))
    with pytest.raises(ReidError, match="load_supernet"):
        reference.load_msinet(golden("supernet").state, case.architecture)


def test_missing_and_damaged_files(tmp_path, golden):
    with pytest.raises(ReidError, match="no checkpoint at"):
        reference.load_msinet(tmp_path / "absent.pth", PAPER_GENOTYPE)
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ReidError, match=r"broken\.pth"):
        reference.load_msinet(tmp_path / "broken.pth", PAPER_GENOTYPE)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ReidError, match="no state dict"):
        reference.load_msinet(tmp_path / "list.pth", PAPER_GENOTYPE)


def test_names_are_a_bijection():
    for model in (
        MSINet(PAPER_GENOTYPE, 3, (16, 64, 64, 64), alignment=True),
        Supernet((16, 64, 64, 64)),
    ):
        names = [name for name in model.state_dict() if name != "alphas"]
        assert len({reference.reference_name(name) for name in names}) == len(names)


def test_columns_of_alpha_are_the_references(golden_supernet):
    """A column of alpha means the same operation here and there: push one and compare with it
    alone.
    """
    case, supernet = golden_supernet
    supernet.eval()
    for column, operation in enumerate(OPERATIONS):
        with torch.no_grad():
            supernet.alphas.fill_(-50.0)
            supernet.alphas[:, column] = 50.0
            mixed = supernet(case.images)
            for slot in supernet.slots():
                slot.forward = lambda a, b, weights, of=slot.operations[column]: of(a, b)
            alone = supernet(case.images)
            for slot in supernet.slots():
                del slot.forward
        assert distance(mixed, alone) < 1e-5, operation


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_names_that_wrappers_lengthen_are_taken(prefix):
    model = MSINet(PAPER_GENOTYPE, 3, (16, 16, 16, 16)).eval()
    state = {prefix + name: value for name, value in reference.to_reference(model).items()}
    loaded = reference.load_msinet({"state_dict": state}, PAPER_GENOTYPE)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_another_network_is_not_said_to_be_of_another_genotype():
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7)}
    with pytest.raises(ReidError, match="not one of the reference's networks"):
        reference.load_msinet(state, PAPER_GENOTYPE)
