"""`RetrievalResult`: breakdowns, saving and loading, re-ranking."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult, rank, score_table


@pytest.fixture
def result(crowd):
    case = crowd(0, queries=40)
    case.gallery_identity[:15] = -1
    case.query_identity[3] = 77  # matches nothing
    tables = [
        pd.DataFrame(
            {
                "path": [f"{side}{n}.jpg" for n in range(len(identity))],
                "identity": identity,
                "camera": camera,
            }
        )
        for side, identity, camera in (
            ("q", case.query_identity, case.query_camera),
            ("g", case.gallery_identity, case.gallery_camera),
        )
    ]
    tables[0]["view"] = ["front" if n % 3 else "rear" for n in range(40)]
    return RetrievalResult.score(case.query, case.gallery, *tables, Protocol(junk_identities=(-1,)))


def test_it_scores_by_its_protocol(result):
    labels = [
        getattr(result, f"{side}_table")[what]
        for what in ("identity", "camera")
        for side in ("query", "gallery")
    ]
    expected = rank(result.query_features, result.gallery_features, *labels)
    np.testing.assert_array_equal(result.ranking.average_precision, expected.average_precision)
    kept = RetrievalResult.score(
        torch.from_numpy(result.query_features),
        result.gallery_features,
        result.query_table,
        result.gallery_table,
        Protocol(exclude_same_camera=False, distractor_identities=(-1,)),
    )
    again = rank(
        result.query_features,
        result.gallery_features,
        *labels,
        same_camera="keep",
        junk_identities=(),
        distractor_identities=(-1,),
    )
    assert kept.metrics()["mAP"] == again.mean_average_precision != expected.mean_average_precision
    assert "39 of 40 queries count, gallery 200" in repr(result)


def test_breakdown_by_camera_and_by_any_column(result):
    for column in ("camera", "view"):
        table = result.breakdown(column)
        assert table["queries"].sum() == 40
        assert table["counted"].sum() == 39
        assert (table["mAP"] * table["counted"]).sum() / 39 == pytest.approx(
            result.ranking.mean_average_precision
        )
        assert (table["rank1"] * table["counted"]).sum() / 39 == pytest.approx(
            result.ranking.rank_k(1)
        )
        value = table.index[0]
        mine = (result.query_table[column] == value).to_numpy() & result.ranking.counted
        assert table.loc[value, "mINP"] == pytest.approx(
            result.ranking.inverse_negative_penalty[mine].mean()
        )
    with pytest.raises(ReidError, match="no column 'weather'; it has path, identity, camera, view"):
        result.breakdown("weather")


def test_hardest_and_easiest_queries(result):
    hardest, easiest = result.hardest(5), result.easiest(5)
    ordered = np.sort(result.ranking.average_precision[result.ranking.counted])
    np.testing.assert_array_equal(hardest["average_precision"], ordered[:5])
    np.testing.assert_array_equal(easiest["average_precision"], ordered[::-1][:5])
    assert 3 not in result.hardest(1000).index
    assert len(result.hardest(1000)) == 39
    for query, row in hardest.iterrows():
        assert row["path"] == result.query_table["path"][query]


@pytest.mark.parametrize("reranked", [False, True])
def test_saved_and_loaded(result, tmp_path, reranked):
    result = result.reranked(5, 3) if reranked else result
    result.save(tmp_path / "a")
    result.save(tmp_path / "a")  # over what is there
    found = RetrievalResult.load(tmp_path / "a")
    assert repr(found) == repr(result)
    assert found.protocol == result.protocol
    for name in (
        "average_precision",
        "first_match_rank",
        "inverse_negative_penalty",
        "num_matches",
        "cmc",
    ):
        np.testing.assert_array_equal(getattr(found.ranking, name), getattr(result.ranking, name))
    for side in ("query", "gallery"):
        pd.testing.assert_frame_equal(
            getattr(found, f"{side}_table"), getattr(result, f"{side}_table")
        )
        np.testing.assert_array_equal(
            getattr(found, f"{side}_features"), getattr(result, f"{side}_features")
        )
    for query in (0, 7):
        one, two = found.rank_list(query, 12), result.rank_list(query, 12)
        np.testing.assert_array_equal(one.gallery_index, two.gallery_index)
        np.testing.assert_array_equal(one.is_match, two.is_match)
        np.testing.assert_allclose(one.distance, two.distance, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_texts_gaps_and_draws_survive_saving(result, tmp_path):
    table = result.query_table.assign(identity=[f"{n % 7:04d}" for n in range(40)], camera=pd.NA)
    drawn = score_table(
        result.query_features,
        table,
        Protocol("vehicleid", exclude_same_camera=False, gallery_draws=3),
    )
    drawn.save(tmp_path / "b")
    found = RetrievalResult.load(tmp_path / "b")
    pd.testing.assert_frame_equal(found.draws, drawn.draws)
    assert found.metrics() == drawn.metrics()
    assert found.query_table["identity"].tolist() == drawn.query_table["identity"].tolist()
    assert found.query_table["camera"].isna().all()
    assert (
        found.rank_list(0, 3).gallery_index.tolist() == drawn.rank_list(0, 3).gallery_index.tolist()
    )


def test_a_disk_that_refuses_is_a_sentence_whoever_writes(result, tmp_path, monkeypatch):
    def refuse(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("msinet_core.retrieval.result.save_file", refuse)
    with pytest.raises(ReidError, match=r"cannot write.*out.*free on the disk"):
        result.save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_loading_what_is_no_result(tmp_path):
    with pytest.raises(ReidError, match="holds no retrieval result"):
        RetrievalResult.load(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 99}')
    with pytest.raises(ReidError, match="another version"):
        RetrievalResult.load(tmp_path)


def test_features_and_rows_must_agree(result):
    with pytest.raises(ReidError, match="39 features for 40 rows"):
        score_table(result.query_features[1:], result.query_table.assign(split="query"), Protocol())


def test_without_a_protocol_junk_stays_junk(result):
    tables = result.query_table, result.gallery_table
    again = RetrievalResult.score(result.query_features, result.gallery_features, *tables)
    assert again.metrics() == result.metrics()
    sides = [t.assign(split=s) for t, s in zip(tables, ("query", "gallery"), strict=True)]
    features = np.concatenate([result.query_features, result.gallery_features])
    table = pd.concat(sides, ignore_index=True)
    found = RetrievalResult.from_features(torch.from_numpy(features), table)
    assert found.metrics() == result.metrics()
    assert found.protocol.junk_identities


def test_changed_files_of_a_result_are_refused(result, tmp_path):
    result.save(tmp_path / "a")
    file = tmp_path / "a" / "features.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ReidError, match="not what was written"):
        RetrievalResult.load(tmp_path / "a")
    file.unlink()
    with pytest.raises(ReidError, match="missing or damaged"):
        RetrievalResult.load(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ReidError, match="is not replaced"):
        result.save(tmp_path / "b")


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("query.jsonl", '"identity":', '"Identity":'),
        ("gallery.jsonl", "1", "2"),
        ("result.json", '"exclude_same_camera": true', '"exclude_same_camera": false'),
        ("result.json", '"max_rank": 50', '"max_rank": "x"'),
    ],
)
def test_changed_tables_and_rules_of_a_result_are_refused(result, tmp_path, name, old, new):
    result.save(tmp_path / "a")
    file = tmp_path / "a" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ReidError, match=rf"{name}.* is not what was written there"):
        RetrievalResult.load(tmp_path / "a")
    about = json.loads((tmp_path / "a" / "result.json").read_text())
    del about["checksum"], about["protocol"]  # a sum is no help where it is missing, too
    (tmp_path / "a" / "result.json").write_text(json.dumps(about))
    with pytest.raises(ReidError, match="damaged"):
        RetrievalResult.load(tmp_path / "a")
