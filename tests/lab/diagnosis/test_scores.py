"""Scores of mixes with a supernet's weights: the walk, the norms, the gap, strengths, effects,
baselines.
"""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from msinet_core import OPERATIONS, PAPER_GENOTYPE, Genotype, ReidError
from msinet_core.config import SearchConfig
from msinet_core.models.interactions import ChannelGate, CrossAttention, Exchange, NoInteraction
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.search.twin_search import split_for
from msinet_lab.diagnosis import (
    diagnose,
    functional_distance,
    gap_and_strength,
    held_out_split,
    one_hot,
    operation_effect,
    random_genotypes,
    score_baselines,
    soft_mix,
)
from msinet_lab.diagnosis.findings import effect_finding
from msinet_lab.diagnosis.gap import without
from msinet_lab.diagnosis.scorer import AtSlot


def naive_features(supernet, scorer, mix, reestimate):
    """The whole supernet with its alphas set to log mix, norms estimated in one go over the
    calibration batches.
    """
    net = copy.deepcopy(supernet)
    with torch.no_grad():
        net.alphas.copy_(torch.tensor(np.log(np.maximum(mix, 1e-30))))
        if reestimate:
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.reset_running_stats()
                    module.momentum = None
            net.train()
            for batch in scorer.calibration:
                net(batch)
        return np.concatenate([net.eval()(batch).numpy() for batch in scorer.images])


@pytest.mark.parametrize("reestimate", [False, True])
def test_features_are_those_of_the_supernet(supernet, scorer, reestimate):
    for mix in (soft_mix(supernet), one_hot(PAPER_GENOTYPE)):
        expected = naive_features(supernet, scorer, mix, reestimate)
        np.testing.assert_allclose(
            scorer.features(mix, reestimate=reestimate), expected, rtol=1e-5, atol=1e-6
        )


def test_stored_and_estimated_norms_do_not_disturb_each_other(supernet, scorer):
    mix = soft_mix(supernet)
    before = scorer.features(mix, reestimate=False)
    estimated = scorer.features(mix)
    np.testing.assert_allclose(scorer.features(mix, reestimate=False), before, atol=1e-6)
    np.testing.assert_allclose(scorer.features(mix), estimated, atol=1e-6)
    assert np.abs(before - estimated).max() > 1e-3


def test_from_any_slot_on_it_is_the_same(supernet, scorer):
    mix = soft_mix(supernet)
    whole = scorer.features(mix)
    slots = []
    for prefix in scorer.along(mix):
        slots.append(prefix.slot)
        np.testing.assert_allclose(scorer.features(mix, prefix), whole, rtol=1e-4, atol=1e-5)
    assert slots == list(range(12))


def test_gap_and_strength_against_whole_passes(supernet, scorer):
    mix, genotype = soft_mix(supernet), supernet.genotype()
    gap, strength = gap_and_strength(scorer, mix, genotype)
    base = scorer.score(mix).ranking.mean_average_precision
    for slot in (0, 11):
        hard = mix.copy()
        hard[slot] = one_hot(genotype)[slot]
        alone = scorer.score(hard).ranking.mean_average_precision
        assert gap.slots["mAP"][slot] == pytest.approx(alone)
        assert gap.slots["difference"][slot] == pytest.approx(alone - base)
        for column in range(4):
            rest = mix.copy()
            rest[slot, column] = 0
            rest[slot] /= rest[slot].sum()
            assert strength.loss[slot, column] == pytest.approx(
                base - scorer.score(rest).ranking.mean_average_precision
            )
    assert gap.table["mAP"].iloc[2] == pytest.approx(base)
    assert gap.reestimated.difference == pytest.approx(gap.table["mAP"].iloc[3] - base)
    assert gap.reestimated.interval[0] <= gap.reestimated.difference <= gap.reestimated.interval[1]
    assert len(strength.table) == 48


def test_a_decided_supernet_has_no_gap(supernet, scorer):
    with torch.no_grad():
        supernet.alphas.copy_(40 * torch.tensor(one_hot(PAPER_GENOTYPE)))
    gap, _ = gap_and_strength(scorer, soft_mix(supernet), PAPER_GENOTYPE, strength=False)
    assert gap.reestimated.difference == pytest.approx(0, abs=1e-9)
    assert not gap.reestimated.significant


def test_weights_without_an_operation():
    assert without(np.array([0.0, 1.0]), 0) is None  # nothing to take away
    assert without(np.array([0.0, 1.0]), 1) is None  # nothing would be left


class TestEffect:
    def at(self):
        torch.manual_seed(0)
        return AtSlot(torch.zeros(1), *torch.randn(2, 4, 32, 5, 5).unbind())

    def test_known_distances(self):
        at = self.at()
        assert functional_distance(NoInteraction(), at) == 0
        assert functional_distance(CrossAttention(), at) == 0  # gamma starts at 0
        a, b = at.a.numpy(), at.b.numpy()
        swapped = np.sqrt(2 * ((a - b) ** 2).sum() / ((a**2).sum() + (b**2).sum()))
        assert functional_distance(Exchange(), at) == pytest.approx(swapped, rel=1e-5)
        gate = ChannelGate(32)
        nn.init.zeros_(gate.excite.weight)
        nn.init.zeros_(gate.excite.bias)
        assert functional_distance(gate, at) == pytest.approx(0.5)  # sigmoid(0) halves everything

    def test_a_winner_that_does_nothing_is_flagged_and_a_real_one_is_not(self, supernet, scorer):
        with torch.no_grad():
            scorer.supernet.alphas.copy_(
                5 * torch.tensor(one_hot(Genotype.uniform("cross_attention")))
            )
            for slot in scorer.supernet.slots()[1:]:
                slot.operations[2].gamma.fill_(5.0)
            scorer.supernet.slots()[0].operations[2].gamma.fill_(1e-4)
        effect = operation_effect(scorer)
        assert effect.near_no_ops == (0,)
        assert effect_finding(effect).severity == "warning"
        assert "slot 1 (cross_attention)" in effect_finding(effect).found
        assert (effect.distance[:, 0] == 0).all()
        assert effect.table["near_no_op"].tolist() == [True] + [False] * 11

    def test_none_is_not_flagged(self, scorer):
        with torch.no_grad():
            scorer.supernet.alphas.copy_(torch.tensor(one_hot(Genotype.uniform("none"))))
        assert operation_effect(scorer).near_no_ops == ()
        assert effect_finding(operation_effect(scorer)).severity == "ok"


class TestBaselines:
    def test_place_and_names(self, supernet, scorer):
        found = supernet.genotype()
        against = score_baselines(scorer, found, count=5)
        assert len(against.random) == 5
        assert set(against.named) == {*(f"all {name}" for name in OPERATIONS), "paper"}
        score = scorer.score(one_hot(found)).ranking.mean_average_precision
        at_least = sum(value >= score for value in against.random.values())
        assert against.place.p == (1 + at_least) / 6
        assert against.table["mAP"].is_monotonic_decreasing
        assert len(against.table) == 1 + 5 + 5

    def test_random_ones_are_distinct_canonical_and_not_the_found_one(self):
        drawn = random_genotypes(200, 0, Genotype.sample(3))
        assert len(set(drawn)) == 200
        assert all(genotype == genotype.canonical() for genotype in drawn)
        assert Genotype.sample(3) not in drawn
        assert random_genotypes(3, 1) != random_genotypes(3, 2)


class TestHeldOut:
    def test_no_seen_identity_and_no_test_image(self, tiny_settings, tiny_dataset):
        config = SearchConfig(**tiny_settings)
        held_out = held_out_split(config, tiny_dataset)
        split = split_for(config, tiny_dataset)
        judged = held_out.table[held_out.table["split"] != "train"]
        assert len(judged)
        assert not set(judged["identity"]) & set(split.train["identity"])
        assert set(judged["identity"]) <= set(split.validation["identity"])
        assert set(held_out.table["path"]) <= set(tiny_dataset.train["path"])
        assert set(held_out.query["identity"]) == set(held_out.gallery["identity"])
        assert not set(held_out.query["path"]) & set(held_out.gallery["path"])
        assert set(held_out.train["identity"]) == set(split.train["identity"])

    def test_limits(self, tiny_settings, tiny_dataset):
        held_out = held_out_split(
            SearchConfig(**tiny_settings), tiny_dataset, max_identities=2, max_images=5
        )
        judged = held_out.table[held_out.table["split"] != "train"]
        assert judged["identity"].value_counts().tolist() == [5, 5]
        assert judged["camera"].nunique() == 2

    def test_nothing_left_at_full_overlap(self, tiny_settings, tiny_dataset):
        with pytest.raises(ReidError, match="overlap below 1"):
            held_out_split(SearchConfig(**tiny_settings, overlap=1.0), tiny_dataset)

    def test_without_cameras(self, tiny_settings, tiny_dataset):
        bare = tiny_dataset.with_table(tiny_dataset.table.drop(columns="camera"))
        assert len(held_out_split(SearchConfig(**tiny_settings), bare).query)


def test_everything_from_a_run_folder(tiny_settings, tiny_dataset, tmp_path):
    run = search(SearchConfig(**tiny_settings), tmp_path / "run", progress=False)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    found = diagnose(
        run, others=(run,), random=8, trainings=8, training_epochs=1, folder=tmp_path / "short"
    )
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before  # only read
    assert len(found.findings) == 9
    assert found.seeds.kappa == 1
    assert len(found.correlation.table) == 8
    assert RunFolder(tmp_path / "short" / "08").finished
    saved = found.save(tmp_path / "saved")
    assert len(pd.read_csv(saved / "slots_by_epoch.csv")) == 24
    assert "decided" in repr(found)
