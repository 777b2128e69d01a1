"""The project's own files say the same things, and a wheel of them works without a checkout."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from common import on_posix

import msinet_core
from msinet_core.cli.main import EXTRAS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Names that conda-forge gives otherwise; its `playwright` is the one for Node.
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "seaborn": "seaborn-base",
    "playwright": "playwright-python",
    "docstring-parser": "docstring_parser",
}
# Names under which a package is imported, where they are not its own.
IMPORTED_AS = {
    "jupyter-scatter": "jscatter",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "grad-cam": "pytorch_grad_cam",
    "faiss-cpu": "faiss",
    "pytorch-metric-learning": "pytorch_metric_learning",
    "docstring-parser": "docstring_parser",
}
NEVER_IMPORTED = {"onnxscript"}  # by torch.onnx
BROUGHT = {"IPython", "traitlets"}  # by ipywidgets, whose words they are


def split(requirement):
    return re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()


def names(requirements):
    return {IMPORTED_AS.get(name, name) for name, _ in map(split, requirements)}


def test_environment_yml_equals_pyproject():
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    found = dict(split(r) for r in environment["dependencies"] if isinstance(r, str) and r != "pip")
    assert found.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    assert found == {CONDA_NAMES.get(name, name): floor for name, floor in map(split, wanted)}


def imports_of(package):
    """Top names of what the modules of a package import from elsewhere, anywhere in them."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"msinet_core", "msinet_lab"}


def test_each_package_imports_what_its_dependencies_bring_and_each_dependency_is_used():
    core, extra = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    outside = ("lab", "hub")
    optional = names([one for name in EXTRAS if name not in outside for one in extra[name]])
    lab = names([one for name in outside for one in extra[name]])
    assert imports_of("msinet_core") <= core | optional
    assert imports_of("msinet_lab") <= core | lab | BROUGHT
    used = imports_of("msinet_core") | imports_of("msinet_lab")
    assert core | optional | lab <= used | NEVER_IMPORTED


def test_the_command_line_knows_which_extra_brings_a_library():
    for extra, libraries in EXTRAS.items():
        wanted = names(PROJECT["optional-dependencies"][extra])
        assert wanted <= set(libraries), extra
        assert not set(libraries) & names(PROJECT["dependencies"])


def test_versions_agree():
    assert msinet_core.__version__ == PROJECT["version"]


# -- from a wheel --------------------------------------------------------------------------------

PARTS = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FOLDERS = ("msinet_core", "msinet_lab", "notebooks")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built without network from a copy: building leaves folders behind."""
    pytest.importorskip("setuptools")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip(source, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", target)
    (built,) = target.glob("*.whl")
    return built


def pip(folder, *words):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, words)]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PIP_NO_INDEX": "1"})


@pytest.fixture(scope="module")
def msinet(wheel, tmp_path_factory):
    """`msinet(*words)`: the installed command, in an empty folder that no checkout is near."""
    installed, empty = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("empty")
    pip(empty, "install", "--no-deps", "--target", installed, wheel)
    path = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words, blocked=()):
        code = f"""
import sys
sys.modules.update(dict.fromkeys({list(blocked)}))
import msinet_core, msinet_lab
assert msinet_core.__file__.startswith({str(installed)!r}), msinet_core.__file__
assert msinet_lab.__file__.startswith({str(installed)!r}), msinet_lab.__file__
from msinet_core.cli import main
sys.exit(main({list(map(str, words))}))
"""
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=empty, env=path, capture_output=True, encoding="utf-8", check=False
        )

    return run


def test_a_wheel_has_every_module_the_licence_and_the_notebooks(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in ("msinet_core", "msinet_lab"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".js", ".css", ".typed"):
                assert path.relative_to(ROOT).as_posix() in held
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"msinet_lab/notebooks/{path.name}" in held
    about = f"msinet_core-{PROJECT['version']}.dist-info"
    assert f"{about}/licenses/LICENSE" in held
    assert not [name for name in held if name.startswith(("tests", "benchmarks", "notebooks"))]


def test_the_command_line_works_from_a_wheel(msinet):
    done = msinet("--help")
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout
    assert "notebooks" in done.stdout


def test_notebooks_are_written_out_of_a_wheel_and_never_over_changed_ones(msinet, tmp_path):
    folder = tmp_path / "mine"
    for _ in range(2):  # what is there already, and the same, is well
        done = msinet("notebooks", "--to", folder)
        assert done.returncode == 0, done.stderr
    written = sorted(folder.iterdir())
    assert [file.name for file in written] == sorted(
        file.name for file in (ROOT / "notebooks").glob("*.ipynb")
    )
    for file in written:
        assert file.read_bytes() == (ROOT / "notebooks" / file.name).read_bytes()
    written[1].write_text("my own work")
    written[2].unlink()
    done = msinet("notebooks", "--to", folder)
    assert done.returncode == 2
    assert written[1].name in done.stderr
    assert written[1].read_text() == "my own work"
    assert not written[2].exists()  # nothing was written at all


@pytest.mark.parametrize(
    "words", [("study", "--folder", "s"), ("notebooks", "--to", "n", "--open")]
)
def test_without_the_labs_libraries_its_commands_say_what_to_install(msinet, words):
    blocked = ("matplotlib", "seaborn", "sklearn", "pytorch_grad_cam", "jupyterlab", "ipywidgets")
    done = msinet(*words, blocked=blocked)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("is not installed: pip install 'msinet-core[lab]'")


# -- the repository ------------------------------------------------------------------------------


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
            lazily = path.read_text(encoding="utf-8").replace(
                "def __getattr__(", ""
            )  # hands names on, too
            assert "def " not in lazily, path


def test_no_hard_gpu_calls_and_no_machine_paths():
    for path in tracked():
        if path.suffix in (".py", ".md", ".toml", ".yml", ".ipynb", ".cff") or path.name in (
            "Makefile",
            "run",
        ):
            text = path.read_text(encoding="utf-8")
            assert ".cuda" + "()" not in text, path
            assert "/home" + "/" not in text, path


def test_data_folder_holds_only_its_readme():
    assert [p.name for p in tracked() if p.parent == ROOT / "data"] == ["README.md"]


STUB = """#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p $3/bin; cp stub $3/bin/python; cp stub $3/bin/pip-audit ;;
  *"pip install"*) exit $INSTALL ;;
  *"pip list"*) printf 'one==1\\ntwo==2\\n' ;;
  *"--path"*) for name in $UNKNOWN; do echo "$name could not be audited"; done; exit $FOUND ;;
esac
"""


@on_posix
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "install, unknown, found, passes",
    [(0, "one", 0, True), (1, "", 0, False), (0, "one two", 0, False), (0, "", 1, False)],
)
def test_supply_fails_where_nothing_could_be_looked_up(tmp_path, install, unknown, found, passes):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "stub").write_text(STUB)
    (tmp_path / "stub").chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "stub", tmp_path / ".venv" / "bin" / "python")
    (tmp_path / ".venv" / ".installed").touch()
    said = {"INSTALL": str(install), "UNKNOWN": unknown, "FOUND": str(found)}
    words = ["make", "supply", "PYTHON=./stub", "VENV=.venv"]
    done = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, **said}, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    assert ("looked up" in done.stdout) == (not passes and not found), done.stdout
