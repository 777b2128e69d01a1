"""Architecture, splits, search space, attention, comparison and start panels, no browser."""

import copy
import re

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from msinet_core.config import SearchConfig
from msinet_core.data import decode
from msinet_core.errors import ReidError
from msinet_core.models import MSINet
from msinet_core.models.networks import resnet
from msinet_core.retrieval import Embedder, RetrievalResult, count_pairs
from msinet_core.runs.folder import RunFolder
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE
from msinet_lab.figures import sheets
from msinet_lab.panels import (
    ArchitecturePanel,
    AttentionPanel,
    ComparePanel,
    SearchSpacePanel,
    TwinSplitPanel,
    architecture,
    space,
)
from msinet_lab.panels.attention import Asked
from msinet_lab.panels.settings import Settings, open_data, read_settings
from msinet_lab.panels.small_runs import small_search
from msinet_lab.panels.start import (
    NOTEBOOKS,
    StartPanel,
    checks_html,
    environment_checks,
    notebook_map,
)


def pictures(panel):
    return {part: image.value for part, image in panel.pictures.items()}


@pytest.fixture(scope="module")
def histories():
    rng = np.random.default_rng(0)
    return {
        "seed 0": np.cumsum(rng.normal(0, 0.4, (8, 12, 4)), 0),
        "seed 1": np.cumsum(rng.normal(0, 0.4, (5, 12, 4)), 0),
    }


class TestArchitecture:
    def test_epoch_stage_and_run(self, histories, status):
        panel = ArchitecturePanel(histories)
        assert (panel.epoch.min, panel.epoch.max, panel.epoch.value) == (1, 8, 8)
        before = pictures(panel)
        panel.epoch.value = 3
        status(panel)
        after = pictures(panel)
        assert all(
            before[part] != after[part] for part in ("heatmap", "network", "trajectories", "strips")
        )
        names = [OPERATIONS[column] for column in histories["seed 0"][2].argmax(1)]
        assert names[0] in panel.words.value.split("-")[0]
        panel.stage.value = 2
        assert pictures(panel)["heatmap"] != after["heatmap"]
        panel.run.value = "seed 1"
        assert panel.epoch.max == panel.epoch.value == 5

    def test_comparison(self, histories, status):
        panel = ArchitecturePanel(histories)
        both = panel.pictures["strips"].value
        panel.compare.value = ("seed 1",)
        status(panel)
        assert panel.pictures["strips"].value != both

    def test_mean_and_range_of_the_runs_compared(self, histories, status):
        panel = ArchitecturePanel(histories)
        assert not panel.pictures["bands"].value
        panel.band.value = True
        status(panel)
        both = panel.pictures["bands"].value
        assert both
        panel.compare.value = ("seed 1",)
        assert panel.pictures["bands"].value not in (both, "")
        panel.band.value = False
        assert not panel.pictures["bands"].value

    def test_a_run_without_an_epoch_shows_no_other_runs_genotype(self, histories, status):
        panel = ArchitecturePanel({"whole": histories["seed 0"], "new": []})
        whole = pictures(panel)
        assert "<code>" in panel.words.value
        panel.run.value = "new"
        assert "no epoch" in status(panel)
        assert panel.words.value == ""
        assert all(pictures(panel)[part] != whole[part] for part in ("network", "heatmap"))
        panel.run.value = "whole"
        assert "<code>" in panel.words.value

    def test_a_comparison_shows_each_other_run_at_its_own_end(self, histories, monkeypatch):
        shown = []
        draw = architecture.strips
        monkeypatch.setattr(
            architecture, "strips", lambda chosen: shown.append(list(chosen)) or draw(chosen)
        )
        panel = ArchitecturePanel({"long": histories["seed 0"], "short": histories["seed 1"]})
        panel.epoch.value = 2
        assert shown[-1] == ["long, epoch 2", "short, epoch 5"]
        panel.run.value = "short"
        panel.epoch.value = 1
        assert shown[-1] == ["long, epoch 8", "short, epoch 1"]

    def test_a_run_folders_network_is_drawn_at_its_size(self, tmp_path, tiny_settings, monkeypatch):
        run = RunFolder(tmp_path)
        with run.writing(SearchConfig(**tiny_settings)):
            run.append("epoch", epoch=1, alphas=np.eye(12, 4).tolist())
        looks = []
        draw = architecture.network_html
        monkeypatch.setattr(
            architecture, "network_html", lambda g, **look: looks.append(look) or draw(g)
        )
        ArchitecturePanel({"run": run, "bare": np.zeros((1, 12, 4))})
        assert looks == [{"height": 32, "width": 32, "channels": (16, 64, 64, 64)}]

    def test_a_run_without_an_epoch(self, status):
        panel = ArchitecturePanel({"new": []})
        assert "no epoch" in status(panel)
        panel.epoch.value = 1
        assert all(value for part, value in pictures(panel).items() if part != "bands")

    def test_one_epoch(self, histories, status):
        status(ArchitecturePanel({"short": histories["seed 0"][:1]}))

    def test_no_run(self):
        with pytest.raises(ReidError, match="at least one"):
            ArchitecturePanel({})


class TestClicks:
    def test_a_slot_wherever_it_is_drawn(self, histories, status):
        panel = ArchitecturePanel(histories)
        network = panel.pictures["network"].value
        assert {f'data-at="slot-{n}"' in network for n in range(1, 13)} == {True}
        panel.pick_slot("slot-6", None)
        status(panel)
        assert panel.slot.value == 5
        weights = histories["seed 0"][-1]
        share = np.exp(weights[5]) / np.exp(weights[5]).sum()
        words = panel.words.value.rsplit("<br>", 1)[1]
        assert words.startswith("<b>stage 2, cell 1, slot 2</b> at epoch 8")
        assert f"exchange {share[OPERATIONS.index('exchange')]:.3f}" in words
        for part in ("network", "heatmap", "trajectories"):
            assert 'class="chosen"' in panel.pictures[part].value or "slope chosen" in (
                panel.pictures[part].value
            )
        panel.pick_slot("slot-6", None)
        assert panel.slot.value is None
        assert panel.pictures["network"].value == network

    def test_a_slot_of_the_search_space(self, status):
        photo = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        model = MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)).eval()
        panel = SearchSpacePanel(photo, model=model)
        panel.attempt(lambda: panel.pick_slot("slot-12", None))
        status(panel)
        assert (panel.stage.value, panel.cell.value, panel.slot.value) == (3, 2, 2)
        assert "stage 3, cell 2, slot 2" in panel.words.value

    def test_a_query_of_the_table_and_a_point_of_the_map(self, make, root, status):
        result = make(root, queries=20)
        panel = ComparePanel({"a": result, "b": result.reranked()}, root=root)
        panel.view.value = "query by query"
        query = re.search(r'data-at="query-(\d+)"', panel.pictures["queries"].value)[1]
        panel.attempt(lambda: panel.click(f"query-{query}", None))
        status(panel)
        assert panel.view.value == "rank lists"
        assert f"<b>query {int(query) + 1}</b>" in panel.words.value
        panel.view.value = "identities (t-SNE)"
        status(panel)
        (widget,) = panel.map.children
        widget.selection = np.array([7])
        status(panel)
        row = panel._points("a", 12)[0][7]
        assert f"gallery image {row + 1} of a" in panel.pictures["list"].value


class TestSplits:
    def test_overlap_moves_everything(self, tiny_dataset, status):
        panel = TwinSplitPanel(tiny_dataset, height=32, width=32)
        status(panel)
        before, shared = pictures(panel), len(panel.split.shared_identities)
        panel.overlap.value = 1.0
        status(panel)
        assert len(panel.split.shared_identities) > shared
        assert pictures(panel)["matrix"] != before["matrix"]
        assert "0 images on both sides" in panel.checks.value
        panel.stratify.value = True
        status(panel)

    def test_the_overlap_on_show_is_used_by_searches(self, tiny_dataset, status, tmp_path):
        panel = TwinSplitPanel(tiny_dataset, home=tmp_path, height=32, width=32)
        panel.overlap.value, panel.stratify.value = 0.75, True
        assert small_search(tiny_dataset, read_settings(tmp_path)).overlap == 0.4  # not yet
        panel.keep.click()
        assert "0.75" in status(panel)
        config = small_search(tiny_dataset, read_settings(tmp_path))
        assert (config.overlap, config.stratify_by_camera) == (0.75, True)

    def test_identities_and_cameras(self, tiny_dataset, status):
        panel = TwinSplitPanel(tiny_dataset, height=32, width=32)
        before = panel.pictures["sheet"].value
        panel.identities.value = (3,)
        one = panel.pictures["sheet"].value
        panel.cameras.value = (1,)
        status(panel)
        assert len({before, one, panel.pictures["sheet"].value}) == 3

    def test_without_cameras(self, tiny_dataset, status):
        table = tiny_dataset.table.drop(columns="camera")
        panel = TwinSplitPanel(tiny_dataset.with_table(table))
        assert panel.stratify.disabled
        status(panel)


class TestSearchSpace:
    @pytest.fixture(scope="class")
    def panel(self):
        torch.manual_seed(0)
        photo = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        return SearchSpacePanel(photo, model=MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)).eval())

    def test_operations_do_what_they_say(self, panel, status):
        seen = {}
        for name in OPERATIONS:
            panel.operation.value = name
            status(panel)
            seen[name] = panel.pictures["maps"].value
        assert seen["exchange"] != seen["none"]
        assert "0.0 % of their length" not in panel.words.value  # exchange came last
        panel.operation.value = "none"
        assert "changes the branches by 0.0 %" in panel.words.value

    def test_before_and_after_share_a_scale(self, panel, monkeypatch):
        seen = []
        draw = space.channel_sheet
        monkeypatch.setattr(
            space, "channel_sheet", lambda maps, limits: seen.append(limits) or draw(maps, limits)
        )
        panel.operation.value = "exchange"
        seen.clear()
        panel.operation.value = "none"
        panel.operation.value = "channel_gate"
        assert len(seen) == 4
        assert seen[0] != seen[1]  # of a branch each, its before and after
        assert seen[2:] == seen[:2]  # a gate only darkens: the largest value is one before it

    def test_the_network_is_drawn_as_large_as_it_is(self, panel, monkeypatch):
        looks = []
        draw = space.network_html
        monkeypatch.setattr(space, "network_html", lambda g, **look: looks.append(look) or draw(g))
        panel._network.cache_clear()
        panel.slot.value = 2
        panel.slot.value = 1
        assert {(look["height"], look["width"], look["channels"]) for look in looks} == {
            (32, 32, (16, 64, 64, 64))
        }
        assert panel.first.min == 1

    def test_gamma_zero_is_none(self, panel):
        panel.operation.value = "cross_attention"
        panel.gamma.value = 0.0
        assert "changes the branches by 0.0 %" in panel.words.value
        panel.gamma.value = 0.5
        assert "changes the branches by 0.0 %" not in panel.words.value

    def test_slots(self, panel, status):
        before = panel.pictures["network"].value
        panel.stage.value, panel.cell.value, panel.slot.value = 3, 2, 1
        assert panel.number == 10
        assert "stage 3, cell 2, slot 1" in panel.words.value
        assert panel.pictures["network"].value != before
        assert "multiply" in panel.sizes.value
        status(panel)


class Patches(nn.Module):
    """A transformer in small: a class token and the patches of 64 x 64 pixels, four blocks."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 16, 16), nn.Parameter(torch.randn(1, 1, 16))
        one = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.blocks = nn.Sequential(*(copy.deepcopy(one) for _ in range(4)))

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        return self.blocks(torch.cat((self.token.expand(len(x), -1, -1), x), 1))[:, 0]


class TestAttention:
    @pytest.fixture
    def given(self, make, root):
        """Two networks, each with rank lists of its own over the same queries."""
        torch.manual_seed(0)
        models = {
            "without SAM": MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)),
            "with SAM": MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64), alignment=True),
        }
        one = make(root)
        turned = one.query_features @ np.diag(np.linspace(-1, 1, 24)).astype(np.float32)
        tables = one.query_table, one.gallery_table
        other = RetrievalResult.score(turned, one.gallery_features, *tables, one.protocol)
        return models, dict(zip(models, (one, other), strict=True)), root, 64, 32

    @pytest.fixture
    def panel(self, given):
        return AttentionPanel(*given)

    def test_a_click_changes_the_maps(self, panel, status):
        status(panel)
        before, photo = pictures(panel), panel.click.value
        panel.click._handle_custom_msg({"at": "point", "row": 0.1, "column": 0.9}, [])
        status(panel)
        assert panel.click.value != photo
        assert all(before[part] != now for part, now in pictures(panel).items())

    def test_without_an_observer_a_click_does_nothing(self, panel):
        panel.click._msg_callbacks.callbacks.clear()
        before = pictures(panel)
        panel.click._handle_custom_msg({"at": "point", "row": 0.1, "column": 0.9}, [])
        assert pictures(panel) == before

    @pytest.mark.parametrize(
        "control, value",
        [
            ("query", 3),
            ("network", "with SAM"),
            ("layer", "stage 1"),
            ("opacity", 0.1),
            ("method", "LayerCAM"),
            ("maps", ("strength",)),
        ],
    )
    def test_controls(self, panel, status, control, value):
        before = panel.pictures["maps"].value
        getattr(panel, control).value = value
        status(panel)
        assert panel.pictures["maps"].value != before

    def test_partner(self, panel, status):
        before = pictures(panel)
        panel.partner.value = panel.partner.options[4][1]
        status(panel)
        assert pictures(panel)["maps"] != before["maps"]
        assert re.match(r"5: (match|non-match), id \d, at \d\.\d{3}$", panel.partner.label)

    def test_each_network_has_partners_of_its_own(self, panel, given, status):
        for name in ("without SAM", "with SAM"):
            panel.network.value = name
            panel.query.value = 3
            status(panel)
            expected = given[1][name].rank_list(2, 50).gallery_index.tolist()
            assert [row for _, row in panel.partner.options] == expected
        first, second = (one.rank_list(2, 50).gallery_index for one in given[1].values())
        assert first.tolist() != second.tolist()

    def test_the_pair_stays_where_only_the_network_is_another(self, panel):
        pair = panel.partner.options[7][1]
        panel.partner.value = pair
        panel.network.value = "with SAM"
        assert panel.partner.value == pair
        panel.query.value = 4
        assert panel.partner.value == panel.partner.options[0][1]

    def test_a_draw_reads_every_control_once(self, panel, status, monkeypatch):
        """Another thread moves every control in the middle of a draw: what is drawn is one state,
        and the next draw another.
        """
        drawn = []

        def meddle(rows, opacity, columns):
            drawn.append((rows, opacity))
            if len(drawn) == 1:
                panel.query.value, panel.layer.value = 5, "stage 1"
                panel.opacity.value = 0.2
            return sheets.map_sheet(rows, opacity, columns)

        monkeypatch.setattr("msinet_lab.panels.attention.map_sheet", meddle)
        panel.query.value = 3
        status(panel)
        rows, opacity = drawn[0]
        assert opacity == 0.6
        assert all(one.maps["strength"].shape == (4, 2) for one in rows)
        words = [row.tile.caption[1] for row in rows[1:2]]
        first = panel.networks.result("without SAM").rank_list(2, 1).gallery_index[0]
        identity = panel.networks.tables()[1]["identity"].iloc[first]
        assert words == [f"id {identity}"]
        assert len(drawn) == 1

    def test_networks_of_any_kind_each_with_its_own_size(self, make, root, status):
        torch.manual_seed(0)
        networks = {
            "MSINet": MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)),
            "ResNet-18": resnet("resnet18", 2),
            "torchvision": torchvision.models.resnet18(),
            "transformer": Embedder(Patches(), 64, 64, mean=(0.5,) * 3, std=(0.5,) * 3),
        }
        panel = AttentionPanel(networks, make(root), root, 64, 32)
        layers = {}
        for name in networks:
            panel.network.value = name
            status(panel)
            layers[name] = panel.layer.options
            own = panel.networks.result(name).rank_list(0, 50).gallery_index
            assert [row for _, row in panel.partner.options] == own.tolist()
        assert layers["ResNet-18"] == ("stage 1", "stage 2", "stage 3", "stage 4")
        assert layers["transformer"] == ("block 1", "block 2", "block 3", "block 4")
        assert panel.layer.value == "block 3"
        assert "4 × 4 places of a picture of 64 × 64" in panel.words.value
        looker = panel.networks.lookers("transformer")[0]
        assert looker.input(0).min() == pytest.approx(2 * panel_low(looker) - 1, abs=1e-5)
        assert looker.rolled(0).shape == (4, 4)

    def test_a_data_set_is_evaluated_with_each_network(self, tiny_dataset, status):
        torch.manual_seed(0)
        networks = {"MSINet": MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64))}
        panel = AttentionPanel(networks, tiny_dataset, height=32, width=32)
        status(panel)
        assert panel.photos[0].height == panel.photos[0].width  # the photographs are square

    def test_maps_lie_on_the_photograph(self, given, root, status):
        """Photographs wider than most lie in the middle of their tile, and so do their maps."""
        Image.new("RGB", (64, 16), "red").save(root / "query0.png")
        panel = AttentionPanel(*given)
        status(panel)
        top, _, _, wide = panel.photos[0].part(0)
        assert (top > 0, wide) == (True, panel.photos[0].width)
        row = panel._query_row(asked_of(panel), *panel.networks.lookers("without SAM"))
        assert row.part == panel.photos[0].part(0)
        large = panel._large(0)
        assert large.shape[1] / large.shape[0] == pytest.approx(4, rel=0.05)

    def test_a_photograph_that_cannot_be_read_has_no_maps(self, panel, status):
        at = dict(panel.partner.options)
        gone = [row for row in at.values() if row in (0, 1)]
        panel.partner.value = gone[0]
        status(panel)
        asked = asked_of(panel)
        row = panel._gallery_row(asked, gone[0], *panel.networks.lookers(asked.network))
        assert row.maps == {}

    def test_foreign_names_are_escaped(self, given, root):
        models, results, *more = given
        name = "<img src=x onerror=alert(1)>"
        panel = AttentionPanel({name: models["with SAM"]}, {name: results["with SAM"]}, *more)
        assert "<img" not in panel.words.value
        assert "&lt;img" in panel.words.value

    def test_no_network(self, result, root):
        with pytest.raises(ReidError, match="at least one"):
            AttentionPanel({}, result, root, 64, 32)

    def test_results_of_other_queries_are_refused(self, given, make, root):
        models, results, *more = given
        results["with SAM"] = make(None, seed=3)
        with pytest.raises(ReidError, match=r"without SAM and with SAM: .*same queries"):
            AttentionPanel(models, results, *more)


def asked_of(panel):
    return Asked(
        panel.network.value,
        panel.query.value - 1,
        panel.partner.value,
        panel.layer.value,
        (0.5, 0.5),
        panel.maps.value,
        panel.method.value,
        0.6,
    )


def panel_low(looker):
    """The darkest value of the first photograph at the network's size, 0..1."""
    path = looker.table["path"].iloc[0]
    return decode(looker.root / path, looker.embedder.height, looker.embedder.width).min() / 255


class TestCompare:
    def test_every_view(self, make, root, status):
        result = make(root, queries=20)
        results = {"a": result, "b": result.reranked(), "other queries": make(None, queries=4)}
        panel = ComparePanel(results, root=root)
        assert panel.other.value == "b"  # the first that can be set against "a"
        panel.chosen.value = panel.chosen.value[:2]
        seen = set()
        for view in panel.view.options:
            panel.view.value = view
            status(panel)
            seen.add(panel.pictures["picture"].value)
        assert len(seen) == len(panel.view.options)
        assert "mAP" in panel.table.value
        assert "<b>a: AP" in panel.pictures["picture"].value
        panel.query.value = 3
        status(panel)
        assert panel.pictures["picture"].value not in seen
        precision = [each.ranking.average_precision for each in (results["a"], results["b"])]
        most = int(np.nanargmax(np.abs(precision[1] - precision[0])))
        panel.query.value = 1
        assert f"<b>query {most + 1}</b> (" in panel.words.value
        assert "95 % interval" in panel.words.value
        panel.chosen.value = tuple(results)
        assert "not shown, as their queries are others: other queries" in panel.words.value
        panel.chosen.value = ("other queries",)
        assert "no chosen result has the queries of" in status(panel, error=True)

    def test_other_queries_are_refused(self, make, root, status):
        result = make(root)
        tables = result.query_table.iloc[::-1], result.gallery_table
        shuffled = type(result).score(result.query_features, result.gallery_features, *tables)
        strangers = make(None, seed=1)
        for other, message in ((shuffled, "another order"), (strangers, "not over the same")):
            panel = ComparePanel({"a": result, "b": other}, root=root)
            for view in ("query by query", "rank lists"):
                panel.view.value = view
                assert message in status(panel, error=True)
                assert not panel.pictures["picture"].value
        panel = ComparePanel({"a": result})
        panel.view.value = "query by query"
        assert "two different results" in status(panel, error=True)

    def test_the_equal_error_rate_is_that_of_retrieval(self, make, status):
        result = make(None)
        panel = ComparePanel({"a <b>": result})
        panel.view.value = "ROC"
        status(panel)
        error, at = count_pairs(result).roc().equal_error
        assert f"a &lt;b&gt;: EER {100 * error:.1f} % at distance {at:.3f}" in panel.words.value
        assert "<b>" not in panel.table.value

    def test_choice_of_results(self, make, status):
        panel = ComparePanel({"a": make(None), "b": make(None, seed=1)})
        both = panel.pictures["picture"].value
        panel.chosen.value = ("b",)
        assert panel.pictures["picture"].value != both
        panel.chosen.value = ()
        assert "at least one" in status(panel, error=True)

    def test_queries_won(self, make, status):
        panel = ComparePanel({"a": make(None), "same": make(None)})
        panel.view.value = "query by query"
        status(panel)
        assert "largest gains" in panel.pictures["queries"].value
        assert "+0.0" not in panel.pictures["queries"].value  # no gain

    def test_without_cameras(self, make, status):
        panel = ComparePanel({"a": make(None, cameras=0)})
        for view in panel.view.options[:-1]:
            panel.view.value = view
            status(panel)


class TestStart:
    def test_loads_what_is_chosen(self, tmp_path, tiny_root, status):
        settings = Settings(data=str(tmp_path), runs=str(tmp_path / "runs"))
        panel = StartPanel(settings, identities=4, home=tmp_path)
        assert "loaded" in status(panel)
        assert panel.dataset.name == "generated people"
        assert "market1501" not in panel.summary.value
        assert panel.dataset.train["identity"].nunique() == 4
        panel.source.value, panel.folder.value = "manifest", str(tiny_root)
        panel.load.click()
        assert panel.dataset.train["identity"].nunique() == 8
        panel.height.value = "48"
        panel.load.click()
        remembered = read_settings(tmp_path)
        assert (remembered.source, remembered.data) == ("manifest", str(tiny_root))
        assert (remembered.height, remembered.width) == (48, None)
        panel.folder.value = str(tmp_path / "nowhere")
        panel.load.click()
        assert "nowhere" in status(panel, error=True)
        assert read_settings(tmp_path) == remembered  # what cannot be loaded is not remembered
        panel.height.value = "tall"
        panel.load.click()
        assert "number of pixels" in status(panel, error=True)

    def test_checks_are_green_and_red(self):
        checks = environment_checks()
        assert all(good for good, _, _ in checks)
        text = checks_html([*checks, (False, "thing", "missing <x>")])
        assert text.count("✘") == 1
        assert "missing &lt;x&gt;" in text

    def test_unknown_source(self):
        with pytest.raises(ReidError, match="no data source"):
            open_data("nothing", ".")

    def test_map_names_every_notebook(self, tmp_path):
        Image.new("RGB", (4, 4)).save(tmp_path / "00_start_here.png")
        grid = notebook_map(tmp_path)
        assert all(f"href='{name}.ipynb'" in grid.value for name in NOTEBOOKS)
        assert grid.value.count("<img") == 1
