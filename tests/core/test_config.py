"""Configurations: plain values whatever they were given as, and one sentence for what cannot be."""

import errno
import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from msinet_core import OPERATIONS, PAPER_GENOTYPE, ReidError, config, options
from msinet_core.config import (
    PretrainConfig,
    RunConfig,
    SearchConfig,
    TrainConfig,
    config_from_dict,
    parse_options,
    read_genotype,
)
from msinet_core.data.sources import SOURCES
from msinet_core.options import DATA_SETS

KINDS = (SearchConfig, TrainConfig, PretrainConfig)


def test_paths_and_numbers_of_numpy_are_stored_as_plain_values():
    config = TrainConfig(
        root=Path("data"),
        weights=Path("run"),
        epochs=np.int64(3),
        learning_rate=np.float32(0.5),
        compile=np.True_,
        channels=np.array([16, 32, 32, 32]),
        milestones=[1, np.int32(2)],
        max_gradient_norm=5,
    )
    assert (config.root, config.weights) == ("data", "run")
    assert (config.epochs, config.learning_rate, config.compile) == (3, 0.5, True)
    assert (config.channels, config.milestones) == ((16, 32, 32, 32), (1, 2))
    assert type(config.max_gradient_norm) is float
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_survive_json(kind):
    assert config_from_dict(kind().to_dict()) == kind()


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = TrainConfig(root="~/data", cache_dir="~/cache", weights="~/w.pth", genotype="~/run")
    assert {config.root, config.cache_dir, config.weights, config.genotype} == {
        str(tmp_path / name) for name in ("data", "cache", "w.pth", "run")
    }


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("options", "test_size=1600", "options is a tuple of texts; got 'test_size=1600'"),
        ("options", (3,), "options is a tuple of texts"),
        ("milestones", "3", "milestones is a tuple of whole numbers or None"),
        ("channels", (64, 256), "channels is a tuple of 4 whole numbers"),
        ("epochs", 2.5, "epochs is a whole number; got 2.5"),
        ("epochs", "3", "epochs is a whole number; got '3'"),
        ("epochs", True, "epochs is a whole number; got True"),
        ("epochs", None, "epochs is a whole number; got None"),
        ("learning_rate", float("nan"), "learning_rate is a finite number; got nan"),
        ("momentum", float("inf"), "momentum is a finite number; got inf"),
        ("momentum", "0.9", "momentum is a finite number"),
        ("compile", "yes", "compile is true or false; got 'yes'"),
        ("root", 3, "root is text or a tuple of texts; got 3"),
        ("root", b"data", "root is text"),
        ("cache", "ram", "cache is one of auto, memory, disk, none; got 'ram'"),
        ("epochs", 0, "epochs must be positive; got 0"),
        ("seed", -1, "seed must not be negative; got -1"),
        ("milestones", (2, 1), "milestones must rise"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_another_type_or_range_is_one_sentence(kind, field, value, sentence):
    with pytest.raises(ReidError) as raised:
        kind(**{field: value})
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_numbers_that_nothing_can_hold(digits):
    for number in (10**digits, -(10**digits)):
        with pytest.raises(ReidError, match=r"^epochs is a whole number; got .{0,60}$"):
            TrainConfig(epochs=number)
        with pytest.raises(ReidError, match=r"^milestones is .*; got .{0,60}$"):
            TrainConfig(milestones=(1, number))


def test_the_help_of_data_names_every_data_set():
    source = Path(options.__file__).read_text(encoding="utf-8")
    line = next(line for line in source.splitlines() if line.lstrip().startswith('"""Kind: '))
    assert line.split(": ")[1] == ", ".join(DATA_SETS) + '."""'
    assert sorted(DATA_SETS) == sorted(SOURCES)


@pytest.mark.parametrize("kind", KINDS)
def test_sections_hold_every_field_once(kind):
    held = [field.name for section in kind.SECTIONS.values() for field in fields(section)]
    assert sorted([*held, "imports"]) == sorted(field.name for field in fields(kind))


def test_to_the_letter_differs_where_the_texts_say_so():
    source = Path(options.__file__).read_text(encoding="utf-8")
    for kind in KINDS:
        assert set(kind().differences(kind.to_the_letter())) == set(kind.AUTHORS)
        for field in kind.AUTHORS:
            text = source.split(f"    {field}: ")[1].split('"""')[1]
            assert "authors" in text, field
    assert SearchConfig.to_the_letter(cell_width="derived").cell_width == "derived"


def test_options_stay_text():
    assert parse_options(("a=-1", "b=0000", "c=true", "d=x=y", "e=")) == {
        "a": "-1",
        "b": "0000",
        "c": "true",
        "d": "x=y",
        "e": "",
    }
    with pytest.raises(ReidError, match="name=value; got 'a'"):
        parse_options(("a",))


@pytest.fixture
def own_operation():
    OPERATIONS.add("average", "my_ops")
    yield str(PAPER_GENOTYPE).replace("exchange", "average")
    OPERATIONS.remove("average")


def test_a_configuration_remembers_modules_of_operations(own_operation):
    assert TrainConfig().remembering_modules().imports == ("my_ops",)
    assert TrainConfig(imports=("my_ops",)).remembering_modules().imports == ("my_ops",)
    assert not RunConfig().differences(RunConfig(imports=("a",)))


def test_a_genotype_that_cannot_be_read_is_not_said_to_be_absent(tmp_path, monkeypatch):
    assert config.genotype_of_run(tmp_path) is None
    (tmp_path / "genotype.json").write_text(PAPER_GENOTYPE.to_json())
    assert config.genotype_of_run(tmp_path) == PAPER_GENOTYPE

    def failing(path, *rest, **options):
        if str(path).endswith("genotype.json"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return stat(path, *rest, **options)

    stat = os.stat
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, failing)
    with pytest.raises(ReidError, match=r"cannot read .*genotype\.json"):
        config.genotype_of_run(tmp_path)


def test_an_unknown_operation_says_what_to_import(own_operation, tmp_path):
    config = TrainConfig(genotype=own_operation).remembering_modules()
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "genotype.json").write_text(config.resolved_genotype().to_json())
    OPERATIONS.remove("average")
    try:
        with pytest.raises(ReidError, match=r"'average'.*--import my_ops"):
            config.resolved_genotype()
        with pytest.raises(ReidError, match=r"'average'.*--import my_ops"):
            read_genotype(tmp_path)
        with pytest.raises(ReidError, match="registered first: --import MODULE"):
            read_genotype(own_operation)
    finally:
        OPERATIONS.add("average", "my_ops")
    assert read_genotype(tmp_path) == config.resolved_genotype()
