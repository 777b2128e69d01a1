"""The gallery panel, driven without a browser."""

import gc
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from msinet_core.models import MSINet
from msinet_core.retrieval import Embedder, RetrievalResult
from msinet_core.space import PAPER_GENOTYPE
from msinet_lab.figures import tiles
from msinet_lab.figures.elements import Html
from msinet_lab.figures.retrieval import list_gallery, words_of
from msinet_lab.figures.tiles import shortened
from msinet_lab.panels.base import ANY
from msinet_lab.panels.gallery import GalleryPanel


@pytest.fixture
def panel(result, root):
    return GalleryPanel(result, root, height=32, width=16, saves_to=root / "saved")


def picture(panel):
    return panel.pictures["picture"].value


def test_begins_with_the_worst_query(panel, result, status):
    precision = result.ranking.average_precision
    assert panel.query == int(np.nanargmin(precision))
    assert status(panel) == ""
    assert f"AP {100 * precision[panel.query]:.1f} %" in panel.words.value


def test_orders(panel, result):
    precision = result.ranking.average_precision
    for order, expected in (
        ("worst AP first", np.argsort(precision)),
        ("best AP first", np.argsort(-precision)),
        ("as in the data", np.arange(10)),
    ):
        panel.by.value = order
        assert sorted(panel.order) == list(range(10))
        np.testing.assert_allclose(precision[panel.order], precision[expected])


@pytest.mark.parametrize(
    "control, value",
    [
        ("place", 4),
        ("k", 7),
        ("camera", 2),
        ("errors", True),
        ("junk", True),
        ("by", "best AP first"),
        ("rerank", True),
    ],
)
def test_every_control_changes_the_picture(panel, status, control, value):
    if control == "camera":
        assert [name for name, _ in panel.camera.options] == ["all", "1", "2", "3"]
    before = picture(panel)
    getattr(panel, control).value = value
    status(panel)
    assert picture(panel) != before


def test_what_is_shown_is_what_was_scored(panel, result):
    panel.by.value = "as in the data"
    panel.place.value, panel.k.value = 5, 12  # counted from 1
    expected = list_gallery(result, 4, 12)
    np.testing.assert_array_equal(panel.listing.rows, expected.rows)
    np.testing.assert_array_equal(result.rank_list(4, 12).gallery_index, panel.listing.rows)


def test_identity_jumps_to_its_first_query(panel, result):
    name = int(result.query_table["identity"][6])
    panel.identity.value = name
    assert result.query_table["identity"][panel.query] == name


def test_a_filter_that_leaves_nothing(panel, status):
    panel.which.value = "without a match"
    assert "choose 'all queries'" in status(panel, error=True).replace("&#x27;", "'")
    panel.which.value = "all queries"
    status(panel)


def test_only_wrong_first_entries(panel, result):
    panel.which.value = "first is a non-match"
    assert set(panel.order) == set(np.flatnonzero(result.ranking.first_match_rank > 1))


def test_reranking_reorders_and_says_what_it_cannot_show(panel, status):
    panel.rerank.value = True
    before = panel.networks.result("").ranking
    assert panel.result.ranking.mean_average_precision != before.mean_average_precision
    panel.junk.value = True
    assert "no re-ranked distance" in status(panel)


def test_heatmap(result, root, status):
    panel = GalleryPanel(result, root, height=32, width=16, heatmap=lambda side, row: np.eye(4))
    before = picture(panel)
    panel.heat.value = True
    status(panel)
    assert picture(panel) != before


def test_maps_are_on_one_scale_and_lie_on_the_photograph(result, root, monkeypatch):
    """A map that is weak on all of the query is dark there, whatever the others show."""
    Image.new("RGB", (64, 16), "red").save(root / "query0.png")

    def weak_on_queries(side, row):
        return np.full((4, 4), 0.1 if side == "query" else 1.0) * np.linspace(0.5, 1, 4)

    panel = GalleryPanel(result, root, height=32, width=16, heatmap=weak_on_queries, k=3)
    panel.by.value = "as in the data"
    shown = []
    monkeypatch.setattr(
        "msinet_lab.panels.gallery.rank_list",
        lambda result, listing, photos: shown.append((listing, photos)) or Html(""),
    )
    panel.heat.value = True
    _, (queries, gallery) = shown[-1]
    assert queries.limits == gallery.limits == (pytest.approx(0.05), 1.0)
    plain, over = panel.photos[0][0], queries[0]
    top, _, high, _ = panel.photos[0].part(0)
    assert top > 5
    np.testing.assert_array_equal(over[:top], plain[:top])
    np.testing.assert_array_equal(over[top + high :], plain[top + high :])
    assert (over[top : top + high] != plain[top : top + high]).any(-1).all()
    broken = [row for row in range(60) if panel.photos[1].part(row) is None]
    assert broken == [0, 1]
    np.testing.assert_array_equal(gallery[broken[0]], panel.photos[1][broken[0]])


def test_square_photographs_fill_their_tiles(make, root, status):
    result = make(None)
    for table in (result.query_table, result.gallery_table):
        for path in table["path"]:
            Image.new("RGB", (40, 40), "green").save(root / path)
    panel = GalleryPanel(result, root)
    height, width = panel.photos[0].height, panel.photos[0].width
    assert height == width
    assert panel.photos[0].part(0) == (0, 0, height, width)
    assert height * width == pytest.approx(128 * 64, rel=0.05)


def test_the_camera_is_always_told(result):
    long = result.gallery_table.assign(identity="an identity with a very long name indeed")
    assert words_of(long, 0)[1] == f"cam {result.gallery_table['camera'][0]}"
    told = shortened("camera_entrance_hall_left_03", 60, tiles.font(11))
    assert told.startswith("c")
    assert told.endswith("03")
    assert "…" in told


def test_each_network_has_rank_lists_of_its_own(make, root, status):
    one = make(root)
    turned = one.query_features @ np.diag(np.linspace(-1, 1, 24)).astype(np.float32)
    tables = one.query_table, one.gallery_table
    other = RetrievalResult.score(turned, one.gallery_features, *tables, one.protocol)
    panel = GalleryPanel({"one": one, "two <b>": other}, root, height=32, width=16)
    assert panel.network.layout.display is None
    panel.place.value = 3
    query = panel.query
    panel.network.value = "two <b>"
    status(panel)
    assert panel.query == query
    np.testing.assert_array_equal(panel.listing.rows, list_gallery(other, query).rows)
    assert f"two &lt;b&gt;, query {query + 1}:" in panel.words.value
    panel.rerank.value = True
    assert panel.result.reranked_by is not None
    panel.network.value = "one"
    assert set(panel.reranked) == {"one", "two <b>"}


def test_a_network_gives_the_heatmap(result, root, status):
    torch.manual_seed(0)
    model = Embedder(MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)), 64, 32)
    panel = GalleryPanel(result, root, networks=model, height=32, width=16, k=4)
    before = picture(panel)
    panel.heat.value = True
    status(panel)
    assert picture(panel) != before
    assert "stage 3, all pictures on one scale" in panel.words.value


def test_no_heatmap_without_a_network(panel):
    assert panel.heat.disabled


def test_saving(panel, root, status):
    for panel.format.value in ("SVG", "PDF", "PNG"):
        panel.save()
    files = sorted(path.suffix for path in (root / "saved").iterdir())
    assert files == [".pdf", ".png", ".svg"]
    text = (root / "saved" / "gallery-picture.svg").read_text()
    assert "data:image/png;base64," in text


def test_failures_as_a_table(panel, result, root, status):
    panel.save_failures.click()
    missed = np.flatnonzero(result.ranking.first_match_rank > 1)
    assert f"saved {len(missed)} of 10 queries" in status(panel)
    table = pd.read_csv(root / "saved" / "failures.csv")
    assert sorted(table["query"]) == sorted(missed + 1)
    first = table.iloc[0]
    row = int(first["query"]) - 1
    nearest = result.gallery_table.iloc[result.rank_list(row, 1).gallery_index[0]]
    assert (first["nearest path"], first["identity"]) == (
        nearest["path"],
        result.query_table["identity"][row],
    )
    assert first["identity"] != first["nearest identity"]


def test_filters(make, root, status):
    result = make(root)
    weather = np.where(np.arange(10) < 4, "rain", "sun")
    result.query_table["weather"] = weather
    panel = GalleryPanel(result, root, height=32, width=16)
    panel.filter.camera.value = 2
    assert set(panel.order) == set(np.flatnonzero(result.query_table["camera"] == 2))
    panel.filter.camera.value = ANY
    panel.filter.column.value = "weather"
    panel.filter.value.value = "rain"
    assert set(panel.order) == {0, 1, 2, 3}
    percent = 100 * result.ranking.average_precision
    middle = float(np.median(percent[:4]))
    panel.filter.precision.value = (0, middle)
    assert set(panel.order) == {n for n in range(4) if percent[n] <= middle}
    status(panel)
    panel.filter.precision.value = (0, 0)
    assert "no query is left" in status(panel, error=True)
    panel.save_failures.click()
    status(panel, error=True)


def test_a_tile_opens_its_photograph_and_becomes_the_query(panel, result, status):
    row = panel.listing.rows[3]
    assert panel.below.layout.display == "none"
    panel.click(f"gallery-{row}", None)
    assert panel.below.layout.display is None
    assert result.gallery_table["path"][row] in panel.pictures["detail"].value
    assert f'data-at="gallery-{row}" data-open="1"' in picture(panel)
    assert panel.look.disabled  # there is no network
    panel.make_query.click()
    status(panel)
    assert f"gallery image {row + 1} as the query" in panel.words.value
    features = result.gallery_features
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    same = (result.gallery_table["identity"] == result.gallery_table["identity"][row]) & (
        result.gallery_table["camera"] == result.gallery_table["camera"][row]
    )
    order = [at for at in np.argsort(-(unit @ unit[row])) if not same[at]]
    shown = panel.shown
    assert shown.rows[shown.listing.rows].tolist() == order[:20]
    panel.click(f"gallery-{shown.listing.rows[0]}", None)
    assert result.gallery_table["path"][order[0]] in panel.pictures["detail"].value
    panel.junk.value = True
    status(panel)
    panel.place.value = 2
    assert "as the query" not in panel.words.value
    panel.close_detail.click()
    assert panel.below.layout.display == "none"
    assert "data-open" not in picture(panel)


def test_the_pair_in_the_attention_panel(result, root, status):
    torch.manual_seed(0)
    model = Embedder(MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64)), 64, 32)
    panel = GalleryPanel(result, root, networks=model, height=32, width=16)
    row = next(at for at in panel.listing.rows if at > 1)  # two photographs are broken
    panel.click(f"gallery-{row}", None)
    panel.look.click()
    status(panel)
    assert panel.pair.children == (panel.attention,)
    assert (panel.attention.query.value, panel.attention.partner.value) == (panel.query + 1, row)
    status(panel.attention)
    far = result.rank_list(panel.query, 60).gallery_index[-1]  # beyond those that are listed
    panel.clicked = ("gallery", int(far))
    panel.look.click()
    assert panel.attention.partner.value == far
    status(panel.attention)


def test_data_without_cameras(make, root, status):
    panel = GalleryPanel(make(root, cameras=0), root)
    assert [name for name, _ in panel.camera.options] == ["all"]
    panel.junk.value = True
    status(panel)


def test_missing_photographs_are_placeholders(result, tmp_path_factory, status):
    panel = GalleryPanel(result, tmp_path_factory.mktemp("empty"))
    status(panel)
    assert len(picture(panel)) > 1000


def test_one_query_and_one_gallery_image(make, root, status):
    panel = GalleryPanel(make(root, queries=1, gallery=2, identities=1, cameras=0), root)
    status(panel)
    assert panel.place.max == 1


def test_slider_at_the_size_of_market_1501(make, status, tmp_path):
    """3,368 queries, 15,913 gallery images; the browser adds little to this."""
    panel = GalleryPanel(make(None, 3368, 15913, 751, 6), tmp_path)
    times = []
    for place in range(5, 25):
        start = time.process_time()
        panel.place.value = place + 1
        times.append(time.process_time() - start)
    status(panel)
    assert np.median(times) < 0.1


def memory_in_use():
    """Bytes of this process, or None where the system does not tell."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.Process().memory_info().rss


def test_five_hundred_moves_leave_memory_and_figures_alone(panel):
    def moves(count):
        for place in range(count):
            panel.place.value = 1 + place % 9

    def figures():
        gc.collect()
        return sum(
            issubclass(type(thing), Figure) for thing in gc.get_objects()
        )  # its class is not asked: a proxy may be dead

    moves(60)
    open_before, memory = figures(), memory_in_use()
    moves(500)
    assert panel.draws > 500
    assert figures() <= open_before  # those of tests before this one may go
    if memory is not None:
        assert memory_in_use() - memory < 20_000_000
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_names_and_paths_with_markup_are_escaped(make, root, status):
    result = make(root)
    for table in (result.query_table, result.gallery_table):
        table["identity"] = "<img src=x onerror=alert(1)>" + table["identity"].astype(str)
    panel = GalleryPanel(result, root, height=32, width=16, saves_to=root / "saved")
    panel.identity.value = result.query_table["identity"].iloc[3]
    status(panel)
    panel.click(f"gallery-{panel.listing.rows[0]}", None)
    page = panel.pictures["detail"].value + picture(panel)
    assert "<img src=x" not in page + panel.words.value + panel.status.value
    assert "&lt;img src=x" in page


def test_what_failed_is_not_shown_as_if_it_were_new(panel, monkeypatch, status):
    monkeypatch.setattr("msinet_lab.panels.gallery.rank_list", lambda *_, **__: 1 / 0)
    panel.place.value = 4
    assert "division by zero" in status(panel, error=True)
    assert panel.pictures["picture"].layout.display == "none"
    assert panel.words.value == ""
    monkeypatch.undo()
    panel.place.value = 5
    status(panel)
    assert panel.pictures["picture"].layout.display is None
    assert "query" in panel.words.value
