"""The study of recipes, genotypes and claims: plan, processes, table, and one cell of it."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from working import nothing, work

from benchmarks import _recipe_tables as tables
from benchmarks import recipe
from benchmarks._cells import Bench, Cell
from benchmarks._workers import carry_out
from benchmarks.recipe import CANDIDATES, DRAFT, Known, Plan, Table, best, combinations, together
from msinet_core.config import TrainConfig


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
        *arm_of("draft", 0),
        *arm_of("draft - jitter", 0.02),  # better without
        *arm_of("draft - average", -0.05),
        *arm_of("draft + GeM", 0.03),
        *arm_of("draft + grey", 0.01),
        *arm_of("draft + rate 0.2", 0.04),
        *arm_of("draft + batch of 64, rate 0.2", 0.035),  # about the rate too
        *arm_of("draft + drop path", 0.02, spread=0.2),  # may be chance
        *arm_of("draft + alignment", 0.001),  # not worth having
    )
    found = combinations(held_out(held))
    start = "padding + cosine + twice the rate + average"
    assert list(found) == [
        f"combined: {start}",
        f"combined: {start} + rate 0.2",
        f"combined: {start} + rate 0.2 + GeM",
        f"combined: {start} + rate 0.2 + GeM + grey",
    ]
    base = together(DRAFT[name] for name in start.split(" + "))
    assert found[f"combined: {start} + rate 0.2 + GeM"] == {
        **base,
        "learning_rate": 0.2,
        "pooling": "gem",
    }
    name = f"combined: {start} + rate 0.2"
    combined = rows_of(*arm_of(name, 0.05), *arm_of(f"{name} + GeM", 0.04))
    assert best(held_out(held + combined), found)[0] == name
    people = rows_of(*arm_of("draft", 0), *arm_of(name, -0.02), data="people")
    assert best(held_out(held + combined + people), found)[0] == f"{name} + GeM"


def test_without_any_help_the_draft_stays():
    held = rows_of(*arm_of("draft", 0), *arm_of("draft + GeM", -0.01))
    assert combinations(held_out(held)) == {}
    assert best(held_out(held), {}) == ("draft", together(DRAFT.values()))


def test_the_draft_is_the_recipe_that_is_shipped():
    """So that what the pages say of the draft is said of `--recipe strong`."""
    assert together(DRAFT.values()) == TrainConfig.RECIPES["strong"]


def test_arms_are_configurations():
    for changes in (*recipe.arms().values(), *CANDIDATES.values()):
        TrainConfig(**changes)
    assert recipe.arms()["draft - jitter"].keys() == {"pad", "schedule", "learning_rate", "ema"}


# -- the plan ------------------------------------------------------------------------------------


def through(plan, score):
    """All cells of a plan in their order, each done before the next is asked for."""
    known, cells, rows = Known(), [], []
    while (cell := plan.next_cell(known, ())) is not None:
        cells.append(cell)
        row = dict(zip(("part", "data", "arm", "seed", "epochs"), cell.key, strict=True))
        rows.append({**row, "mAP": score(cell), "options": "{}"})
        known.add(rows[-1])
    return cells, pd.DataFrame(rows), known


def test_a_plan_goes_through_its_parts():
    plan = Plan(("turntable", "people"), (0, 1, 2, 3), 30, random=2)
    cells, rows, _ = through(plan, lambda cell: 0.5 + 0.02 * ("GeM" in cell.arm))
    assert len({cell.key for cell in cells}) == len(cells)
    order = [cell.part for cell in cells]
    assert list(dict.fromkeys(order)) == list(recipe.PARTS)
    assert order == sorted(order, key=recipe.PARTS.index)
    # what is chosen never saw a test image, and everything else did
    assert all(cell.held_out == (cell.part == "choice") for cell in cells)
    chosen = rows[rows["part"] == "chosen"]
    assert set(chosen["arm"]) == {"combined: draft + GeM"}
    both = rows[rows["part"].isin(("basis", "chosen"))].groupby(["data", "arm"])["seed"].nunique()
    assert set(both) == {4}
    assert len(both) == 6  # two data sets, three recipes
    # candidates that do no good get no further seeds
    own = rows[(rows["part"] == "choice") & (rows["data"] == "turntable")]
    counts = own.groupby("arm")["seed"].nunique()
    assert counts["draft + GeM"] == counts["paper"] == counts["draft - jitter"] == 4
    assert counts["draft + grey"] == 3


def test_a_part_whose_time_is_over_waits_for_the_others():
    plan = Plan(("turntable", "people"), (0, 1), 30, random=1, seconds=100)
    done = through(Plan(plan.sets, (0, 1), 30, ("basis",)), lambda cell: 0.5)[2]
    assert plan.next_cell(done, ()).part == "choice"
    better = [arm for name in ("draft + GeM", "combined: draft + GeM") for arm in arm_of(name, 0.1)]
    for row in rows_of(*arm_of("draft", 0), *better):
        done.add(row)
    plan.started -= 60
    assert plan.next_cell(done, ()).part == "chosen"  # of what is known
    plan.started -= 10
    assert plan.next_cell(done, ()).part == "genotypes"


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
    cells = [Cell("basis", "turntable", "paper", seed, 30, {"ema": 0.9}) for seed in (0, 1)]
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
        rows_of(*arm_of("paper", 0, 0.1), *arm_of("draft", 0.1, 0.1, seeds=2), part="basis")
    )
    _, paper, draft = tables.on_test(rows)
    assert paper == ["turntable", "paper", "50.0", "", "3"]
    assert draft == ["turntable", "draft", "55.0", "+10.0 (+10.0 to +10.0)", "2"]
    assert "+10.0 (+10.0 to +10.0)" in tables.said(
        rows.assign(mAP_flip=0, mAP_necks=0, mAP_flip_necks=0)
    )


# -- a cell --------------------------------------------------------------------------------------


def test_cells_are_trainings_and_searches(tiny_root, tiny_settings, tmp_path):
    keep = ("height", "width", "channels", "identities_per_batch", "images_per_identity")
    own = {name: tiny_settings[name] for name in keep}
    bench = Bench({"turntable": Path(tiny_root)}, "cpu", tmp_path, own)
    changes = {"ema": 0.9, "augmentation": "none"}
    plain = bench(Cell("basis", "turntable", "x", 0, 1, changes))
    assert plain["genotype"] == TrainConfig().resolved_genotype().canonical().__str__()
    again = bench(Cell("basis", "turntable", "x", 0, 1, changes))
    other = bench(Cell("basis", "turntable", "x", 1, 1, changes))
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
