"""The project's own files say the same things."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}


def split(requirement):
    name, floor = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    return CONDA_NAMES.get(name, name), floor


def test_environment_yml_equals_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(split(r) for r in environment if isinstance(r, str) and r != "pip")
    assert found.pop("python") == project["requires-python"].removeprefix(">=")
    assert found == dict(split(r) for r in wanted)


def tracked():
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_folder_initialiser_does_more_than_hand_names_on():
    for path in (ROOT / "msinet_core").rglob("__init__.py"):
        if path.parent.name != "msinet_core":
            lazily = path.read_text().replace("def __getattr__(", "")  # hands names on, too
            assert "def " not in lazily, path


def test_no_hard_gpu_calls_and_no_machine_paths():
    for path in tracked():
        if path.suffix in (".py", ".md", ".toml", ".yml", ".ipynb", ".cff") or path.name in (
            "Makefile",
            "run",
        ):
            text = path.read_text()
            assert ".cuda" + "()" not in text, path
            assert "/home" + "/" not in text, path


def test_data_folder_holds_only_its_readme():
    assert [p.name for p in tracked() if p.parent == ROOT / "data"] == ["README.md"]
