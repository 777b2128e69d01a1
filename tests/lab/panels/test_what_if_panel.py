"""The what-if panel without a browser: every choice is evaluated, compared and shown."""

import re
import time

import numpy as np
import pytest

from msinet_core.config import SearchConfig
from msinet_core.search import search
from msinet_core.space import OPERATIONS, Genotype
from msinet_lab.diagnosis import WhatIf, one_hot, open_scorer
from msinet_lab.panels import WhatIfPanel


@pytest.fixture(scope="module")
def run(tiny_root, tiny_settings, tmp_path_factory):
    return search(
        SearchConfig(**tiny_settings), tmp_path_factory.mktemp("run") / "run", progress=False
    )


@pytest.fixture
def panel(run, tiny_dataset):
    return WhatIfPanel(run, tiny_dataset, k=4, height=32, width=32)


def other(name):
    return next(each for each in OPERATIONS[1:] if each != name)


def test_a_change_is_evaluated_and_shown(panel, status):
    assert status(panel) == ""  # what was found is known
    assert "as found" in panel.words.value
    before = {part: image.value for part, image in panel.pictures.items()}
    panel.slots[4].value = other(panel.slots[4].value)
    assert re.search("from stage 2, cell 1, slot 1 on", status(panel))
    assert panel.genotype.distance(panel.found) == 1
    assert all(panel.pictures[part].value != value for part, value in before.items())
    expected = panel.engine.scorer.score(one_hot(panel.genotype))
    assert panel.after.ranking.mean_average_precision == pytest.approx(
        expected.ranking.mean_average_precision
    )
    gain = 100 * (
        panel.after.ranking.mean_average_precision - panel.before.ranking.mean_average_precision
    )
    assert f"{gain:+.2f} points" in panel.words.value
    low, high = panel.comparison.interval
    assert low <= panel.comparison.difference <= high


def test_back_to_what_was_found(panel, status):
    for slot in (0, 7):
        panel.slots[slot].value = other(panel.slots[slot].value)
    panel.back.click()
    assert panel.genotype == panel.found
    assert status(panel) == ""
    panel.slots[0].value = other(panel.slots[0].value)
    assert status(panel) == "evaluated before"
    panel.back.click()
    assert panel.comparison.difference == 0


def test_another_query(panel, status):
    before = panel.pictures["lists"].value
    assert panel.query.min == 1
    panel.query.value = 3
    assert f"query {panel.order[2] + 1}:" in status(panel)
    assert panel.pictures["lists"].value != before


def test_without_an_observer_nothing_happens(panel):
    before = panel.pictures["network"].value
    panel.slots[2].unobserve_all()
    panel.slots[2].value = other(panel.slots[2].value)
    assert panel.pictures["network"].value == before


def test_changes_are_quick(panel):
    start = time.perf_counter()
    panel.slots[11].value = other(panel.slots[11].value)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("keep_bytes", [0, 10**9])
def test_any_sequence_of_genotypes_scores_as_from_the_start(run, tiny_dataset, keep_bytes):
    scorer, _ = open_scorer(run, tiny_dataset)
    engine = WhatIf(scorer, keep_bytes)
    first = Genotype.sample(0)
    late = Genotype((*first.slots[:9], *Genotype.sample(5).slots[9:]))
    for genotype in (first, late, Genotype.sample(1), first, late):
        expected = scorer.features(one_hot(genotype))
        np.testing.assert_allclose(
            engine.evaluate(genotype).query_features, expected[scorer.query], rtol=1e-3, atol=1e-4
        )
    assert len(engine.kept) == (1 if not keep_bytes else 12)
