"""What notebook 00 remembers, the others read; and nothing else is taken for it."""

import json

import numpy as np
import pytest
from PIL import Image

from msinet_core.config import SearchConfig
from msinet_core.errors import ReidError
from msinet_lab.panels.settings import (
    FILE,
    Settings,
    data_shape,
    open_data,
    read_settings,
    remember,
    source_of,
)
from msinet_lab.panels.small_runs import differing, small_search, small_training


def test_what_is_remembered_is_read_and_what_is_given_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_settings(tmp_path) == Settings()
    remember(Settings("manifest", "photos", "runs", height=96, overlap=0.2), tmp_path)
    found = read_settings(tmp_path, height=None, source=None)
    assert found.data == str(tmp_path / "photos")  # from whatever folder it is read
    assert (found.source, found.height, found.width, found.overlap) == ("manifest", 96, None, 0.2)
    assert read_settings(tmp_path, source="msmt17", height=64).source == "msmt17"
    assert read_settings(tmp_path).source == "manifest"


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "{",
        json.dumps({"source": "nothing"}),
        json.dumps({"height": "tall"}),
        json.dumps({"data": 3}),
        json.dumps({"overlap": "all"}),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ReidError, match=FILE):
        read_settings(tmp_path)


def test_wrong_values_are_not_remembered(tmp_path):
    with pytest.raises(ReidError, match="height"):
        read_settings(tmp_path, height=8)
    with pytest.raises(ReidError, match="no data source"):
        remember(Settings("nothing"), tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "photo, longest, expected",
    [
        ((128, 64), 64, (64, 32)),
        ((128, 64), 128, (128, 64)),
        ((50, 50), 64, (64, 64)),
        ((60, 80), 64, (48, 64)),
        ((400, 40), 64, (64, 32)),
    ],
)
def test_the_shape_of_the_data(tmp_path, tiny_dataset, photo, longest, expected):
    (tmp_path / "images").mkdir()
    for path in tiny_dataset.table["path"].head(8):
        Image.fromarray(np.zeros((*photo, 3), np.uint8)).save(tmp_path / path)
    (tmp_path / tiny_dataset.table["path"][3]).write_bytes(b"broken")
    data = type(tiny_dataset)("tiny", tmp_path, tiny_dataset.table)
    assert data_shape(data, longest) == expected
    assert Settings(height=32).size(data, longest) == (32, expected[1])
    config = small_training(data, Settings(width=96), data="manifest")
    assert (config.height, config.width) == (data_shape(data)[0], 96)


def test_photographs_that_cannot_be_read_have_no_shape(tmp_path, tiny_dataset):
    data = type(tiny_dataset)("tiny", tmp_path, tiny_dataset.table)
    assert data_shape(data) == (64, 64)


def test_generated_people_are_called_what_they_are(tmp_path):
    people = open_data("generated people", tmp_path, identities=4)
    assert people.name == "generated people"
    assert source_of(people) == "market1501"  # in whose layout they lie
    config = small_search(people)
    table = differing(config)
    assert "generated" in table.loc["data", "here"]
    assert table.loc["epochs"].tolist() == ["4", "350"]
    assert "temperature" not in table.index
    assert differing(SearchConfig()).empty
    there = open_data("generated vehicles", tmp_path, identities=4, domain="B")
    assert there.name == "generated vehicles, domain B"
    assert source_of(there) == "veri776"
    with pytest.raises(ReidError, match="no data source"):
        open_data("nothing", tmp_path)
