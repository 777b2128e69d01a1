"""The page: one HTML file with everything inside, which opens from a disk and runs nothing."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msinet_core import __version__
from msinet_core.errors import ReidError
from msinet_core.files import read_bytes, replace_file
from msinet_lab.figures.elements import LOOK, Html, table, tag, together
from msinet_lab.report.comparison import compared
from msinet_lab.report.results import result_part
from msinet_lab.report.runs import run_part
from msinet_lab.report.subjects import Subject

LIMIT = 10_000_000  # bytes of a page
MARK = "made by msinet report"
LISTS = 30  # best and worst rank lists on a page, at most
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "matplotlib", "timm")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root{color-scheme:light dark}
body{margin:0 auto;max-width:1080px;padding:24px 20px 60px;background:var(--page);
font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:26px;margin:0 0 4px}h2{font-size:20px;margin:40px 0 8px;padding-top:12px;
border-top:1px solid var(--grid)}h3{font-size:16px;margin:22px 0 6px}
p{margin:6px 0}.note{border-left:3px solid var(--other);padding:2px 10px;background:var(--card)}
th,td:first-child{overflow-wrap:normal}nav a{margin-right:14px}a{color:var(--query)}
"""


def write_report(subjects: Sequence[Subject], to: str | Path, title: str = "") -> Path:
    """Write the page of results and runs to `to`, an .html file, or into a folder as report.html.

    `ReidError` where there is nothing to tell, and where a file lies that is no report.
    """
    if not subjects:
        raise ReidError("there is nothing to report; name a saved result or a run folder")
    place = Path(to)
    if place.suffix.lower() not in (".html", ".htm"):
        place = place / "report.html"
    _require_report(place)
    page = page_of(subjects, title)
    if len(page.encode()) > LIMIT:
        warnings.warn("the page would be too large with its photographs: left out", stacklevel=2)
        page = page_of(subjects, title, photographs=False)
    replace_file(place, page)
    return place


def _require_report(place: Path) -> None:
    """`ReidError` unless there is nothing, or a page that was made here."""
    head = read_bytes(place, 100 * LIMIT)
    if head is not None and MARK.encode() not in head[:2000]:
        raise ReidError(f"{str(place)!r} is no report and is not replaced; choose another name")


def page_of(subjects: Sequence[Subject], title: str = "", photographs: bool = True) -> Html:
    """The whole page."""
    title = title or _title(subjects)
    lists = max(1, min(5, LISTS // (2 * len(subjects)))) if photographs else 0
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=f"msinet-core {__version__}, {MARK}"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", title),
        tag("style", Html(LOOK + STYLE)),
    )
    made = time.strftime("%Y-%m-%d %H:%M")
    body = tag(
        "body",
        tag("h1", title),
        tag("p", f"Made {made} with msinet-core {__version__}.", class_="faint"),
        _contents(subjects),
        compared(subjects),
        [_part(number, subject, lists) for number, subject in enumerate(subjects, 1)],
        _versions(),
        class_="msinet",
    )
    return together(Html("<!doctype html>\n"), tag("html", head, body, lang="en"))


def _title(subjects: Sequence[Subject]) -> str:
    names = [subject.name for subject in subjects]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Re-identification report: {', '.join(names[:3])}{more}"


def _contents(subjects: Sequence[Subject]) -> Html | None:
    if len(subjects) < 2:
        return None
    links = [tag("a", one.name, href=f"#part-{n}") for n, one in enumerate(subjects, 1)]
    return tag("nav", links)


def _part(number: int, subject: Subject, lists: int) -> Html:
    return tag(
        "section",
        tag("h2", subject.name),
        tag("p", subject.note, class_="note") if subject.note else None,
        result_part(subject, lists) if subject.result is not None else None,
        run_part(subject.run) if subject.run is not None else None,
        id=f"part-{number}",
    )


def _versions() -> Html:
    found = [("msinet-core", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    found.append(("system", platform.platform()))
    note = "Of this page; a run may have been carried out with others."
    return tag("section", tag("h2", "Versions"), tag("p", note, class_="faint"), table((), found))
