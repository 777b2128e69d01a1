"""The study of recipes, genotypes and claims: plan, processes, table, and one cell of it."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from working import nothing, work

from benchmarks import _recipe_tables as tables
from benchmarks import recipe
from benchmarks._cells import Bench, Cell
from benchmarks._choice import STRONG, against, best, candidates, combinations, parts, together
from benchmarks._pages import RESULTS
from benchmarks._plan import PARTS, Known, Plan
from benchmarks._workers import carry_out
from benchmarks.recipe import Table
from msinet_core.config import TrainConfig
from msinet_core.runs.feeding import augmentation_of

WHOLE = together(STRONG.values())


def rows_of(*cells, part="choice", data="turntable"):
    """(arm, seed, mAP) as rows."""
    return [
        {"part": part, "data": data, "arm": a, "seed": s, "mAP": m, "epochs": 30, "options": "{}"}
        for a, s, m in cells
    ]


def held_out(rows):
    return Known(rows).held_out


def arm_of(name, gain, spread=0.0, seeds=3):
    return [(name, seed, 0.5 + gain + spread * (seed - 1)) for seed in range(seeds)]


# -- what is chosen ------------------------------------------------------------------------------


def test_what_helps_is_taken_and_what_hurts_goes():
    held = rows_of(
        *arm_of("strong", 0),
        *arm_of("strong + GeM", 0.03),
        *arm_of("strong + grey", 0.01),
        *arm_of("strong + rate x 1.5", 0.04),
        *arm_of("strong + batch of 64, rate x 1.5", 0.035),  # about the rate too
        *arm_of("strong + drop path", 0.02, spread=0.2),  # may be chance
        *arm_of("strong + alignment", 0.001),  # not worth having
        *arm_of("strong + colour cast", 0.05),
    )
    people = rows_of(*arm_of("strong", 0), *arm_of("strong + colour cast", -0.02), data="people")
    found = combinations(held_out(held + people), "strong", WHOLE)
    assert list(found) == ["strong + rate x 1.5 + GeM", "strong + rate x 1.5 + GeM + grey"]
    assert found["strong + rate x 1.5 + GeM"] == {
        **WHOLE,
        "learning_rate": 0.195,
        "pooling": "gem",
    }


def test_the_best_gains_most_and_hurts_nothing():
    arms = ["paper", "strong", "strong - jitter", "strong - average"]
    held = rows_of(*arm_of("paper", 0), *arm_of("strong", 0.1), *arm_of("strong - jitter", 0.05))
    assert best(held_out(held), arms, ["turntable"]) == "strong"
    held += rows_of(*arm_of("strong - average", 0.2, seeds=1))  # too few seeds
    assert best(held_out(held), arms, ["turntable"]) == "strong"
    one = {"data": "nyala"}
    held += rows_of(*arm_of("paper", 0), *arm_of("strong", -0.05), **one)
    assert best(held_out(held), arms, ["turntable"]) == "strong - jitter"
    assert best(held_out(held), arms, ["turntable", "nyala"]) == "strong"  # nothing without harm
    held += rows_of(*arm_of("strong - jitter", 0.01), **one)
    assert best(held_out(held), arms, ["turntable", "nyala"]) == "strong - jitter"


@pytest.mark.parametrize("file", ["recipe", "recipe_cpu"])
def test_what_was_measured_is_what_is_shipped(file):
    """So that what the pages say of `strong` is said of `--recipe strong`."""
    assert TrainConfig.RECIPES["strong"] == WHOLE  # no part is missing
    rows = recipe.read(RESULTS / f"{file}.csv")
    options = rows.loc[(rows["part"] == "test") & (rows["arm"] == "strong"), "options"]
    assert len(options) >= 5
    trained = [TrainConfig(height=64, width=64, **json.loads(text)) for text in options]
    shipped = TrainConfig.of_recipe("strong", height=64, width=64)
    # the first was given the 5 pixels that padding in proportion comes to
    assert {replace(config, pad=shipped.pad) for config in trained} == {shipped}
    assert {augmentation_of(config).pad for config in trained} == {5}


def test_arms_are_configurations():
    for changes in parts().values():
        TrainConfig(**changes)
    assert parts()["strong - jitter"].keys() == {"pad", "schedule", "learning_rate", "ema"}
    for arm, changes in candidates("strong", WHOLE).items():
        TrainConfig(**changes)
        assert against(arm) == "strong"
        assert changes != WHOLE


# -- the plan ------------------------------------------------------------------------------------


def through(plan, score):
    """All cells of a plan in their order, each done before the next is asked for."""
    known, cells, rows = Known(), [], []
    while (cell := plan.next_cell(known, ())) is not None:
        cells.append(cell)
        row = dict(zip(("part", "data", "arm", "seed", "epochs"), cell.key, strict=True))
        options = json.dumps(dict(cell.changes))
        rows.append({**row, "mAP": score(cell), "options": options})
        known.add(rows[-1])
    return cells, pd.DataFrame(rows), known


def of_the_arm(cell):
    """Better with GeM and without jitter; `strong` is better than the paper's."""
    own = cell.changes
    return 0.5 + 0.1 * bool(own) + 0.02 * ("GeM" in cell.arm) + 0.03 * ("jitter" in cell.arm)


def test_a_plan_goes_through_its_parts():
    plan = Plan(("turntable", "nyala", "people"), (0, 1, 2, 3), 30, random=2)
    cells, rows, known = through(plan, of_the_arm)
    assert len({cell.key for cell in cells}) == len(cells)
    order = [cell.part for cell in cells]
    assert list(dict.fromkeys(order)) == list(PARTS)
    assert order == sorted(order, key=PARTS.index)
    # what is chosen never saw a test image, and everything else did
    assert all(cell.held_out == (cell.part == "choice") for cell in cells)
    name = "strong - jitter + GeM"
    assert known.chosen == (name, {**parts()["strong - jitter"], "pooling": "gem"})
    test = rows[rows["part"] == "test"].groupby(["data", "arm"])["seed"].nunique()
    assert set(test) == {4}
    assert len(test) == 9  # three data sets, three recipes
    # candidates that do no good get no further seeds, and no seeds on nyala
    own = rows[rows["part"] == "choice"].groupby(["data", "arm"])["seed"].nunique()
    for data, arm, seeds in (
        ("turntable", "paper", 3),
        ("nyala", "strong - jitter", 3),
        ("people", name, 3),
        ("nyala", name, 3),
        ("people", "strong - jitter + grey", 1),
    ):
        assert own[data, arm] == seeds
    assert ("nyala", "strong - jitter + grey") not in own


def test_a_part_whose_time_is_over_waits_for_the_others():
    plan = Plan(("turntable", "people"), (0, 1), 30, random=1, seconds=100)
    known = Known()
    assert plan.next_cell(known, ()).part == "choice"
    for data in plan.sets:
        for row in rows_of(*arm_of("paper", 0), *arm_of("strong - jitter", 0.1), data=data):
            known.add(row)
    assert plan.next_cell(known, ()).part == "choice"
    plan.started -= 65
    assert plan.next_cell(known, ()).part == "test"  # of what is known
    for row in rows_of(*arm_of("strong", 0.3), *arm_of("strong", 0.3), data="people"):
        known.add(row)
    tested = {cell.arm for cell in plan.test(known)}
    assert tested == {"paper", "strong", "strong - jitter"}  # what is decided stays so
    plan.started -= 26
    assert plan.next_cell(known, ()).part == "genotypes"


def test_without_a_choice_the_shipped_recipe_is_tested():
    plan = Plan(("turntable",), (0,), 30, ("test",))
    arms = {cell.arm: cell.changes for cell in plan.test(Known())}
    assert arms == {"paper": {}, "strong": WHOLE}


# -- processes and table -------------------------------------------------------------------------


def carried_out(jobs, seconds=60.0):
    waiting, found = list(jobs), {}

    def done(job, result, error):
        found[job] = error.strip().splitlines()[-1] if error else result

    whole = carry_out(
        work,
        lambda: waiting.pop(0) if waiting else None,
        done,
        processes=2,
        until=time.monotonic() + seconds,
        prepare=nothing,
        module="benchmarks._workers",
    )
    return whole, found


def test_jobs_end_apart_from_each_other():
    whole, found = carried_out(["a", "breaks", "b", "ends", "c"])
    assert whole
    assert found == {
        **{name: name * 2 for name in "abc"},
        "breaks": "ValueError: broken",
        "ends": "its process ended with 3",
    }


def test_the_clock_ends_what_is_under_way():
    started = time.monotonic()
    whole, found = carried_out(["a", "lasts", "b"], seconds=12)
    assert not whole
    assert found == {"a": "aa", "b": "bb"}
    assert time.monotonic() - started < 60


def test_rows_are_appended_and_a_broken_last_line_is_done_again(tmp_path):
    file = tmp_path / "recipe.csv"
    cells = [Cell("test", "turntable", "paper", seed, 30, {"ema": 0.9}) for seed in (0, 1)]
    scores = dict.fromkeys(
        ("mAP", "rank1", "mINP", "mAP_flip", "mAP_necks", "mAP_flip_necks", "seconds"), 0.5
    )
    table = Table(file, "cpu")
    for cell in cells:
        table.add(cell, {**scores, "genotype": "x"})
    assert len(recipe.read(file)) == 2
    assert recipe.read(file)["options"].tolist() == ['{"ema": 0.9}'] * 2
    file.write_text(file.read_text()[:-30])
    assert Table(file, "cpu").known.keys.keys() == {cells[0].key}
    table = Table(file, "cpu")
    table.add(cells[1], {**scores, "genotype": "x"})
    assert Table(file, "cpu").known.keys.keys() == {cell.key for cell in cells}


def test_differences_are_paired_by_seed():
    rows = pd.DataFrame(
        rows_of(*arm_of("paper", 0, 0.1), *arm_of("strong", 0.1, 0.1, seeds=2), part="test")
    )
    _, paper, strong = tables.on_test(rows)
    assert paper == ["turntable", "paper", "50.0", "", "3"]
    assert strong == ["turntable", "strong", "55.0", "+10.0 (+10.0 to +10.0)", "2"]
    assert "+10.0 (+10.0 to +10.0)" in tables.said(
        rows.assign(mAP_flip=0, mAP_necks=0, mAP_flip_necks=0)
    )


def test_the_ablation_says_what_each_part_is_set_against():
    rows = rows_of(
        *arm_of("strong + GeM", -0.02),
        *arm_of("strong - jitter", 0.1, seeds=2),
        *arm_of("paper", -0.2),
        *arm_of("strong", 0),
    )
    head, *lines = tables.ablation(pd.DataFrame(rows))
    assert head == ["part", "to", "turntable, points (95 %)", "seeds"]
    assert lines == [
        ["strong", "paper", "+20.0 (+20.0 to +20.0)", "3"],
        ["+ GeM", "strong", "-2.0 (-2.0 to -2.0)", "3"],
        ["- jitter", "strong", "+10.0 (+10.0 to +10.0)", "2"],
    ]


def test_pictures_lie_beside_the_table(tmp_path):
    rows = genotypes(np.random.default_rng(0), 0.02, 0.01)
    recipe.pictures(rows, tmp_path / "some.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "some_claims.png",  # searched against random
        "some_genotypes.png",
    ]


# -- a cell --------------------------------------------------------------------------------------


def test_cells_are_trainings_and_searches(tiny_root, tiny_settings, tmp_path):
    keep = ("height", "width", "channels", "identities_per_batch", "images_per_identity")
    own = {name: tiny_settings[name] for name in keep}
    bench = Bench({"turntable": Path(tiny_root)}, "cpu", tmp_path, own)
    changes = {"ema": 0.9, "augmentation": "none"}
    plain = bench(Cell("test", "turntable", "x", 0, 1, changes))
    assert plain["genotype"] == TrainConfig().resolved_genotype().canonical().__str__()
    again = bench(Cell("test", "turntable", "x", 0, 1, changes))
    other = bench(Cell("test", "turntable", "x", 1, 1, changes))
    assert {**plain, "seconds": 0} == {**again, "seconds": 0} != {**other, "seconds": 0}
    held = bench(Cell("choice", "turntable", "x", 0, 1, changes, held_out=True))
    assert 0 < held["mAP"] != plain["mAP"]
    search = {"epochs": 1, "cell_width": "reference"}
    assert bench(Cell("genotypes", "turntable", "x", 0, 1, changes, search))["mAP"] > 0
    assert not [path for path in tmp_path.iterdir() if path.name != "images"]


# -- tables --------------------------------------------------------------------------------------


def genotypes(rng, between, within):
    """Rows of 20 random genotypes, five seeds each, and a search that adds two points to each
    seed's median.
    """
    own, rows = rng.normal(0.5, between, 20), []
    for seed in range(5):
        scores = own + rng.normal(0, within, 20) + 0.05 * seed
        rows += [(f"random {n}", seed, score) for n, score in enumerate(scores, 1)]
        rows.append(("searched", seed, np.median(scores) + (-0.01 if seed == 3 else 0.02)))
    return pd.DataFrame(rows_of(*rows, part="genotypes"))


def test_searches_are_set_against_the_median_of_their_seed():
    head, *lines = tables.against_random(genotypes(np.random.default_rng(0), 0.02, 0.01))
    assert head == ["genotype", "turntable: above the median", "turntable: points"]
    found = {line[0]: line[1:] for line in lines}
    assert found["searched"][0] == "4 of 5"
    assert found["searched"][1].startswith("+1.4 (")
    assert list(found) == ["searched"]


def test_deviations_between_genotypes_and_between_seeds_are_told_apart():
    rng = np.random.default_rng(0)
    table = rng.normal(0, 0.03, (400, 1)) + rng.normal(0, 0.01, (400, 5)) + rng.normal(0, 1, (1, 5))
    between, within = tables.deviations(table)
    assert between == pytest.approx(0.03, rel=0.1)
    assert within == pytest.approx(0.01, rel=0.1)
    line = tables.spread(genotypes(rng, 0.02, 0.01))[1]
    assert line[:3] == ["turntable", "20", "5"]


def test_claims_are_judged_at_two_points():
    seeds = range(100, 110)
    rows = rows_of(
        *[("alignment none", s, 0.5) for s in seeds],
        *[("alignment pos", s, 0.53 + 0.001 * (s % 2)) for s in seeds],
        *[("alignment neg", s, 0.5 + 0.001 * (s % 3 - 1)) for s in seeds],
        *[("alignment pos_neg", s, 0.51 + 0.1 * (s % 2)) for s in seeds],
        part="claims",
        data="people A to B",
    )
    verdicts = {line[0]: line[-1] for line in tables.claims(pd.DataFrame(rows))[1:]}
    assert [verdicts[f"alignment {name} helps across domains"] for name in ("pos", "neg")] == [
        "reproduced",
        "not reproduced",
    ]
