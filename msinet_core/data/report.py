"""`DataReport`: what checks found, as a table with a verdict and remedies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from html import escape
from textwrap import wrap

import pandas as pd

from msinet_core.data.roots import counted
from msinet_core.errors import ReidError

SEVERITIES = ("ok", "note", "warning", "error")
COLOURS = {"ok": "#2a7f3f", "note": "#555555", "warning": "#9a6700", "error": "#b3261e"}


@dataclass(frozen=True)
class Finding:
    """One thing checked. `items` lists all that it is about (paths, identities), for the user to
    mend.
    """

    check: str
    severity: str
    found: str
    remedy: str = ""
    items: tuple[object, ...] = field(default=(), repr=False)


def _finding(
    severity: str, check: str, found: str, remedy: str = "", items: tuple[object, ...] = ()
) -> Finding:
    return Finding(check, severity, found, remedy, items)


error, warning, note, ok = (
    partial(_finding, severity) for severity in ("error", "warning", "note", "ok")
)


@dataclass(frozen=True)
class DataReport:
    """Findings over a data set. Prints as a table in terminals and notebooks."""

    name: str
    findings: tuple[Finding, ...]
    summary: pd.DataFrame  # images, identities and cameras of each split

    @property
    def ok(self) -> bool:
        """True where nothing stands in the way of work (there may be warnings)."""
        return not self.of("error")

    @property
    def table(self) -> pd.DataFrame:
        """One row a finding: check, severity, found, remedy."""
        rows = [(f.check, f.severity, f.found, f.remedy) for f in self.findings]
        return pd.DataFrame(rows, columns=["check", "severity", "found", "remedy"])

    @property
    def details(self) -> Mapping[str, tuple[object, ...]]:
        """For each check that concerns certain images or identities, all of them."""
        return {f.check: f.items for f in self.findings if f.items}

    def of(self, severity: str) -> list[Finding]:
        return [f for f in self.findings if f.severity == severity]

    def raise_if_broken(self) -> DataReport:
        """This report, or a `ReidError` with every error and its remedy."""
        errors = self.of("error")
        if errors:
            told = "; ".join(f"{f.found} ({f.remedy})" if f.remedy else f.found for f in errors)
            raise ReidError(f"data set {self.name!r} cannot be used: {told}")
        return self

    @property
    def verdict(self) -> str:
        errors, warnings = len(self.of("error")), len(self.of("warning"))
        if errors:
            return f"BROKEN: {counted(errors, 'error')}, {counted(warnings, 'warning')}"
        return f"usable, {counted(warnings, 'warning')}" if warnings else "sound"

    def __repr__(self) -> str:
        width = max((len(f.check) for f in self.findings), default=5)
        lines = [f"Data set {self.name!r}: {self.verdict}", self.summary.to_string(), ""]
        for f in self.findings:
            lines += _wrapped(f"{f.severity:<7}  {f.check:<{width}}  ", f.found)
            if f.remedy:
                lines += _wrapped(" " * (11 + width) + "-> ", f.remedy)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='color:{COLOURS[f.severity]}'><b>{f.severity}</b></td>"
            f"<td>{escape(f.check)}</td><td style='text-align:left'>{escape(f.found)}</td>"
            f"<td style='text-align:left'>{escape(f.remedy)}</td></tr>"
            for f in self.findings
        )
        return (
            f"<b>Data set {escape(self.name)}: {escape(self.verdict)}</b>{self.summary.to_html()}"
            f"<table><tr><th></th><th>check</th><th>found</th><th>remedy</th></tr>{rows}</table>"
        )


def _wrapped(head: str, text: str, width: int = 110) -> list[str]:
    return wrap(
        text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    ) or [head]
