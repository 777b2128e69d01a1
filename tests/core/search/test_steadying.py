"""Against collapse: every field does what it says, and none of them does anything by default."""

import math

import numpy as np
import pytest
import torch

from msinet_core import Genotype, ReidError
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import open_images
from msinet_core.models import MSINet, Supernet
from msinet_core.models.interactions import CrossAttention, scale_attention
from msinet_core.retrieval import Embedder
from msinet_core.runs import RunFolder
from msinet_core.runs.worker import Job
from msinet_core.search import load_supernet, search
from msinet_core.search.history import SearchHistory
from msinet_core.search.regularizer import (
    DROPPED,
    drop_weakest,
    mean_entropy,
    penalty_at,
    temperature_at,
)
from msinet_core.search.twin_search import TwinSearch
from msinet_core.training import load_network, train
from msinet_lab.diagnosis import Trajectory, soft_mix

CHANNELS = (16, 64, 64, 64)


@pytest.fixture
def run_search(tiny_settings, tmp_path):
    """`run_search(name, **fields)`: a finished search over the tiny photographs."""

    def run(name, **fields):
        return search(SearchConfig(**{**tiny_settings, **fields}), tmp_path / name, progress=False)

    return run


def alphas(run):
    return [torch.tensor(row) for row in run.epochs()["alphas"]]


def test_all_off_by_default_changes_no_gradient_and_no_step(run_search):
    plain = run_search("plain")
    named = run_search(
        "named",
        alpha_every=1,
        alpha_temperature=1.0,
        alpha_temperature_end=1.0,
        entropy_penalty=0.0,
        alpha_identities_per_batch=2,
    )
    one, two = plain.checkpoint().weights, named.checkpoint().weights
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_alpha_rests_while_it_warms_up(run_search):
    run = run_search("run", epochs=3, alpha_warmup_epochs=2)
    first, second, third = alphas(run)
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
    steps = [line for line in run.lines() if line["kind"] == "step"]
    assert {line["epoch"] for line in steps if "validation_loss" in line} == {3}


def test_alpha_moves_in_every_nth_step(run_search):
    def moved(run):
        return [
            line["step"]
            for line in run.lines()
            if line["kind"] == "step" and "alpha_gradient" in line
        ]

    every = moved(run_search("every", epochs=1))
    assert moved(run_search("third", epochs=1, alpha_every=3)) == every[::3]


def test_alpha_has_a_batch_of_its_own(tiny_settings, tiny_dataset, tmp_path):
    config = SearchConfig(**{**tiny_settings, "alpha_identities_per_batch": 4})
    worker = TwinSearch(Job(config, tiny_dataset, RunFolder(tmp_path / "run")))
    [(train_images, _)], _ = next(worker.batches())
    worker.step = 1
    _, [(validation_images, labels)] = next(worker.batches())
    assert len(train_images) == 2 * 2
    assert (len(validation_images), len(labels.unique())) == (4 * 2, 4)


class TestTemperature:
    def test_schedule(self, tiny_settings):
        config = SearchConfig(
            **{
                **tiny_settings,
                "epochs": 5,
                "alpha_temperature": 4.0,
                "alpha_temperature_end": 0.25,
            }
        )
        assert [temperature_at(config, epoch) for epoch in range(5)] == pytest.approx(
            [4, 2, 1, 0.5, 0.25]
        )
        assert temperature_at(SearchConfig(**tiny_settings), 1) == 1.0

    def test_the_mix_is_divided(self):
        torch.manual_seed(0)
        supernet = Supernet(CHANNELS)
        torch.nn.init.normal_(supernet.alphas)
        supernet.temperature = 0.5
        supernet(torch.randn(2, 3, 32, 32))
        expected = torch.softmax(supernet.alphas * 2, dim=1)
        np.testing.assert_allclose(soft_mix(supernet), expected.detach(), rtol=1e-5)

    def test_sharper_in_the_history_and_after_loading(self, run_search):
        run = run_search(
            "run", alpha_temperature=1.0, alpha_temperature_end=0.01, alpha_learning_rate=0.02
        )
        told = Trajectory(SearchHistory.read(run))
        assert told.entropy[1].mean() < told.entropy[0].mean()
        supernet = load_supernet(run)
        assert supernet.temperature == pytest.approx(0.01)
        np.testing.assert_allclose(soft_mix(supernet), told.weights[-1], rtol=1e-4, atol=1e-6)


class TestEntropyPenalty:
    def test_mean_entropy_against_numbers(self):
        rows = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.25] * 4])
        logits = torch.where(rows > 0, rows.log(), DROPPED)
        assert float(mean_entropy(logits)) == pytest.approx((math.log(2) / math.log(4) + 1) / 2)

    def test_schedule(self, tiny_settings):
        fields = {**tiny_settings, "epochs": 5, "entropy_penalty": 0.8, "alpha_warmup_epochs": 1}
        rising = SearchConfig(**fields, entropy_schedule="linear")
        assert [penalty_at(rising, epoch) for epoch in range(5)] == pytest.approx(
            [0, 0, 0.8 / 3, 1.6 / 3, 0.8]
        )
        assert [penalty_at(SearchConfig(**fields), epoch) for epoch in (0, 4)] == [0.8, 0.8]

    def test_positive_decides_and_negative_keeps_open(self, run_search):
        fields = {"epochs": 3, "alpha_learning_rate": 0.1}
        entropy = {
            weight: Trajectory(
                SearchHistory.read(run_search(str(weight), entropy_penalty=weight, **fields))
            )
            .entropy[-1]
            .mean()
            for weight in (-100.0, 0.0, 100.0)
        }
        assert entropy[100.0] < entropy[0.0] - 0.01
        assert entropy[-100.0] > entropy[0.0]


class TestGammaAndScale:
    def test_initial_gamma(self, tiny_settings, tiny_dataset, tmp_path):
        def make(**changes):
            config = SearchConfig(**{**tiny_settings, **changes})
            return TwinSearch(Job(config, tiny_dataset, RunFolder(tmp_path / "run")))

        worker = make(initial_gamma=0.3)
        assert worker.supernet.gammas() == pytest.approx([0.3] * 12)
        plain = make()
        assert plain.supernet.gammas() == [0.0] * 12
        assert torch.equal(
            plain.supernet.alphas, worker.supernet.alphas
        )  # nothing else was drawn anew

    def test_scaled_energies(self):
        torch.manual_seed(0)
        a, b = torch.randn(2, 3, 8, 4, 6).unbind()
        attention = CrossAttention()
        torch.nn.init.ones_(attention.gamma)
        scale_attention(attention)
        energy = torch.einsum("ncp,ndp->ncd", a.flatten(2), b.flatten(2)) / math.sqrt(24)
        expected = (
            torch.einsum("ncd,ndp->ncp", torch.softmax(-energy, 2), a.flatten(2)).view_as(a) + a
        )
        torch.testing.assert_close(attention(a, b)[0], expected)
        assert not torch.allclose(expected, CrossAttention()(a, b)[0])

    def test_in_search_training_and_evaluation(
        self, run_search, tiny_settings, tiny_dataset, tmp_path
    ):
        run = run_search("run", epochs=1, scaled_attention=True)
        assert all(slot.operations[2].scaled for slot in load_supernet(run).slots())
        fields = {**tiny_settings, "epochs": 1, "genotype": "-".join(["cross_attention"] * 12)}
        model = load_network(
            train(TrainConfig(**fields, scaled_attention=True), tmp_path / "train", progress=False)
        )
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name.endswith("gamma"):
                    value.fill_(1.0)
        plain = MSINet(Genotype.uniform("cross_attention"), model.num_identities, CHANNELS).eval()
        plain.load_state_dict(model.state_dict())
        images = open_images(tiny_dataset.query, tiny_dataset.root, 32, 32)
        scaled = Embedder(model).embed(images)
        whole = Embedder(model, fold=False).embed(images)
        np.testing.assert_allclose(scaled, whole, rtol=1e-4, atol=1e-6)
        assert np.abs(scaled - Embedder(plain).embed(images)).max() > 1e-3


class TestDropping:
    def test_the_weakest_goes_and_the_last_stays(self):
        alphas = torch.tensor([[0.3, 0.1, 0.2, 0.4]])
        left = []
        for _ in range(5):
            drop_weakest(alphas)
            left.append((alphas > DROPPED / 2).squeeze().tolist())
        assert left[0] == [True, False, True, True]
        assert left[1] == [True, False, False, True]
        assert left[2] == left[4] == [False, False, False, True]
        assert torch.softmax(alphas, 1).tolist() == [[0.0, 0.0, 0.0, 1.0]]

    def test_in_a_search(self, run_search):
        run = run_search("run", epochs=3, drop_milestones=(1, 2))
        first, second, third = (torch.softmax(row, 1) for row in alphas(run))
        assert [(row == 0).sum(1).tolist() for row in (first, second, third)] == [
            [1] * 12,
            [2] * 12,
            [2] * 12,
        ]
        assert (second[first == 0] == 0).all()
        assert (third[second == 0] == 0).all()  # weight decay and momentum do not bring one back
        assert torch.isfinite(third).all()
        kept = run.checkpoint().weights["alphas"]
        assert (kept[second == 0] == DROPPED).all()  # not a step nearer, however many there are
        np.testing.assert_allclose(soft_mix(load_supernet(run)), third, atol=1e-6)


def test_bad_values(tiny_settings):
    for fields in (
        {"alpha_every": 0},
        {"alpha_temperature": 0.0},
        {"alpha_temperature_end": -1.0},
        {"drop_milestones": (3, 2)},
        {"alpha_warmup_epochs": -1},
        {"alpha_identities_per_batch": 0},
    ):
        with pytest.raises(ReidError):
            SearchConfig(**{**tiny_settings, **fields})
