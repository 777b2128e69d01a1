"""Galleries show what was scored; every curve stands in every corner case."""

import numpy as np
import pandas as pd
import pytest

from msinet_core import ReidError
from msinet_core.retrieval import compare, comparison_table, count_pairs, open_set
from msinet_lab.figures import comparison, retrieval
from msinet_lab.figures.style import MATCH_COLOURS, as_array, rgb
from msinet_lab.figures.tiles import BORDER


def naive_list(result, query):
    """All gallery rows of a query with their kind, nearest first, from the definition."""
    entries = []
    probe = result.query_table.iloc[query]
    for row, entry in result.gallery_table.iterrows():
        a = result.query_features[query].astype(float)
        b = result.gallery_features[row].astype(float)
        distance = np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))
        same = entry["identity"] == probe["identity"]
        removed = entry["identity"] == -1 or (
            result.protocol.exclude_same_camera and same and entry["camera"] == probe["camera"]
        )
        entries.append((distance, row, "junk" if removed else "match" if same else "non-match"))
    return sorted(entries)


@pytest.mark.parametrize("query", [0, 3, 7])
def test_listing_with_and_without_junk(result, query):
    everything = naive_list(result, query)
    kept = [entry for entry in everything if entry[2] != "junk"]
    for with_junk, expected in ((False, kept), (True, everything)):
        listing = retrieval.list_gallery(result, query, 30, with_junk=with_junk)
        assert listing.rows.tolist() == [row for _, row, _ in expected[:30]]
        assert [entry.kind for entry in listing.entries] == [kind for _, _, kind in expected[:30]]
        np.testing.assert_allclose(
            [entry.distance for entry in listing.entries],
            [distance for distance, _, _ in expected[:30]],
            atol=1e-5,
        )
    rank_of = {row: place for place, (_, row, _) in enumerate(kept, 1)}
    assert [entry.rank for entry in listing.entries] == [
        rank_of.get(row) for row in listing.rows.tolist()
    ]


def test_filters_keep_the_ranks_of_the_full_list(result):
    kept = [entry for entry in naive_list(result, 2) if entry[2] != "junk"]
    wrong = [(row, place) for place, (_, row, kind) in enumerate(kept, 1) if kind == "non-match"]
    listing = retrieval.list_gallery(result, 2, 15, non_matches_only=True)
    assert [(entry.row, entry.rank) for entry in listing.entries] == wrong[:15]
    camera = retrieval.list_gallery(result, 2, 200, camera=3)
    assert camera.rows.tolist() == [
        row for _, row, _ in kept if result.gallery_table["camera"][row] == 3
    ]


def test_gallery_borders(result, photos):
    listing = retrieval.list_gallery(result, 0, 20, with_junk=True)
    page = retrieval.gallery_image(result, listing, photos, photos, columns=20)
    box, gap = 16 + 2 * BORDER, 6
    assert (page[gap + 30, gap + 1] == rgb(MATCH_COLOURS["query"])).all()
    for place, entry in enumerate(listing.entries):
        left = gap + box + gap + 3 * gap + place * (box + gap)
        assert (page[gap + 30, left + 1] == rgb(MATCH_COLOURS[entry.kind])).all()
        assert (page[gap + 30, left + BORDER + 8] == photos[entry.row][0, 0]).all()


@pytest.mark.parametrize(
    "shape",
    [
        {"cameras": 0},
        {"queries": 1},
        {"gallery": 1},
        {"identities": 1},
        {"queries": 2, "gallery": 20_000},
    ],
    ids=str,
)
def test_every_picture_in_odd_shapes(make, photos, shape):
    result = make(**shape)
    for with_junk in (False, True):
        listing = retrieval.list_gallery(result, 0, 20, with_junk=with_junk)
        assert retrieval.gallery_image(result, listing, photos, photos).dtype == np.uint8
    pairs = count_pairs(result)
    rocs = {"one": pairs.roc()} if comparison.has_both(pairs) else {}
    figures = [
        retrieval.rank_list_figure(result, photos, photos, k=5),
        comparison.cmc_curves({"one": result.ranking}),
        comparison.distance_histograms({"one": pairs}),
        comparison.roc_curves(rocs),
        comparison.camera_matrix(comparison.map_by_camera(make(cameras=shape.get("cameras", 4)))),
        comparison.query_scatter({"a": result, "b": result}),
    ]
    for figure in figures:
        assert as_array(figure).std() > 0


def test_queries_without_any_match(make, photos):
    result = make()
    result.gallery_table["identity"] = 99
    lonely = type(result).score(
        result.query_features,
        result.gallery_features,
        result.query_table,
        result.gallery_table,
        result.protocol,
    )
    for figure in (
        retrieval.rank_list_figure(lonely, photos, photos),
        comparison.cmc_curves({"x": lonely.ranking}),
    ):
        assert as_array(figure).std() > 0


def test_best_and_worst():
    precision = [0.5, np.nan, 0.9, 0.1, 0.7, 0.3]
    assert retrieval.best_and_worst(precision, 2) == [2, 4, 5, 3]
    assert retrieval.best_and_worst(precision, 5) == [2, 4, 0, 5, 3]
    assert retrieval.best_and_worst([np.nan]) == []


def test_histogram_and_roc_are_those_of_retrieval(result):
    pairs = count_pairs(result)
    axes = comparison.distance_histograms({"one": pairs}).axes[0]
    shares = [0.0, 0.0]
    for query in range(len(result.query_table)):
        for _, _, kind in naive_list(result, query):
            shares[0] += kind == "non-match"
            shares[1] += kind == "match"
    assert [int(counts.sum()) for counts in (pairs.negative, pairs.positive)] == shares
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["non-match", "match"]
    roc = pairs.roc()
    error, at = roc.equal_error
    line = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert line.get_xdata()[0] == at
    axes = comparison.roc_curves({"one": roc}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), roc.curve()["true_positive_rate"])
    assert axes.lines[0].get_label() == f"one (EER {100 * error:.1f} %)"
    assert axes.lines[1].get_xdata()[0] == error


def test_camera_table_against_filtered_scoring(result):
    table = comparison.map_by_camera(result)
    assert table.shape == (4, 4)
    query, gallery = result.query_table, result.gallery_table
    mine, theirs = int(query["camera"][0]), next(c for c in range(1, 5) if c != query["camera"][0])
    q, g = (query["camera"] == mine).to_numpy(), (gallery["camera"] == theirs).to_numpy()
    part = type(result).score(
        result.query_features[q], result.gallery_features[g], query[q], gallery[g], result.protocol
    )
    assert table.loc[mine, theirs] == pytest.approx(
        part.ranking.mean_average_precision, nan_ok=True
    )


def test_metrics_table(result):
    table = comparison.metrics_table({"a": result})
    assert table.loc["a", "mAP"] == round(100 * result.ranking.mean_average_precision, 1)


def test_unlike_query_sets_cannot_be_compared(make):
    result = make()
    shuffled = result.query_table.iloc[::-1]
    tables = shuffled, result.gallery_table
    other = type(result).score(result.query_features, result.gallery_features, *tables)
    for strange, message in ((other, "another order"), (make(queries=7), "not over the same")):
        with pytest.raises(ReidError, match=message):
            comparison.query_scatter({"a": result, "b": strange})


def test_differences_and_open_sets(make):
    result = make(queries=30)
    results = {"one": result, "two": result.reranked()}
    table = comparison_table(results)
    found = compare(*results.values()).breakdown("camera")
    opened = {name: open_set(each, 0.5) for name, each in results.items()}
    for figure in (
        comparison.difference_figure(table.iloc[1:], "against one"),
        comparison.difference_figure(table.iloc[:1], "nothing"),
        comparison.difference_figure(found, "by camera"),
        comparison.open_set_curves(opened),
        comparison.open_set_curves({}),
    ):
        assert as_array(figure).std() > 0


@pytest.mark.parametrize("count", [1, 2, 4, 6, 30])
def test_points_in_two_dimensions(count):
    features = np.random.default_rng(0).normal(size=(count, 16))
    points = comparison.tsne(features)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert as_array(comparison.embedding_figure(points, range(count), None)).std() > 0
    assert as_array(comparison.embedding_figure(points, ["a"] * count, range(count))).std() > 0
    assert as_array(comparison.embedding_figure(np.zeros((0, 2)), [])).std() > 0


def test_camera_matrix_of_nothing():
    assert as_array(comparison.camera_matrix(pd.DataFrame())).std() > 0
