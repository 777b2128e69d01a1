"""Every notebook: stripped, without logic, linked, its words defined and its equations the method
page's; and executed from top to bottom, worked examples included.
"""

import ast
import json
import os
import re
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
METHOD = FOLDER.parent / "docs" / "method.md"
CELL_LIMIT = 300  # seconds; a loaded machine is slow, a hanging cell never ends
WORKED = "worked-example"  # the tag of a cell that computes by hand what the package computes
MOST_SECONDS, ALL_SECONDS = 60, 360  # that notebooks say they take, on two cores
TERMS = (
    *("identity", "query", "gallery", "feature", "distance", "rank list", "match", "non-match"),
    *("junk", "distractors", "mAP", "MSI", "TCM", "contrastive", "SAM", "weights", "alpha"),
    *("twins", "overlap", "branches", "channels", "slot", "operations", "genotype", "supernet"),
    *("temperature", "memory", "bilevel step", "derive", "entropy", "label smoothing"),
    *("batch-hard triplet loss", "pairwise map", "learned map", "protocol", "AP", "CMC", "mINP"),
    *("re-ranking", "k-reciprocal", "paired bootstrap", "interval", "EER", "kappa", "seeds"),
)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def is_worked(cell):
    return WORKED in cell.metadata.get("tags", [])


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
        assert 5 <= len(notebook.cells) <= 22
        first, parameters, last = notebook.cells[0], notebook.cells[1], notebook.cells[-1]
        assert first.source.startswith("# ")
        assert "two cores" in first.source
        assert parameters.metadata.tags == ["parameters"]
        assert "What to notice" in last.source

    def test_no_logic(self, path):
        for cell in cells(path, "code"):
            lines = [line for line in cell.source.splitlines() if line.strip()]
            assert len(lines) <= 16, cell.source
            for node in ast.walk(ast.parse(cell.source)):
                if is_worked(cell) and isinstance(node, ast.For | ast.FunctionDef):
                    continue
                assert not isinstance(
                    node,
                    ast.FunctionDef | ast.ClassDef | ast.For | ast.While | ast.Try | ast.Lambda,
                )

    def test_links_lead_somewhere(self, path):
        for cell in cells(path, "markdown"):
            for target in cell.source.split("](")[1:]:
                name = target.split(")")[0]
                assert name.startswith("http") or (FOLDER / name).is_file(), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestTeaches:
    def test_idea_example_panel_question(self, path):
        """In this order; the answer is folded."""
        sources = [cell.source for cell in nbformat.read(path, 4).cells]
        worked = [is_worked(cell) for cell in nbformat.read(path, 4).cells]
        starts = ("## The idea", "## A question", "## What to notice")
        idea, question, end = (
            next(place for place, text in enumerate(sources) if text.startswith(start))
            for start in starts
        )
        panel = next(place for place, text in enumerate(sources) if "Panel(" in text)
        assert idea < worked.index(True) < panel < question < end
        assert "In code: `" in sources[idea]
        before, answer = sources[question].split("<details><summary>Answer</summary>")
        assert before.strip().endswith("?")
        assert answer.strip().endswith("</details>")

    def test_examples_are_asserted_against_the_package(self, path):
        examples = [cell.source for cell in cells(path, "code") if is_worked(cell)]
        code = "\n".join(examples)
        asserts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
        assert asserts
        imported = set()
        for cell in cells(path, "code"):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("msinet_"):
                    imported |= {alias.name for alias in node.names}
        used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        assert used & imported

    def test_equations_are_those_of_the_method_page(self, path):
        method = squeezed(METHOD.read_text(encoding="utf-8"))
        for cell in cells(path, "markdown"):
            for equation in equations(cell.source):
                assert squeezed(equation) in method, equation

    def test_sizes_default_to_those_of_the_data(self, path):
        if path.name.startswith("11"):  # a study has its own
            return
        parameters = next(cell for cell in cells(path, "code") if cell.metadata.get("tags"))
        assert "HEIGHT = WIDTH = None" in parameters.source
        code = "\n".join(cell.source for cell in cells(path, "code"))
        assert "height=HEIGHT, width=WIDTH" in code

    def test_no_numbers_of_the_papers_parts(self, path):
        for cell in cells(path, "markdown"):
            assert not re.search(
                r"(?i)\b(sec(tion|\.)|eq(uation|\.)|fig(ure|\.)|table) *\d", cell.source
            )


def squeezed(text):
    return re.sub(r"\s+", "", text)


def equations(text):
    """What is typeset on lines of its own."""
    return re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL)


def undefined(texts):
    """The terms that are used before the text that defines them, in bold."""
    whole = "\n".join(texts)
    wrong = []
    for term in TERMS:
        flags = 0 if re.search("[A-Z]", term) else re.IGNORECASE
        first = re.search(rf"(?<![\w-]){re.escape(term)}(?![\w-])", whole, flags)
        if not first or whole[: first.start()].count("**") % 2 == 0:
            wrong.append(term)
    return wrong


def lesson(path):
    """The words of a notebook after its title and introduction, headings left out."""
    after = [
        cell.source for cell in nbformat.read(path, 4).cells[1:] if cell.cell_type == "markdown"
    ]
    words = re.sub(r"(?s)\$\$.+?\$\$", "", "\n".join(after))
    return re.sub(r"(?m)^#.*$|`[^`]*`|\$[^$]+\$", "", words)


def test_words_are_defined_where_they_first_occur():
    texts = [lesson(path) for path in NOTEBOOKS]
    assert not undefined(texts)
    assert undefined([text.replace("**memory**", "memory") for text in texts]) == ["memory"]
    assert "junk" in undefined(texts[1:])


def test_a_changed_equation_would_be_seen():
    method = squeezed(METHOD.read_text(encoding="utf-8"))
    found = [
        one
        for path in NOTEBOOKS
        for cell in cells(path, "markdown")
        for one in equations(cell.source)
    ]
    assert len(found) >= 12
    assert all(squeezed(one.replace("=", r"\ne", 1)) not in method for one in found)


def test_times_are_short():
    said = [
        int(re.search(r"About (\d+) seconds", cells(path, "markdown")[0].source)[1])
        for path in NOTEBOOKS
    ]
    assert max(said) <= MOST_SECONDS
    assert sum(said) <= ALL_SECONDS


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
