"""The study: verdicts of made-up rows, its cells and their resumption, and a whole tiny one."""

import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.data import ReidDataset
from msinet_core.models import MSINet
from msinet_core.models.describe import describe
from msinet_core.runs.folder import RunFolder
from msinet_core.search.twin_search import split_for
from msinet_core.space import PAPER_GENOTYPE
from msinet_lab.figures.study import COLOURS, part_figure, study_figures, verdict_figure
from msinet_lab.figures.style import as_array
from msinet_lab.panels import StudyPanel, read_study
from msinet_lab.study import (
    CLAIMS,
    Study,
    StudySize,
    cost,
    differences,
    in_todays_words,
    markdown,
    other_test,
    summary,
    thinned,
    verdicts,
)
from msinet_lab.study.carrying_out import NETWORKS, read_rows, seconds_of
from msinet_lab.study.verdicts import COARSE18, COARSE50, MSINET

TINY = StudySize(
    train_identities=10,
    test_identities=4,
    images_per_identity=8,
    tall=(32, 32),
    square=(32, 32),
    channels=(16, 64, 64, 64),
    full_channels=(16, 64, 64, 64),
    search_steps=2,
    train_epochs=1,
    random=1,
    identities_per_batch=2,
)
REPRODUCED, REFUTED, UNDECIDED = COLOURS


def made_up(effect, spread=0.0, part="c", seeds=3, data=("people A to B", "vehicles A to B")):
    """Rows of part c in which `pos` beats `none` by `effect`, give or take `spread`."""
    rng = np.random.default_rng(0)
    rows = []
    for name in data:
        for seed in range(seeds):
            base = 0.3 + 0.1 * rng.random()
            gains = {
                "none": 0.0,
                "pos": effect + spread * rng.normal(),
                "neg": -0.05,
                "pos_neg": 0.0,
            }
            rows += [
                {
                    "part": part,
                    "data": name,
                    "seed": seed,
                    "setting": setting,
                    "mAP": base + gain,
                    "rank1": 0.5,
                }
                for setting, gain in gains.items()
            ]
    return pd.DataFrame(rows)


def verdict_of(rows, claim, data="all"):
    table = verdicts(rows)
    return table[(table["claim"] == claim) & (table["data"] == data)].iloc[0]["verdict"]


def test_the_text_holds_means_deviations_and_verdicts():
    rows = made_up(0.1)
    rows.loc[rows["setting"] == "neg", "mAP"] = [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    text = markdown(rows)
    assert "| mAP in % | people A to B | vehicles A to B |" in text
    assert "| neg | 20.0 ± 10.0 | 40.0 ± 0.0 |" in text
    assert (
        "| c: alignment pos helps across domains | +10.0 (+10.0 to +10.0) | 6 | reproduced |"
        in text
    )
    assert text.count("alignment pos helps") == 1  # all data sets together


class TestVerdicts:
    def test_a_clear_effect_a_clear_absence_and_noise(self):
        claim = "alignment pos helps across domains"
        assert verdict_of(made_up(0.05, 0.001), claim) == REPRODUCED
        assert verdict_of(made_up(0.0, 0.001), claim) == REFUTED  # a point is excluded
        assert verdict_of(made_up(-0.05, 0.001), claim) == REFUTED
        assert verdict_of(made_up(0.01, 0.2), claim) == UNDECIDED
        assert verdict_of(made_up(0.05, 0.001), "alignment neg helps across domains") == REFUTED
        assert (
            verdict_of(made_up(0.05, seeds=1, data=("one",)), claim, "one") == UNDECIDED
        )  # one pair has no interval

    def test_pairs_are_of_the_same_data_and_seed(self):
        rows = made_up(0.05, 0.02)
        claim = next(claim for claim in CLAIMS if claim.better == "pos ")
        found = differences(rows, claim).set_index(["data", "seed"])["difference"]
        for (data, seed), difference in found.items():
            own = rows[(rows["data"] == data) & (rows["seed"] == seed)].set_index("setting")["mAP"]
            assert difference == pytest.approx(own["pos"] - own["none"])
        assert len(found) == 6

    def test_several_settings_are_averaged_and_no_name_is_mistaken(self):
        rows = pd.DataFrame(
            [
                {
                    "part": part,
                    "data": "people",
                    "seed": 0,
                    "setting": setting,
                    "mAP": score,
                    "rank1": 0.0,
                }
                for part, setting, score in [
                    ("b", "searched", 0.5),
                    ("b", "random 1", 0.2),
                    ("b", "random 2", 0.4),
                    ("b", "all none", 0.1),
                    ("a", "twins, overlap 0.4", 0.6),
                    ("a", "overlap 0", 0.1),
                    ("a", "overlap 0.5", 0.9),
                ]
            ]
        )
        table = verdicts(rows).set_index("claim")["difference"]
        assert table["searched beats random"] == pytest.approx(0.2)
        assert table["searched beats uniform"] == pytest.approx(0.4)
        assert table["twins split beats disjoint identities"] == pytest.approx(0.5)
        assert "twins split beats the usual split" not in table

    def test_summary(self):
        line = summary(made_up(0.0)).iloc[0]
        assert (line["setting"], line["seeds"]) == ("none", 3)


class TestPartD:
    """It compares networks that are not pretrained, which the paper does not, and says so."""

    OLD = ("MSINet", "ResNet-18", "ResNet-50")  # as tables of version 0.1 name them

    def rows(self, settings):
        scores = zip(settings, (0.3, 0.6, 0.2), strict=True)
        fields = {"part": "d", "data": "people", "rank1": 0.5}
        return pd.DataFrame(
            [
                {**fields, "seed": seed, "setting": setting, "mAP": score + 0.001 * seed}
                for setting, score in scores
                for seed in range(3)
            ]
        )

    def test_title_settings_and_verdicts_say_so(self):
        text = markdown(self.rows(NETWORKS))
        title, *lines = [line for line in text.splitlines() if line]
        assert "unpretrained" in title
        assert "not the paper's claim" in title
        named = [line for line in lines if "MSINet" in line or "ResNet" in line]
        assert len(named) == 3 + 2
        assert all("unpretrained" in line for line in named)
        claims = [line for line in lines if line.startswith("| d: ")]
        assert all(line.endswith("(not the paper's claim) |") for line in claims)

    def test_tables_of_version_0_1_read_the_same(self):
        old, new = self.rows(self.OLD), self.rows((MSINET, COARSE18, COARSE50))
        assert markdown(old) == markdown(new)
        pd.testing.assert_frame_equal(verdicts(old), verdicts(new))
        written = pd.DataFrame({"claim": ["MSINet beats ResNet-50 from scratch"]})
        assert in_todays_words(written)["claim"].item() in {c.text for c in CLAIMS}
        results = Path(__file__).parents[3] / "benchmarks/results"
        kept = in_todays_words(pd.read_csv(results / "study_verdicts.csv"))
        assert set(kept["claim"]) < {claim.text for claim in CLAIMS}
        found = verdicts(pd.read_csv(results / "study.csv", keep_default_na=False))
        assert list(found["verdict"]) == list(kept["verdict"])

    def test_networks_start_from_weights_where_there_are_some(self, tiny_dataset, tmp_path):
        known = {"resnet18": tmp_path / "x.pth"}
        study = Study(tmp_path, TINY, seeds=(0,), pretrained=known, progress=False)
        study.datasets = {"tiny": tiny_dataset}
        cells = {cell.setting: cell.changes for cell in study.cells("d")}
        assert cells["ResNet-18, pretrained, stride 16"]["weights"] == str(known["resnet18"])
        assert [name for name, changes in cells.items() if "weights" not in changes] == [*NETWORKS]
        with pytest.raises(ReidError, match="no network 'resnet101'"):
            Study(tmp_path, TINY, pretrained={"resnet101": tmp_path})


class TestData:
    def test_thinned_keeps_every_identity_and_the_test(self, tiny_dataset):
        less = thinned(tiny_dataset, 24)
        assert less.train["identity"].value_counts().tolist() == [3] * 8
        assert len(less.query) == len(tiny_dataset.query)
        assert len(thinned(tiny_dataset, 10**6)) == len(tiny_dataset)

    def test_the_other_domains_test(self, tiny_dataset, tmp_path):
        target = ReidDataset("other", tmp_path, tiny_dataset.table)
        mixed = other_test(tiny_dataset, target)
        assert all(str(tiny_dataset.root) in path for path in mixed.train["path"])
        assert all(str(tmp_path) in path for path in [*mixed.query["path"], *mixed.gallery["path"]])
        assert len(mixed) == len(tiny_dataset)

    def test_searches_have_the_same_steps(self, tiny_dataset):
        size = StudySize(search_steps=40, identities_per_batch=2, square=(32, 32))
        steps = []
        for overlap in (0.0, 0.4, 1.0):
            config = size.search(tiny_dataset, 0, overlap=overlap)
            steps.append(
                config.epochs * (len(split_for(config, tiny_dataset).train) // config.batch_size)
            )
        assert max(steps) - min(steps) <= 2

    def test_cost_is_that_of_describe(self):
        config = TrainConfig(height=64, width=32)
        total = describe(MSINet(PAPER_GENOTYPE, 2), 64, 32).loc["total"]
        assert cost(config) == total[["parameters", "multiply_adds"]].to_dict()
        assert cost(TrainConfig(height=64, width=32, backbone="resnet18"))["parameters"] > 11e6


@pytest.fixture(scope="module")
def tiny_study(tmp_path_factory):
    study = Study(
        tmp_path_factory.mktemp("study"), TINY, seeds=(0,), kinds=("people",), progress=False
    )
    return study, study.carry_out(("b", "c"))


def test_a_tiny_study(tiny_study):
    study, rows = tiny_study
    assert set(rows[rows["part"] == "b"]["setting"]) == {
        "searched",
        "paper",
        "all none",
        "all channel_gate",
        "all cross_attention",
        "all exchange",
        "random 1",
    }
    assert set(rows[rows["part"] == "c"]["setting"]) == {"none", "pos", "neg", "pos_neg"}
    written = pd.read_csv(study.folder / "study.csv")
    assert list(written["mAP"]) == list(rows["mAP"])
    assert (study.folder / "study_verdicts.csv").is_file()
    about = json.loads((study.folder / "study.json").read_text())
    assert about["seeds"] == [0]
    assert about["runs"] == len(list((study.folder / "cells").iterdir())) == 1 + 7 + 4


def test_it_goes_on_where_it_stood(tiny_study, tmp_path):
    study, rows = tiny_study
    table = tmp_path / "again.csv"
    before = {
        path: path.stat().st_mtime_ns
        for path in (study.folder / "cells").rglob("weights.safetensors")
    }
    gone = next(
        path
        for path in sorted((study.folder / "cells").iterdir())
        if path.name.startswith("train-people-seed")
    )
    shutil.rmtree(gone)
    start = time.perf_counter()
    again = Study(study.folder, TINY, seeds=(0,), kinds=("people",), progress=False).carry_out(
        ("b", "c"), table
    )
    assert time.perf_counter() - start < 20
    assert list(again["mAP"]) == list(rows["mAP"])
    after = {
        path: path.stat().st_mtime_ns
        for path in (study.folder / "cells").rglob("weights.safetensors")
    }
    assert {path for path in before if before[path] != after[path]} == {
        gone / "checkpoints/last/weights.safetensors"
    }


def test_cells_of_several_processes_are_those_of_one(tiny_study, tmp_path):
    study, rows = tiny_study
    settings = {"seeds": (0,), "kinds": ("people",), "progress": False}
    several = Study(tmp_path / "study", TINY, jobs=2, **settings)
    shutil.copytree(study.folder / "data", several.folder / "data")
    found = several.carry_out(("c",))
    expected = rows[rows["part"] == "c"].reset_index(drop=True)
    same = ["part", "data", "seed", "setting", "mAP", "rank1", "genotype"]
    pd.testing.assert_frame_equal(found[same], expected[same])
    with pytest.raises(ReidError, match="got 0 jobs"):
        Study(tmp_path / "study", TINY, jobs=0, **settings)


def test_it_goes_on_from_a_kill_before_a_cells_first_epoch(tiny_study, tmp_path):
    study, rows = tiny_study
    again = Study(tmp_path, TINY, seeds=(0,), kinds=("people",), progress=False)
    shutil.copytree(study.folder / "data", tmp_path / "data")
    shutil.copytree(study.folder / "cells", tmp_path / "cells")
    runs = [RunFolder(path) for path in sorted((tmp_path / "cells").glob("train-people-seed*"))]
    begun, empty = runs[:2]
    shutil.rmtree(begun.path / "checkpoints")
    for name in ("metrics.json", "genotype.json"):
        (begun.path / name).unlink()
    (begun.path / "history.jsonl").write_text(json.dumps({"kind": "step", "epoch": 1}) + "\n")
    shutil.rmtree(empty.path)
    empty.path.mkdir()  # killed before it wrote anything
    assert [seconds_of(run) for run in (begun, empty)] == [0, 0]
    assert list(again.carry_out(("b",))["mAP"]) == list(rows[rows["part"] == "b"]["mAP"])


def test_a_table_goes_on_without_its_run_folders(tiny_study, tmp_path):
    study, rows = tiny_study
    for name in ("study.csv", "study.json"):
        shutil.copy(study.folder / name, tmp_path / name)
    short = pd.read_csv(tmp_path / "study.csv", keep_default_na=False)
    gone = (short["part"] == "c") & (short["setting"] == "neg")
    short[~gone].to_csv(tmp_path / "study.csv", index=False)
    elsewhere = Study(tmp_path / "elsewhere", TINY, seeds=(0,), kinds=("people",), progress=False)
    again = elsewhere.carry_out(("c",), tmp_path / "study.csv")
    assert len(list((elsewhere.folder / "cells").iterdir())) == 1  # the row that was missing
    columns = ["part", "data", "seed", "setting", "mAP", "run"]
    order = ["part", "setting"]
    pd.testing.assert_frame_equal(
        again.sort_values(order)[columns].reset_index(drop=True),
        rows.sort_values(order)[columns].reset_index(drop=True),
    )


def test_a_table_of_another_size_is_not_mixed_with(tiny_study, tmp_path):
    study, _ = tiny_study
    for name in ("study.csv", "study.json"):
        shutil.copy(study.folder / name, tmp_path / name)
    larger = Study(
        tmp_path,
        dataclasses.replace(TINY, train_epochs=2),
        seeds=(0,),
        kinds=("people",),
        progress=False,
    )
    with pytest.raises(ReidError, match="another size"):
        larger.carry_out(("c",))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.md", "a_verdicts.csv", "a_part_c.png"])
def test_files_of_the_users_beside_its_table_stay(tmp_path, name, capsys):
    (tmp_path / name).write_text("{}")
    words = ["study", "--folder", str(tmp_path / "f"), "--to", str(tmp_path / "a.csv")]
    assert main(words) == 2
    assert "is there and is no study's" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_is_no_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["--to", ""], ["--to", "."], ["--to", ".."], ["--to", str(tmp_path)]):
        assert main(["study", "--folder", "study", *words]) == 2
        assert "the table is a file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "old, new", [("mAP", "nAP"), (",0.", ",7."), (",0.", ",x"), ("none-", "some-")]
)
def test_a_damaged_table_is_a_sentence(tmp_path, old, new):
    row = f"c,people A to B,0,pos,0.5,0.5,0.5,{PAPER_GENOTYPE}"
    text = f"part,data,seed,setting,mAP,rank1,mINP,genotype\n{row}\n{row.replace('pos', 'none')}\n"
    (tmp_path / "study.csv").write_text(text)
    about = {"parts": ["c"], "size": dataclasses.asdict(TINY)}
    (tmp_path / "study.json").write_text(json.dumps(about))
    assert len(read_rows(tmp_path / "study.csv", TINY)) == 2
    old = old if old in text else "channel_gate-"
    (tmp_path / "study.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(ReidError, match=r"study\.csv.* (is damaged|no share)"):
        read_rows(tmp_path / "study.csv", TINY)


def test_parts_may_be_carried_out_one_by_one(tiny_study, tmp_path):
    study, rows = tiny_study
    part_b = study.carry_out(("b",), tmp_path / "table.csv")
    assert set(part_b["part"]) == {"b"}
    both = study.carry_out(("c",), tmp_path / "table.csv")
    assert list(both["mAP"]) == list(rows["mAP"])
    assert list(pd.read_csv(tmp_path / "table.csv")["setting"]) == list(rows["setting"])


def test_the_same_network_is_trained_once(tiny_study):
    _, rows = tiny_study
    part_b = rows[rows["part"] == "b"]
    assert part_b.groupby("genotype")["run"].nunique().max() == 1


def last_line(figure):
    """Mark with its number, and the criterion."""
    return [part._text.get_text() for part in figure.artists[-1].get_child().get_children()]


def test_figures_and_panel(tiny_study):
    _, rows = tiny_study
    assert set(study_figures(rows)) == {"part_b", "part_c", "verdicts"}
    many = made_up(0.05, 0.01)
    for figure in (
        part_figure(many, "c"),
        part_figure(many, "a"),
        verdict_figure(many),
        verdict_figure(many.iloc[:1]),
    ):
        assert as_array(figure).std() > 0
    made = [made_up(mean, 0.01) for mean in (0.05, -0.2)]
    one_claim = [rows[~rows["setting"].str.contains("neg")] for rows in made]
    marks = [last_line(verdict_figure(rows))[0] for rows in one_claim]
    assert [words[0] for words in marks] == ["✔", "✘"]
    assert last_line(part_figure(many, "c"))[1].startswith("criterion: ")
    panel = StudyPanel(many)
    verdicts_picture = panel.pictures["picture"].value
    assert REPRODUCED in panel.table.value
    panel.part.value = "c"
    assert panel.pictures["picture"].value != verdicts_picture
    assert "error-color" not in panel.status.value


def test_reading(tmp_path):
    made_up(0.1).to_csv(tmp_path / "study.csv", index=False)
    assert len(read_study(tmp_path / "study.csv", tmp_path / "trial")) == 24
    assert not (tmp_path / "trial").exists()


def test_bad_requests(tmp_path, capsys):
    with pytest.raises(ReidError, match="no part 'e'"):
        list(Study(tmp_path, TINY).cells(("e",)))
    with pytest.raises(ReidError, match="people and vehicles"):
        Study(tmp_path, TINY, kinds=("birds",))
    assert (
        main(
            [
                "study",
                "--folder",
                str(tmp_path),
                "--turntable",
                str(tmp_path / "nowhere"),
                "--parts",
                "d",
                "--kinds",
                "--seeds",
                "0",
            ]
        )
        == 2
    )
    assert "nowhere" in capsys.readouterr().err
