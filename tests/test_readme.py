"""What the pages say can be done can be done, and what they say was measured was measured."""

import io
import re
import subprocess
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import _pages, nyala, turntable
from msinet_core import ReidError
from msinet_core.cli import main
from msinet_core.data import check_dataset, load_dataset

ROOT = Path(__file__).parent.parent
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")
PAGES = [ROOT / name for name in NAMES] + sorted((ROOT / "docs").glob("*.md"))
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


by_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


# Names in code font that are neither ours nor in our code.
ELSEWHERE = {"notebook_launcher", "my_operations"}


# -- what a page shows ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_runs_one_snippet_after_the_other(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace = {}
    for code in blocks(page, "python"):
        exec(compile(code, page.name, "exec"), namespace)
    assert capsys.readouterr().out


@by_page
def test_links_and_pictures_exist(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def anchors(page):
    """Headings as GitHub links to them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads]


@by_page
def test_files_named_exist(page):
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":  # which names what is gone
        return
    named = re.findall(r"`((?:msinet_core|msinet_lab|tests|benchmarks|notebooks)/[\w/.-]+)`", text)
    for name in named:
        assert (ROOT / name).exists(), name


@cache
def words_of_the_code():
    files = [
        f
        for room in ("msinet_core", "msinet_lab", "benchmarks")
        for f in (ROOT / room).rglob("*.py")
    ]
    text = "".join(file.read_text(encoding="utf-8") for file in [*files, ROOT / "pyproject.toml"])
    return set(re.findall(r"\w+", text))


@by_page
def test_names_from_the_code_are_there(page):
    """`Supernet.alphas`, `max_gradient_norm`, `twins_split`: names that only code would use."""
    if page.name == "CHANGELOG.md":
        return
    for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*)?`", page.read_text(encoding="utf-8")):
        if "_" in name or re.search("[a-z][A-Z]", name) or "." in name:
            unknown = set(name.split(".")) - words_of_the_code() - ELSEWHERE
            assert not unknown, f"{name}: {unknown}"


def test_the_readme_lists_all_pages_and_notebooks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name}" in text, page.name
    notebooks = re.findall(r"^\| (\d\d_\w+) \|", text, re.MULTILINE)
    assert notebooks == sorted(file.stem for file in (ROOT / "notebooks").glob("*.ipynb"))


# -- commands ------------------------------------------------------------------------------------

OTHERS = {"--machine_rank", "--cpu", "--multi_gpu"}  # accelerate's


@cache
def help_of(command):
    """What `msinet COMMAND --help` prints; empty where there is no such command."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setenv("COLUMNS", "200")
        try:
            code = main([*command.split(), "--help"])
        except SystemExit as end:
            code = end.code
    return "" if code else said.getvalue()


def options_of(command):
    """The options of a command, or of all in a group."""
    groups = {"data": ("data check", "data generate")}
    said = "".join(help_of(name) for name in groups.get(command, (command,)))
    return set(re.findall(r"--[a-z][a-z-]*", said))


@cache
def all_options():
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    return OTHERS.union(*map(options_of, re.findall(r"^## msinet (\w+)", text, re.MULTILINE)))


@by_page
def test_commands_in_shell_blocks_exist_with_their_options(page):
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    for line in lines:
        call = r"(?:msinet|-m msinet_core\.cli) +(data \w+|[a-z]+)(.*)"
        found = re.search(call, line.partition("#")[0])
        if not found or line.startswith("pip "):
            continue
        command, rest = found.groups()
        assert help_of(command), f"there is no command {command!r}: {line}"
        unknown = set(re.findall(r"--[\w-]+", rest)) - options_of(command)
        assert not unknown, f"{unknown} in: {line}"


@by_page
def test_options_named_in_the_text_exist(page):
    named = re.findall(r"`(?:msinet [a-z ]+ )?(--[\w-]+)", page.read_text(encoding="utf-8"))
    assert set(named) <= all_options() | {"--help"}


def test_the_command_lines_page_has_every_command_and_its_options():
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^## msinet (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    )
    for command, section in sections.items():
        named = set(re.findall(r"`(--[\w-]+)", section))
        assert named <= options_of(command), (command, named - options_of(command))
    known = set(re.findall(r"• (\w+)", help_of("")))
    assert known == sections.keys()


@by_page
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8"))
    named += re.findall(r"^make ([a-z]+)", "\n".join(blocks(page, "sh")), re.MULTILINE)
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


# -- figures -------------------------------------------------------------------------------------


def test_tables_are_those_of_their_results():
    page = ROOT / "docs/results.md"
    text = page.read_text(encoding="utf-8")
    assert {name for _, name, _ in _pages.BLOCK.findall(text)} == set(_pages.TABLES)
    assert _pages.filled(text) == text, "run python -m benchmarks._pages"


def test_lines_of_the_methods_files_are_about_right():
    text = (ROOT / "docs/reading-order.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) > 10
    for name, lines in rows:
        now = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        assert abs(int(lines) - now) <= 20 + now // 5, f"{name}: run python -m benchmarks._pages"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in citation
    assert re.search(r"^## ([\d.]+)", changes, re.MULTILINE)[1] == project["version"]


def test_no_number_of_a_section_equation_figure_or_table_is_cited():
    """Nobody had the paper's text; mechanisms are cited by their names."""
    number = re.compile(r"\b(section|equation|figure|table)s? \(?\d", re.IGNORECASE)
    for path in tracked():
        if path.suffix in (".py", ".md", ".ipynb", ".toml", ".yml"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not number.search(line), f"{path.relative_to(ROOT)}: {line.strip()}"


def tracked():
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


# -- data ----------------------------------------------------------------------------------------


def test_turntable_from_coil_100(tmp_path):
    for row in turntable.rows():
        name = f"obj{int(row['identity'][3:])}__{row['angle']}.png"
        colour = (int(row["identity"][3:]), row["angle"] % 256, 90)
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    target = turntable.write(tmp_path, tmp_path / "new").parent
    dataset = load_dataset("manifest", target)
    assert dataset.summary()["images"].to_dict() == {"train": 1080, "query": 120, "gallery": 960}
    assert not set(dataset.train["identity"]) & set(dataset.query["identity"])
    check_dataset(dataset).raise_if_broken()
    with pytest.raises(ReidError, match="not empty"):
        turntable.write(tmp_path, target)
    with pytest.raises(ReidError, match=r"obj1__0\.png is missing"):
        turntable.write(target, tmp_path / "other")


def test_nyala_from_its_source(tmp_path):
    for name in (
        "60/85_left",
        "60/630_right",
        "62/87_left",
        "62/87_right",
        "62/367_left",
        "83/9_left",
    ):
        file = tmp_path / f"{name}photo.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (600, 300)).save(file)
    table = load_dataset("manifest", nyala.write(tmp_path, tmp_path / "new")).table
    splits = {"n060": {"train"}, "n062": {"query", "gallery"}, "n083": {"gallery"}}
    assert table.groupby("identity")["split"].agg(set).to_dict() == splits
    assert set(table.loc[table["split"] == "query", "camera"]) == {87}
    with Image.open(tmp_path / "new" / table["path"][0]) as image:
        assert image.size == (256, 128)
