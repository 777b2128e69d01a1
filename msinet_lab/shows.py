"""What the core's commands have drawn (entry points `msinet.shows`): pictures and pages in a folder
of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from msinet_core.files import replacing_folder
from msinet_core.retrieval import Answer, Embedder, RetrievalResult
from msinet_lab.figures.comparison import cmc_curves, difference_figure, query_scatter
from msinet_lab.figures.query import answer_page
from msinet_lab.figures.style import save
from msinet_lab.report import Subject, described, write_report


def comparison(
    results: Mapping[str, RetrievalResult],
    folder: Path,
    *,
    table: pd.DataFrame,
    parts: Mapping[str, pd.DataFrame],
) -> Path:
    """Tables (CSV) and pictures of `msinet compare`: differences with their intervals, CMC, and the
    queries of the first against each other result.
    """
    names = list(results)
    with replacing_folder(folder, "comparison") as place:
        table.to_csv(place / "comparison.csv")
        save(difference_figure(table.iloc[1:], f"Against {names[0]}"), place / "comparison.png")
        save(cmc_curves({n: r.ranking for n, r in results.items()}), place / "cmc.png")
        for number, name in enumerate(names[1:], 1):
            pair = {names[0]: results[names[0]], name: results[name]}
            save(query_scatter(pair), place / f"queries-{number}.png")
        for number, (title, part) in enumerate(parts.items(), 1):
            part.to_csv(place / f"part-{number}.csv")
            save(difference_figure(part, title), place / f"part-{number}.png")
    return folder


def report(
    results: Mapping[str, RetrievalResult],
    folder: Path,
    *,
    roots: Mapping[str, Path],
    embedder: Embedder | None = None,
) -> Path:
    """The page of `msinet evaluate --report`."""
    about = "" if embedder is None else described(embedder)
    subjects = [Subject(name, one, root=roots[name], about=about) for name, one in results.items()]
    return write_report(subjects, folder)


def answer(found: Answer, folder: Path) -> Path:
    """A page of one file with what `msinet query` found, and its table as CSV."""
    with replacing_folder(folder, "answer") as place:
        found.table.to_csv(place / "answer.csv", index=False)
        (place / "index.html").write_text(answer_page(found), encoding="utf-8")
    return folder / "index.html"
