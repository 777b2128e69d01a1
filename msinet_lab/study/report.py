"""The study as text: a table for each part and one of the claims, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from msinet_lab.study.verdicts import NOT_THE_PAPERS, summary, verdicts

TITLES = {
    "a": "Twins split, overlaps, and the reference's leaking step (searched, then trained)",
    "b": "Searched against the paper's, uniform and random genotypes",
    "c": "Spatial alignment, trained on domain A and scored on B",
    "d": "MSINet against ResNets under the same heads, at full width, unpretrained unless a row "
    "says otherwise; not the paper's claim, whose networks are pretrained",
}


def markdown(rows: pd.DataFrame) -> str:
    """mAP in percent, mean and deviation over the seeds, of every setting; then what became of each
    claim.
    """
    families = rows["setting"].str.replace(r"^random \d+$", "random", regex=True)
    found = summary(rows.assign(setting=families))
    parts = [
        _part(title, found[found["part"] == part])
        for part, title in TITLES.items()
        if (found["part"] == part).any()
    ]
    return "\n\n".join([*parts, _claims(verdicts(rows))]) + "\n"


def _part(title: str, table: pd.DataFrame) -> str:
    spread = [_spread(line) for line in table.to_dict("records")]
    cells = table.assign(spread=spread).pivot(index="setting", columns="data", values="spread")
    cells = cells.reindex(table["setting"].unique())[table["data"].unique()].fillna("")
    lines = [[str(setting), *line] for setting, line in zip(cells.index, cells.values, strict=True)]
    return f"*{title}*\n\n" + _table([["mAP in %", *cells.columns], *lines])


def _spread(line: dict[Any, Any]) -> str:
    mean = f"{100 * line['mAP']:.1f}"
    return mean if pd.isna(line["deviation"]) else f"{mean} ± {100 * line['deviation']:.1f}"


def _claims(table: pd.DataFrame) -> str:
    """One line a claim: over all data sets together where there are several."""
    several = table.loc[table["data"] == "all", "claim"]
    lines = [["claim", "difference in mAP points (95 %)", "pairs", "verdict"]]
    for line in table[(table["data"] == "all") | ~table["claim"].isin(several)].to_dict("records"):
        mean, low, high = (f"{100 * line[name]:+.1f}" for name in ("difference", "low", "high"))
        verdict = str(line["verdict"])
        if line["part"] == NOT_THE_PAPERS:
            verdict += " (not the paper's claim)"
        claim = f"{line['part']}: {line['claim']}"
        lines.append([claim, f"{mean} ({low} to {high})", str(line["pairs"]), verdict])
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rest])
