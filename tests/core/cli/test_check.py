"""`msinet check` on what is whole, and on every file of it altered."""

import shutil
from pathlib import Path

import pytest

from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.cli.check import checked
from msinet_core.retrieval import RetrievalResult, open_store, write_store

FILES = Path(__file__).parents[2] / "golden/version_0.1"


@pytest.fixture
def place(tmp_path):
    """A run, and a store and a result as this version writes them."""
    shutil.copytree(FILES / "half_search", tmp_path / "run")
    RetrievalResult.load(FILES / "result/manifest photos").save(tmp_path / "result")
    old = open_store(FILES / "store")
    write_store(tmp_path / "store", old.table, [old.features], {}, old.files)
    return tmp_path


@pytest.mark.parametrize("name", ["run", "store", "result"])
def test_what_is_whole_is_said_in_a_sentence(place, name, capsys):
    assert main(["check", str(place / name)]) == 0
    assert "is whole" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run", "store", "result"])
def test_every_file_that_matters_is_looked_at(place, name):
    """One bit in the middle of each file, and each file cut to a half."""
    spared = {"pid", "log.txt", "genotype.json", ".msinet"}
    for path in [p for p in (place / name).rglob("*") if p.is_file() and p.name not in spared]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ReidError):
            checked(place / name)
        path.write_bytes(content)
        if path.suffix in (".npy", ".safetensors", ".pt") or name != "run":
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
            with pytest.raises(ReidError):
                checked(place / name)
            path.write_bytes(content)
    checked(place / name)


def test_a_folder_of_somebody_elses(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 2
    assert "no run folder, store or result" in capsys.readouterr().err
