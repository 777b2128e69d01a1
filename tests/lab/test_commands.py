"""The lab's commands beyond what they hand on."""

import shutil
import sys
from pathlib import Path

import pytest

from msinet_core.cli import main
from msinet_lab import commands

GOLDEN = Path(__file__).parents[1] / "golden/version_0.1"


@pytest.fixture
def started(monkeypatch):
    """The command lines of programs that would have been started."""
    lines = []
    monkeypatch.setattr(commands.subprocess, "run", lambda words, check: lines.append(words))
    return lines


def test_notebooks_are_written_and_opened(started, tmp_path, capsys):
    assert main(["notebooks", "--to", str(tmp_path / "n")]) == 0
    assert not started
    assert f"12 notebooks in {tmp_path / 'n'}" in capsys.readouterr().out
    assert main(["notebooks", "--to", str(tmp_path / "n"), "--open"]) == 0
    assert started == [[sys.executable, "-m", "jupyterlab", str(tmp_path / "n")]]


def test_an_unreadable_place_for_notebooks_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["notebooks", "--to", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_an_installation_without_notebooks_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "msinet_lab" / "commands.py"))
    assert main(["notebooks", "--to", str(tmp_path / "n")]) == 2
    assert "has no notebooks" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["diagnose", "trust"])
def test_diagnose_is_also_called_trust(name, tmp_path, capsys):
    assert main([name, "--run", str(tmp_path / "absent")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_a_diagnosis_replaces_nothing_of_the_users(tmp_path, capsys):
    shutil.copytree(GOLDEN / "half_search", tmp_path / "run")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "gap.csv").write_text("mine")
    words = ["diagnose", "--run", str(tmp_path / "run"), "--to", str(tmp_path / "photos")]
    assert main(words) == 2
    assert "is not replaced by a diagnosis" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["gap.csv"]
