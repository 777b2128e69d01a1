"""Build the static pages: the documentation, the notebooks as executed, the API.

    python docs/site/build.py --to build/site [--no-execute]

The repository's own layout is copied into `build/site/source`, so that links between pages hold,
the notebooks are executed there one after the other (minutes), and Sphinx makes `build/site/html`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "data/README.md",
    "docs/*.md",
    "figures/**/*.png",
    "benchmarks/results/*.csv",
    "benchmarks/results/*.json",
    "benchmarks/results/*.png",
    "notebooks/*.ipynb",
    "msinet_core/**/*.py",  # which the pages link to
)
READING = (
    *("method", "reading-order", "results", "data-sets", "command-line", "gpus", "files"),
    *("search-from-python", "add-an-operation"),
)
CELL_LIMIT = 600  # seconds


def lay_out(source: Path) -> list[Path]:
    """Copy the pages, keeping their places; gives the notebooks among them."""
    source.mkdir(parents=True, exist_ok=True)
    for pattern in PAGES:
        for file in sorted(REPOSITORY.glob(pattern)):
            place = source / file.relative_to(REPOSITORY)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    for name in ("conf.py", "wide.css"):
        shutil.copyfile(HERE / name, source / name)
    (source / "index.md").write_text(index(), encoding="utf-8")
    return sorted((source / "notebooks").glob("*.ipynb"))


def index() -> str:
    """The README, with what Sphinx needs to find the other pages."""
    others = [path.stem for path in sorted((REPOSITORY / "docs").glob("*.md"))]
    docs = [f"docs/{name}" for name in dict.fromkeys([*READING, *others])]
    names = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    trees = (
        ("Notebooks", [f"notebooks/{name}" for name in names]),
        ("Pages", [*docs, "data/README", "CONTRIBUTING", "CHANGELOG"]),
        ("API", ["api/msinet_core/modules", "api/msinet_lab/modules"]),
    )
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return "\n\n".join([text, *(toctree(*tree) for tree in trees)]) + "\n"


def toctree(caption: str, pages: Iterable[str]) -> str:
    """A list of pages for the side of every page."""
    lines = "\n".join(pages)
    return f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```"


def execute(path: Path) -> None:
    """Run a notebook where it lies, and keep what it shows; widgets leave their pictures."""
    started = time.perf_counter()
    notebook = nbformat.read(path, 4)
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    nbformat.write(notebook, path)
    print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=REPOSITORY / "build" / "site")
    parser.add_argument("--no-execute", action="store_true", help="show the notebooks' code only")
    parser.add_argument("--only", nargs="*", help="execute only these notebooks, by their number")
    given = parser.parse_args()
    source, html = given.to / "source", given.to / "html"
    for notebook in lay_out(source):
        wanted = given.only is None or notebook.name[:2] in given.only
        if wanted and not given.no_execute:
            execute(notebook)
    words = ["-m", "sphinx", "--builder", "html", "--jobs", "auto", "-q", str(source), str(html)]
    status = subprocess.run([sys.executable, *words], check=False).returncode
    if status == 0:
        print(html / "index.html")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
