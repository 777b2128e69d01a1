"""Every notebook: stripped, short, without logic, linked; and executed from top to bottom."""

import ast
import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_LIMIT = 300  # seconds; a loaded machine is slow, a hanging cell never ends


def cells(path, kind):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def test_all_are_there():
    from msinet_lab.panels.start import NOTEBOOKS as known

    assert [path.stem for path in NOTEBOOKS] == list(known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    def test_stripped(self, path):
        notebook = json.loads(path.read_text())
        assert "widgets" not in notebook["metadata"]
        for cell in notebook["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None

    def test_short_and_in_order(self, path):
        notebook = nbformat.read(path, 4)
        nbformat.validate(notebook)
        assert 5 <= len(notebook.cells) <= 11
        first, parameters, last = notebook.cells[0], notebook.cells[1], notebook.cells[-1]
        assert first.source.startswith("# ")
        assert "two cores" in first.source
        assert parameters.metadata.tags == ["parameters"]
        assert "What to notice" in last.source

    def test_no_logic(self, path):
        for cell in cells(path, "code"):
            lines = cell.source.splitlines()
            assert len(lines) <= 16, cell.source
            for node in ast.walk(ast.parse(cell.source)):
                assert not isinstance(
                    node,
                    ast.FunctionDef | ast.ClassDef | ast.For | ast.While | ast.Try | ast.Lambda,
                )

    def test_links_lead_somewhere(self, path):
        for cell in cells(path, "markdown"):
            for target in cell.source.split("](")[1:]:
                name = target.split(")")[0]
                assert name.startswith("http") or (FOLDER / name).is_file(), name


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A copy of the notebooks with room for data and runs beside them, shared by all."""
    root = tmp_path_factory.mktemp("work")
    shutil.copytree(FOLDER, root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return root


def execute(path):
    """The executed notebook."""
    notebook = nbformat.read(path, 4)
    # One thread, as everywhere in the tests: two that wait for each other passively take twice as
    # long.
    threads = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    environment = {**os.environ, **threads, "PYTHONWARNINGS": "ignore"}
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment)
    return notebook


def states(notebook):
    """The widgets of an executed notebook, as plain dictionaries."""
    saved = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}
    )
    return [entry["state"] for entry in saved.get("state", {}).values()]


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, workplace):
    start = time.monotonic()
    notebook = execute(workplace / "notebooks" / path.name)
    shown = states(notebook)
    words = [str(state.get("value", "")) for state in shown]
    assert not [text for text in words if "error-color" in text]
    panels = [
        state
        for state in shown
        if any(name.startswith("msinet-") for name in state.get("_dom_classes", ()))
    ]
    assert panels, "no panel was shown"
    print(f"{path.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)


@pytest.mark.notebooks
def test_a_broken_panel_would_be_seen(workplace):
    """The control of the test above: an error in a panel is found among the widgets."""
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "from msinet_lab.panels.base import Panel, slider\n"
                "class Broken(Panel):\n"
                "    def draw(self):\n"
                "        raise RuntimeError('no features')\n"
                "panel = Broken('broken')\n"
                "panel.children = (panel.status,)\n"
                "panel.attempt(panel.draw)\n"
                "panel"
            )
        ]
    )
    path = workplace / "notebooks" / "broken.ipynb"
    nbformat.write(notebook, path)
    assert any("error-color" in str(state.get("value", "")) for state in states(execute(path)))
