"""Every notebook: stripped, short, without logic, linked; and executed from top to bottom."""

import ast
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
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
    client.execute(env=environment, stderr=subprocess.DEVNULL)  # it warns of having no secrets
    return notebook


def states(notebook):
    """The widgets of an executed notebook, as plain dictionaries."""
    saved = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}
    )
    return [entry["state"] for entry in saved.get("state", {}).values()]


# The first makes the data. The others lie in two lanes, one a core, so that no two that share a run
# are executed at the same time.
FIRST, SECOND_LANE = ("00",), ("05", "06", "07", "08", "11")


class Lanes:
    """Notebooks executed in the background; `done[path].result()` waits for one."""

    def __init__(self, paths):
        self.done = {path: Future() for path in paths}
        self.stopped = False
        self.thread = threading.Thread(target=self._all, daemon=True)
        self.thread.start()

    def _all(self):
        first = [path for path in self.done if path.name.startswith(FIRST)]
        second = [path for path in self.done if path.name.startswith(SECOND_LANE)]
        rest = [path for path in self.done if path not in (*first, *second)]
        self._lane(first)
        other = threading.Thread(target=self._lane, args=(second,), daemon=True)
        other.start()
        self._lane(rest)
        other.join()

    def _lane(self, paths):
        for path in paths:
            start = time.monotonic()
            try:
                notebook = None if self.stopped else execute(path)
            except BaseException as error:  # whatever it is, it is raised in the notebook's test
                self.done[path].set_exception(error)
            else:
                self.done[path].set_result((notebook, time.monotonic() - start))

    def stop(self):
        self.stopped = True
        self.thread.join()


@pytest.fixture(scope="module")
def lanes(workplace, request):
    """All notebooks that this session is going to ask for."""
    chosen = [
        workplace / "notebooks" / item.callspec.params["path"].name
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_runs_from_top_to_bottom"
    ]
    lanes = Lanes(chosen)
    yield lanes
    lanes.stop()


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, lanes, workplace):
    notebook, seconds = lanes.done[workplace / "notebooks" / path.name].result()
    shown = states(notebook)
    words = [str(state.get("value", "")) for state in shown]
    assert not [text for text in words if "error-color" in text]
    panels = [
        state
        for state in shown
        if any(name.startswith("msinet-") for name in state.get("_dom_classes", ()))
    ]
    assert panels, "no panel was shown"
    print(f"{path.stem}: {seconds:.0f} s", file=sys.stderr)


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
