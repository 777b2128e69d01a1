"""`msinet compare`: results on the same queries, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from msinet_core.cli.shows import show
from msinet_core.errors import ReidError

if TYPE_CHECKING:
    import pandas as pd

    from msinet_core.retrieval import RetrievalResult

Results = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RESULT|RUN ...")]


def compare(
    results: Results,
    *,
    by: tuple[str, ...] = ("camera",),
    unit: Literal["query", "identity"] = "query",
    draws: int = 10_000,
    confidence: float = 0.95,
    to: Path | None = None,
) -> None:
    """Set results on the same queries side by side, each against the first.

    Differences in mAP and rank-1 with intervals of a paired bootstrap, queries won and lost, and
    the same for each camera.

    Args:
        results: Folders that `evaluate --save` wrote, or training runs, which are then scored.
        by: Columns of the query table to break the differences down by.
        unit: What the bootstrap draws: queries, or identities with all their queries (wider).
        draws: Of the bootstrap.
        confidence: Of the intervals.
        to: Folder for tables and pictures (needs the extra `lab`).
    """
    from msinet_core.retrieval import Bootstrap, comparison_table
    from msinet_core.retrieval.comparison import compared

    draw = show("comparison", "--to") if to is not None else None
    if len(results) < 2:
        raise ReidError("one result cannot be compared; give two or more")
    loaded = {name: _result(place) for name, place in _names(results).items()}
    how = Bootstrap(unit, draws, confidence)
    table = comparison_table(loaded, how)
    print(_in_points(table))
    names = list(loaded)
    parts: dict[str, pd.DataFrame] = {}
    for name in names[1:]:
        found = compared(loaded[names[0]], loaded[name], how)
        for column in by:
            if column != "camera" or found.table.get(column, found.table["path"]).notna().any():
                parts[f"{name} by {column}"] = found.breakdown(column)
    for title, part in parts.items():
        print(f"\n{title}\n{_in_points(part)}")
    if draw is not None:
        print(f"\ntables and pictures: {draw(loaded, to, table=table, parts=parts)}")


def _names(places: tuple[Path, ...]) -> dict[str, Path]:
    """A short name for each folder: its own, with as many of those above as tell them apart."""
    parts = [place.absolute().parts for place in places]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return dict(zip(names, places, strict=True))
    raise ReidError("a result was named twice; give different ones")


def _result(place: Path) -> RetrievalResult:
    """A saved result (the only one in a folder of them will do), or a run's, computed."""
    from msinet_core.retrieval import RetrievalResult, evaluate, load_model
    from msinet_core.runs.feeding import open_dataset
    from msinet_core.runs.folder import RunFolder

    if (place / "config.json").is_file():
        return evaluate(load_model(place, progress=True), open_dataset(RunFolder(place).config()))
    inside = sorted(place.glob("*/result.json")) if place.is_dir() else []
    if not (place / "result.json").exists() and len(inside) == 1:
        place = inside[0].parent
    elif len(inside) > 1:
        held = ", ".join(one.parent.name for one in inside[:5])
        raise ReidError(f"{str(place)!r} holds several results ({held}); name one of them")
    return RetrievalResult.load(place)


def _in_points(table: pd.DataFrame) -> str:
    """Fractions as per cent, differences with their intervals."""
    import pandas as pd

    shown = pd.DataFrame(index=table.index)
    for name in ("mAP", "rank1"):
        if name in table:
            shown[name] = table[name].map("{:.2%}".format)
    for name in ("mAP", "rank1"):
        columns = [f"{name}_{part}" for part in ("difference", "low", "high")]
        rows = zip(*(100 * table[column] for column in columns), strict=True)
        shown[f"{name} difference"] = [
            "" if pd.isna(d) else f"{d:+.2f} ({low:+.2f} to {high:+.2f})" for d, low, high in rows
        ]
    for name in ("queries", "won", "lost", "equal"):
        shown[name] = ["" if pd.isna(value) else f"{value:.0f}" for value in table[name]]
    return shown.to_string()
