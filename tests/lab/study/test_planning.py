"""How many pairs decide: against simulated studies and known figures of the paired t-test."""

import numpy as np
import pandas as pd
import pytest

from msinet_lab.diagnosis.statistics import mean_interval
from msinet_lab.study import CLAIMS, pairs_needed, plan, power_of, visible


@pytest.mark.parametrize(("pairs", "deviation"), [(5, 0.012), (10, 0.02), (30, 0.05)])
def test_the_power_is_what_simulated_studies_have(pairs, deviation):
    rng, difference = np.random.default_rng(0), 0.02
    studies = rng.normal(difference, deviation, (4000, pairs))
    lows = np.array([mean_interval(study)[1] for study in studies])
    assert (lows > 0).mean() == pytest.approx(power_of(pairs, deviation, difference), abs=0.03)
    # where there is no difference, two points are left out as often
    highs = np.array([mean_interval(study - difference)[2] for study in studies])
    assert (highs < difference).mean() == pytest.approx(power_of(pairs, deviation), abs=0.03)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_are_those_of_the_tables(effect, pairs):
    """Of the paired t-test, two-sided, 5 %, power 80 %."""
    assert pairs_needed(1.0, effect) == pairs
    assert visible(pairs, 1.0) <= effect < visible(pairs - 1, 1.0)


def test_a_plan_from_a_studys_rows():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            {
                "part": c.part,
                "data": "x",
                "seed": seed,
                "setting": side,
                "mAP": rng.normal(0.2, 0.03),
            }
            for c in CLAIMS[:3]
            for seed in range(4)
            for side in (c.better, c.than)
        ]
    ).drop_duplicates(["part", "data", "seed", "setting"])
    found = plan(rows)
    assert list(found["claim"]) == [c.text for c in CLAIMS[:3]]
    for line in found.itertuples():
        assert line.needed == pairs_needed(line.deviation)
        assert power_of(line.pairs, line.deviation, line.visible) == pytest.approx(0.8, abs=0.01)
