"""Numbers from the history alone: trajectories, seeds, statistics. Hand-made cases, naive loops,
broken runs.
"""

import math
from itertools import combinations, product

import numpy as np
import pytest

from msinet_core import PAPER_GENOTYPE, Genotype, ReidError
from msinet_core.search.history import SearchHistory
from msinet_lab.diagnosis import (
    Trajectory,
    agreement,
    chance_distance,
    fleiss_kappa,
    kendall_tau_b,
    mean_interval,
    place_among,
)
from msinet_lab.diagnosis.findings import history_findings, seed_finding

NONE, GATE, ATTENTION, EXCHANGE = range(4)


def history(rows, gammas=None):
    """Lines of a search; `rows` is E x 12 x 4 softmax weights."""
    lines = [{"kind": "step", "epoch": 1, "step": 1}]
    for epoch, weights in enumerate(rows, 1):
        line = {"kind": "epoch", "epoch": epoch, "alphas": np.log(np.asarray(weights)).tolist()}
        lines.append(line | ({} if gammas is None else {"gammas": [float(gammas)] * 12}))
    return lines


def trajectory(lines):
    return Trajectory(SearchHistory.from_lines(lines))


def decided(*winners, share=0.97):
    """Weights of 12 slots that each give `share` to their winner."""
    weights = np.full((12, 4), (1 - share) / 3)
    weights[np.arange(12), list(winners)] = share
    return weights


def verdicts(findings):
    return {finding.check: finding.severity for finding in findings}


class TestTrajectory:
    def test_a_hand_made_slot(self):
        row = [0.4, 0.3, 0.2, 0.1]
        told = trajectory(history([[row] * 12, [row[::-1]] * 12], gammas=0.01))
        np.testing.assert_allclose(told.weights[0, 5], row)
        expected = -sum(p * math.log(p) for p in row) / math.log(4)
        np.testing.assert_allclose(told.entropy, expected)
        np.testing.assert_allclose(told.margin, 0.1)
        np.testing.assert_allclose(
            told.idle_weight[0], 0.4 + 0.2
        )  # none, and cross attention at rest
        assert (told.winners[0] == NONE).all()
        assert (told.winners[1] == EXCHANGE).all()
        assert told.flips().tolist() == [1] * 12
        assert not told.flipped[0].any()

    def test_a_working_cross_attention_is_no_identity(self):
        row = [[0.4, 0.3, 0.2, 0.1]] * 12
        np.testing.assert_allclose(trajectory(history([row], gammas=-0.5)).idle_weight, 0.4)
        np.testing.assert_allclose(
            trajectory(history([row])).idle_weight, 0.4
        )  # gammas not recorded

    def test_flips_count_the_last_epochs_only(self):
        one, two = decided(*[GATE] * 12), decided(*[GATE] * 11, EXCHANGE)
        told = trajectory(history([one, two, one, one, one, two]))
        assert told.flips(3).tolist() == [0] * 11 + [1]
        assert told.flips(6).tolist() == [0] * 11 + [3]

    def test_table_has_every_epoch_and_slot(self):
        rng = np.random.default_rng(0)
        rows = rng.dirichlet(np.ones(4), (3, 12))
        table = trajectory(history(rows)).table
        assert len(table) == 36
        line = table[(table["epoch"] == 2) & (table["slot"] == 5)].iloc[0]
        np.testing.assert_allclose(
            line[["none", "channel_gate", "cross_attention", "exchange"]].astype(float), rows[1, 4]
        )
        assert line["place"] == "stage 2, cell 1, slot 1"

    def test_a_dropped_operation_has_no_weight(self):
        lines = history([decided(*[GATE] * 12)])
        for row in lines[1]["alphas"]:
            row[EXCHANGE] = -math.inf
        told = trajectory(lines)
        assert (told.weights[..., EXCHANGE] == 0).all()
        assert np.isfinite(told.entropy).all()

    def test_without_alpha(self):
        with pytest.raises(ReidError, match="no alpha"):
            trajectory([{"kind": "epoch", "epoch": 1, "loss": 2.0}])
        with pytest.raises(ReidError, match="register"):
            trajectory([{"kind": "epoch", "epoch": 1, "alphas": np.zeros((12, 5)).tolist()}])


class TestFlags:
    def test_a_good_run_passes(self):
        good = decided(*[GATE, EXCHANGE, ATTENTION] * 4)
        assert set(
            verdicts(history_findings(trajectory(history([good] * 6, gammas=0.4)))).values()
        ) == {"ok"}

    def test_a_collapsed_run(self):
        collapsed = decided(*[NONE, ATTENTION] * 6)
        told = trajectory(history([collapsed] * 6, gammas=0.001))
        assert verdicts(history_findings(told))["not collapsed"] == "error"
        assert len(told.idle_slots) == 12
        awake = trajectory(history([collapsed] * 6, gammas=0.3))  # the same, but attention works
        assert len(awake.idle_slots) == 6
        assert verdicts(history_findings(awake))["not collapsed"] == "ok"

    def test_an_undecided_and_an_unsettled_run(self):
        even = np.full((12, 4), 0.25)
        assert verdicts(history_findings(trajectory(history([even]))))["decided"] == "warning"
        one, two = decided(*[GATE] * 12), decided(*[EXCHANGE] * 12)
        assert verdicts(history_findings(trajectory(history([one, two]))))["settled"] == "warning"


class TestSeeds:
    def test_kappa_of_the_textbook(self):
        """Fleiss 1971, as worked out in many places: 10 subjects, 14 raters, 5 categories, kappa
        0.210.
        """
        votes = np.array(
            [
                [0, 0, 0, 0, 14],
                [0, 2, 6, 4, 2],
                [0, 0, 3, 5, 6],
                [0, 3, 9, 2, 0],
                [2, 2, 8, 1, 1],
                [7, 7, 0, 0, 0],
                [3, 2, 6, 3, 0],
                [2, 5, 3, 2, 2],
                [6, 5, 2, 1, 0],
                [0, 2, 2, 3, 7],
            ]
        )
        assert fleiss_kappa(votes) == pytest.approx(0.210, abs=5e-4)

    def test_kappa_against_naive_loops(self):
        rng = np.random.default_rng(1)
        labels = rng.integers(0, 4, (12, 5))  # slots x seeds
        votes = np.stack([np.bincount(row, minlength=4) for row in labels])
        agreeing = np.mean(
            [[row[i] == row[j] for i, j in combinations(range(5), 2)] for row in labels]
        )
        share = [np.mean(labels == name) for name in range(4)]
        chance = sum(p * p for p in share)
        assert fleiss_kappa(votes) == pytest.approx((agreeing - chance) / (1 - chance))

    def test_seeds_that_agree_and_that_do_not(self):
        same = agreement([PAPER_GENOTYPE] * 3)
        assert (same.kappa, same.distance, same.tied) == (1.0, 0.0, ())
        assert same.consensus == PAPER_GENOTYPE.canonical()
        assert verdicts([seed_finding(same)])["seeds agree"] == "ok"
        apart = agreement([Genotype.sample(seed) for seed in range(6)])
        assert abs(apart.kappa) < 0.2
        assert verdicts([seed_finding(apart)])["seeds agree"] == "warning"

    def test_consensus_is_the_majority_in_canonical_form(self):
        a, b = Genotype.uniform("exchange"), Genotype.uniform("channel_gate")
        found = agreement([a, a, b])
        assert found.consensus.slots[:2] == ("exchange", "none")
        assert found.distance == pytest.approx(2 / 3)  # of three pairs two differ in every slot
        assert agreement([a, b]).tied == tuple(range(12))

    def test_chance_distance_by_counting(self):
        first, second = range(4), range(3)
        pairs = [
            np.mean([i != j for i, j in product(choice, choice)]) for choice in (first, second)
        ]
        assert chance_distance() == pytest.approx(np.mean(pairs)) == pytest.approx(17 / 24)
        drawn = [Genotype.sample(seed) for seed in range(80)]
        mean = np.mean([a.distance(b) / 12 for a, b in combinations(drawn, 2)])
        assert mean == pytest.approx(chance_distance(), abs=0.02)

    def test_one_search_is_not_enough(self):
        with pytest.raises(ReidError, match="at least two"):
            agreement([PAPER_GENOTYPE])


class TestStatistics:
    def test_tau_b_against_naive_loops(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            x, y = rng.integers(0, 4, 9), rng.integers(0, 4, 9)
            good = bad = tied_x = tied_y = 0
            for i, j in combinations(range(9), 2):
                product_ = (x[i] - x[j]) * (y[i] - y[j])
                good, bad = good + (product_ > 0), bad + (product_ < 0)
                tied_x, tied_y = tied_x + (x[i] == x[j]), tied_y + (y[i] == y[j])
            pairs = 36
            expected = (good - bad) / math.sqrt((pairs - tied_x) * (pairs - tied_y))
            assert kendall_tau_b(x, y) == pytest.approx(expected)
        assert math.isnan(kendall_tau_b([1, 1, 1], [1, 2, 3]))

    @pytest.mark.parametrize(
        "freedom, quantile", [(1, 12.7062), (2, 4.3027), (30, 2.0423), (60, 2.0003), (120, 1.9799)]
    )
    def test_the_interval_is_students_at_any_number_of_values(self, freedom, quantile):
        """97.5 % quantiles as every table of t prints them."""
        values = np.random.default_rng(freedom).normal(size=freedom + 1)
        mean, low, high = mean_interval(values)
        scale = values.std(ddof=1) / math.sqrt(len(values))
        assert (high - mean) / scale == pytest.approx(quantile, abs=5e-5)
        assert (mean - low) / scale == pytest.approx(quantile, abs=5e-5)

    def test_place(self):
        place = place_among(2.0, [1.0, 2.0, 3.0, 0.0])
        assert (place.percentile, place.p) == (62.5, 3 / 5)
        assert place_among(9.0, [1.0] * 19).p == 1 / 20
        with pytest.raises(ReidError, match="at least one random"):
            place_among(1.0, [])

    def test_interval_of_a_mean(self):
        mean, low, high = mean_interval([1.0, 2.0, 3.0])
        half = 4.302653 * 1.0 / math.sqrt(3)
        assert (mean, low, high) == pytest.approx((2.0, 2 - half, 2 + half))
        assert mean_interval([0.4])[1:] == (-math.inf, math.inf)
