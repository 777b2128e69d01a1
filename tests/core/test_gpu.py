"""A GPU computes what the CPU does. Skipped where there is none."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from common import StopAfter, lines_without_clock, same_weights
from torch.nn import functional

from msinet_core import PAPER_GENOTYPE
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import Augmentation, IdentitySampler, TrainBatches, open_images
from msinet_core.errors import ReidError, Stopped
from msinet_core.models import MSINet, Supernet, reference
from msinet_core.models.alignment import alignment_loss
from msinet_core.replay import WARM, Replayed
from msinet_core.retrieval import Embedder, RetrievalResult, rank, rerank
from msinet_core.runs.folder import RunFolder
from msinet_core.search import ContrastiveMemory, search
from msinet_core.search.step import one_pass
from msinet_core.speed import channels_last, compile_network, tf32
from msinet_core.training import train, training_loss

GPU = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CASES = ["msinet_plain", "msinet_mixed", "msinet_sam_pos", "msinet_sam_pos_neg"]


@pytest.fixture(autouse=True)
def exact():
    with tf32():
        yield


def distance(ours, theirs):
    """Relative Euclidean distance."""
    ours, theirs = (torch.as_tensor(value).detach().double().cpu() for value in (ours, theirs))
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", CASES)
def test_features_losses_and_gradients_of_the_reference(golden, name, layout):
    case = golden(name)
    model = reference.load_msinet(case.state, case.architecture).to(GPU, memory_format=layout)
    images, identities = case.images.to(GPU, memory_format=layout), case.record["identity"].to(GPU)
    assert distance(model(images), case.record["eval.feature"]) < 1e-4
    loss = training_loss(model.train()(images), identities, alignment=case.sam_mode).total
    # With alignment over four images rounding counts for more: the reference's own float32 logits
    # are 9e-4 from float64.
    assert distance(loss, case.record["train.loss"]) < (1e-4 if case.sam_mode == "none" else 5e-4)
    loss.backward()
    ratios = [
        float(parameter.grad.norm() / case.record[key])
        for key, parameter in (
            (f"grad_norm.{reference.reference_name(n)}", p) for n, p in model.named_parameters()
        )
        if key in case.record and case.record[key] > 1e-6
    ]
    assert len(ratios) > 50
    # The batch norms over four images magnify rounding: the record itself is 0.2 to 0.7 % from
    # float64 in the median.
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.02


def test_one_training_step_in_float64():
    torch.manual_seed(0)
    model = MSINet(PAPER_GENOTYPE, 4, (16, 32, 32, 32)).double().train()
    images, labels = torch.randn(8, 3, 64, 32).double(), torch.arange(4).repeat_interleave(2)
    found = []
    for device in ("cpu", GPU):
        network = channels_last(copy.deepcopy(model)).to(device)
        training_loss(network(images.to(device)), labels.to(device)).total.backward()
        found.append(
            torch.cat([p.grad.cpu().flatten() for p in network.parameters() if p.grad is not None])
        )
    assert distance(found[1], found[0]) < 1e-6  # the losses are computed in float32


def test_both_passes_of_a_bilevel_step():
    """One step: an error of 1e-7 in the memory is one of 1e-4 in the second step's gradient, and of
    a half in the third's.
    """
    torch.manual_seed(0)
    supernet = Supernet((16, 64, 64, 64)).double().train()
    images, labels, start = (
        torch.randn(8, 3, 32, 32).double(),
        torch.arange(8) // 2,
        torch.randn(4, 64),
    )
    ends = []
    for device in ("cpu", GPU):
        network, memory = (
            copy.deepcopy(supernet).to(device),
            ContrastiveMemory(4, 64, device=device),
        )
        memory.update(start.to(device), torch.arange(4, device=device))
        batch, weights = (images.to(device), labels.to(device)), network.weight_parameters()
        _, _, by_alpha = one_pass(network, memory, [network.alphas], *batch)
        loss, features, by_weights = one_pass(network, memory, weights, *batch)
        gradient = torch.cat([part.flatten() for part in by_weights if part is not None])
        memory.update(features, batch[1])
        ends.append((loss, features, *by_alpha, gradient, memory.rows))
    for one, other in zip(*ends, strict=True):
        assert distance(other, one) < 1e-5  # the losses are computed in float32


def test_memories_move_alike():
    torch.manual_seed(0)
    features, labels = torch.randn(32, 24), torch.randint(0, 7, (32,))
    memories = [ContrastiveMemory(7, 24, device=device) for device in ("cpu", GPU)]
    for _ in range(3):
        for memory in memories:
            memory.update(features.to(memory.rows.device), labels.to(memory.rows.device))
    assert distance(memories[1].rows, memories[0].rows) < 1e-6
    assert (
        distance(
            memories[1].loss(features.to(GPU), labels.to(GPU)), memories[0].loss(features, labels)
        )
        < 1e-6
    )


@pytest.mark.parametrize("mode", ["pos", "pos_neg"])
def test_alignment_and_its_gradient(mode):
    torch.manual_seed(0)
    maps, learned, labels = torch.randn(8, 32, 8, 4), torch.rand(8, 32), torch.arange(8) // 2
    found = []
    for device in ("cpu", GPU):
        leaf = maps.to(device).requires_grad_()
        loss = alignment_loss(leaf, learned.to(device), labels.to(device), mode)
        found.append((loss, torch.autograd.grad(loss, leaf)[0]))
    for one, other in zip(*found, strict=True):
        assert distance(other, one) < 1e-4


def test_float32_is_not_rounded_unless_asked():
    torch.manual_seed(0)
    x, kernels = torch.randn(4, 64, 16, 16, device=GPU), torch.randn(64, 64, 3, 3, device=GPU)
    exact = functional.conv2d(x.double(), kernels.double())
    errors = {}
    for allowed in (False, True):
        with tf32(TrainConfig(precision="tf32" if allowed else "fp32")):
            errors[allowed] = max(
                distance(functional.conv2d(x, kernels), exact),
                distance(
                    x.flatten(1) @ x.flatten(1).T, x.flatten(1).double() @ x.flatten(1).double().T
                ),
            )
    assert errors[False] < 1e-6
    assert errors[True] > 2e-5


def test_augmented_batches_are_the_same(tiny_dataset):
    table = tiny_dataset.train
    reader = open_images(table, tiny_dataset.root, 32, 32)
    sampler = IdentitySampler(table["identity"], 4, 2, 0, cameras=table["camera"])
    labels = table["identity"].factorize()[0]
    sides = [
        list(
            TrainBatches(reader, labels, sampler, Augmentation(), device=device, workers=2).epoch(1)
        )
        for device in ("cpu", GPU)
    ]
    for (images, own, rows), (there, theirs, others) in zip(*sides, strict=True):
        assert there.device.type == GPU
        torch.testing.assert_close(there.cpu(), images, rtol=1e-5, atol=1e-5)
        assert torch.equal(theirs.cpu(), own)
        assert torch.equal(rows, others)


def test_embedding_and_ranking():
    torch.manual_seed(0)
    model, images = (
        MSINet(PAPER_GENOTYPE, 4, (16, 32, 32, 32)),
        [torch.randn(8, 3, 64, 32) for _ in range(4)],
    )
    here = Embedder(model, device="cpu").embed(images)
    there = Embedder(model, device=GPU).embed(images)
    half = Embedder(model, device=GPU, precision="bfloat16").embed(images)
    assert distance(there, here) < 1e-5
    assert functional.cosine_similarity(torch.tensor(half), torch.tensor(here)).min() > 0.99
    rng = np.random.default_rng(0)
    features = rng.normal(size=(700, 16)).round(1).astype(np.float32)  # with ties
    identities, cameras = rng.integers(0, 40, 700), rng.integers(0, 3, 700)
    arguments = (
        features[:100],
        features[100:],
        identities[:100],
        identities[100:],
        cameras[:100],
        cameras[100:],
    )
    one, other = (rank(*arguments, device=device) for device in ("cpu", GPU))
    assert np.array_equal(one.average_precision, other.average_precision, equal_nan=True)
    assert np.array_equal(one.first_match_rank, other.first_match_rank)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_training_to_its_metrics_and_through_a_stop(tiny_settings, tmp_path, precision):
    def run(folder, stop=None, **changes):
        config = TrainConfig(
            **{**tiny_settings, "device": GPU, "workers": 2, "precision": precision, **changes}
        )
        return train(
            config,
            tmp_path / folder,
            progress=False,
            stop=stop,
            resume=RunFolder(tmp_path / folder).has_checkpoint(),
        )

    losses = {
        device: run(device, device=device).epochs()["loss"].iloc[0] for device in ("cpu", GPU)
    }
    assert losses[GPU] == pytest.approx(losses["cpu"], rel=0.01 if precision == "fp32" else 0.05)
    assert 0 < run(GPU).metrics()["mAP"] <= 1
    with pytest.raises(Stopped):
        run("parts", StopAfter(3))
    parts = run("parts")
    assert parts.finished
    # A GPU adds up in no fixed order, so the last digits may differ.
    assert parts.epochs()["loss"].iloc[-1] == pytest.approx(
        run(GPU).epochs()["loss"].iloc[-1], rel=0.02
    )


def test_a_search_and_through_a_stop(tiny_settings, tmp_path):
    def run(folder, stop=None):
        config = SearchConfig(**{**tiny_settings, "device": GPU, "workers": 2})
        return search(
            config,
            tmp_path / folder,
            progress=False,
            stop=stop,
            resume=RunFolder(tmp_path / folder).has_checkpoint(),
        )

    whole = run("whole")
    with pytest.raises(Stopped):
        run("parts", StopAfter(3))
    parts = run("parts")
    assert len(lines_without_clock(parts)) == len(lines_without_clock(whole))
    alphas = [torch.tensor(side.epochs().iloc[-1]["alphas"]) for side in (whole, parts)]
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-3)


@pytest.fixture
def recordings(monkeypatch):
    """Whether each recording of a graph worked."""
    worked, record = [], Replayed._record

    def noted(self, *inputs):
        worked.append(record(self, *inputs))
        return worked[-1]

    monkeypatch.setattr(Replayed, "_record", noted)
    return worked


def gpu_run(kind, tiny_settings, folder, **changes):
    settings = {"device": GPU, "workers": 2, "epochs": 4, "precision": "fp32", **changes}
    make, run = {"train": (TrainConfig, train), "search": (SearchConfig, search)}[kind]
    return run(make(**{**tiny_settings, **settings}), folder, progress=False)


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("train", {}),
        ("train", {"alignment": "pos"}),
        ("train", {"accumulate": 2}),
        ("train", {"ema": 0.9, "schedule": "cosine", "centre_weight": 1e-3}),
        ("train", {"optimizer": "adamw", "learning_rate": 1e-3}),
        ("search", {}),
        ("search", {"alpha_temperature_end": 0.1, "entropy_penalty": 0.1}),
        ("search", {"leak_validation_gradient": True, "accumulate": 2}),
        ("search", {"supervision": "identity"}),
    ],
    ids=str,
)
def test_replayed_equals_eager_to_the_bit(tiny_settings, tmp_path, recordings, kind, changes):
    changes = {"epochs": 6, "deterministic": True, **changes}
    eager = gpu_run(kind, tiny_settings, tmp_path / "eager", speed="eager", **changes)
    assert not recordings
    replayed = gpu_run(kind, tiny_settings, tmp_path / "replayed", **changes)
    assert len(recordings) >= (2 if kind == "train" else 4)
    assert all(recordings)
    steps = [line for line in eager.lines() if line["kind"] == "step"]
    assert len(steps) >= 20 or "accumulate" in changes
    assert lines_without_clock(replayed) == lines_without_clock(eager)
    assert same_weights(replayed, eager)


@pytest.mark.parametrize("kind", ["train", "search"])
def test_a_deterministic_run_gives_the_same_bits_through_a_stop(tiny_settings, tmp_path, kind):
    whole = gpu_run(kind, tiny_settings, tmp_path / "whole", deterministic=True)
    make, run = {"train": (TrainConfig, train), "search": (SearchConfig, search)}[kind]
    settings = {"device": GPU, "workers": 2, "epochs": 4, "precision": "fp32"}
    config = make(**{**tiny_settings, **settings, "deterministic": True})
    with pytest.raises(Stopped):
        run(config, tmp_path / "parts", progress=False, stop=StopAfter(7))
    parts = run(config, tmp_path / "parts", progress=False, resume=True)
    assert same_weights(whole, parts)
    assert lines_without_clock(whole) == lines_without_clock(parts)


def test_bf16_is_the_default_and_close(tiny_settings, tmp_path, recordings):
    runs = [
        gpu_run("train", tiny_settings, tmp_path / precision, precision=precision)
        for precision in ("fp32", "auto")
    ]
    assert all(recordings)
    assert "bf16, steps replayed as CUDA graphs" in (runs[1].path / "log.txt").read_text()
    losses = [run.epochs()["loss"].to_numpy() for run in runs]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.05)


def test_a_loss_that_is_not_finite_is_told_with_its_step(tiny_settings, tmp_path, monkeypatch):
    """The second batch of the second epoch is none: seen steps later, and nothing has moved."""
    true_make = TrainBatches._make

    def make(self, *place):
        images, labels, rows = true_make(self, *place)
        return (images * float("nan") if place == (1, 1) else images), labels, rows

    monkeypatch.setattr(TrainBatches, "_make", make)
    with pytest.raises(ReidError, match="not finite in epoch 2 after step 1"):
        gpu_run("train", tiny_settings, tmp_path / "run")
    report = json.loads((tmp_path / "run/failure.json").read_text())
    assert report["steps_done"] == 1
    assert not report["weight_norms"]["not_finite"]


def test_a_call_of_another_shape_and_those_after_it():
    weight = torch.ones(3, device=GPU, requires_grad=True)

    def one_pass(x):
        weight.grad = None
        (weight * x.sum()).sum().backward()
        return x * 2

    replayed = Replayed(one_pass)
    for number, size in enumerate([2] * (WARM + 2) + [5] + [2] * 3):
        assert (
            replayed(torch.full((size,), float(number), device=GPU)).tolist()
            == [2.0 * number] * size
        )
        assert weight.grad.tolist() == [float(number * size)] * 3


def test_what_cannot_be_replayed_runs_all_the_same():
    replayed = Replayed(lambda x: x * float(x.sum()))
    for _ in range(WARM):
        replayed(torch.ones(2, device=GPU))
    with pytest.warns(UserWarning, match="kernel by kernel") as caught:
        results = [replayed(torch.full((2,), value, device=GPU)).tolist() for value in (1.0, 2.0)]
    assert len(caught) == 1
    assert results == [[2.0, 2.0], [8.0, 8.0]]


def test_a_compiled_network_is_replayed():
    torch.manual_seed(0)
    # In float64 and in small steps, as rounding would have grown to a hundredth of the loss by the
    # second step.
    model = channels_last(MSINet(PAPER_GENOTYPE, 4, (16, 32, 32, 32)).double()).to(GPU).train()
    images = [
        torch.randn(8, 3, 64, 32).double().to(GPU, memory_format=torch.channels_last)
        for _ in range(6)
    ]
    labels = torch.arange(4, device=GPU).repeat_interleave(2)
    forms = [copy.deepcopy(model), model]
    assert compile_network(model, images[0])
    losses = []
    for form in forms:
        optimizer = torch.optim.SGD(form.parameters(), 1e-4)

        def one_step(batch, labels, form=form):
            form.zero_grad()
            loss = training_loss(form(batch), labels).total
            loss.backward()
            return loss.detach()

        function = one_step if form is forms[0] else Replayed(one_step)
        for batch in images:
            losses.append(float(function(batch, labels)))
            optimizer.step()
    assert losses[6:] == pytest.approx(losses[:6], rel=1e-3)


def test_metrics_and_reranking_are_the_processors_and_take_little_memory():
    rng = np.random.default_rng(0)
    who = [rng.integers(0, 300, count) for count in (2_000, 20_000)]
    centres = rng.standard_normal((300, 64), dtype=np.float32)
    features = [centres[w] + rng.standard_normal((len(w), 64), dtype=np.float32) for w in who]
    features[1][:3_000] = features[1][3_000:6_000]  # ties
    tables = [pd.DataFrame({"identity": w, "camera": rng.integers(0, 3, len(w))}) for w in who]
    results = [RetrievalResult.score(*features, *tables, device=place) for place in ("cpu", GPU)]
    for name in ("average_precision", "first_match_rank", "inverse_negative_penalty"):
        one, other = (getattr(result.ranking, name) for result in results)
        np.testing.assert_array_equal(one, other)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    one, other = (result.reranked().metrics() for result in results)
    assert other == pytest.approx(one, abs=1e-5)
    assert torch.cuda.max_memory_allocated() - before < 4e9
    torch.testing.assert_close(
        torch.from_numpy(rerank(*(part[:4_000] for part in features), device=GPU)),
        torch.from_numpy(rerank(*(part[:4_000] for part in features))),
        rtol=0,
        atol=1e-6,
    )
