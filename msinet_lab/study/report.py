"""The study as text: a table for each part and one of the claims, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from msinet_lab.study.verdicts import summary, verdicts

TITLES = {
    "a": "Twins split, overlaps, and the reference's leaking step (genotype searched, then trained from scratch)",
    "b": "Searched against the paper's, uniform and random genotypes",
    "c": "Spatial alignment, trained on domain A and scored on B",
    "d": "MSINet against ResNets, all from scratch at full width",
}


def markdown(rows: pd.DataFrame) -> str:
    """mAP in percent, mean and deviation over the seeds, of every setting; then what became of each
    claim.
    """
    found = summary(
        rows.assign(setting=rows["setting"].str.replace(r"^random \d+$", "random", regex=True))
    )
    parts = [
        _part(title, found[found["part"] == part])
        for part, title in TITLES.items()
        if (found["part"] == part).any()
    ]
    return "\n\n".join([*parts, _claims(verdicts(rows))]) + "\n"


def _part(title: str, table: pd.DataFrame) -> str:
    datasets = list(dict.fromkeys(table["data"]))
    lines = []
    for setting in dict.fromkeys(table["setting"]):
        own = table[table["setting"] == setting].set_index("data")
        cells = [_spread(own.loc[name]) if name in own.index else "" for name in datasets]
        lines.append([str(setting), *cells])
    return f"*{title}*\n\n" + _table([["mAP in %", *datasets], *lines])


def _spread(line: pd.Series) -> str:
    mean = f"{100 * line['mAP']:.1f}"
    return mean if pd.isna(line["deviation"]) else f"{mean} ± {100 * line['deviation']:.1f}"


def _claims(table: pd.DataFrame) -> str:
    """One line a claim: over all data sets together where there are several."""
    whole = table[
        (table["data"] == "all") | ~table["claim"].isin(table.loc[table["data"] == "all", "claim"])
    ]
    lines = [
        [
            f"{line['part']}: {line['claim']}",
            f"{100 * line['difference']:+.1f} ({100 * line['low']:+.1f} to {100 * line['high']:+.1f})",
            str(line["pairs"]),
            str(line["verdict"]),
        ]
        for line in whole.to_dict("records")
    ]
    return _table([["claim", "difference in mAP points (95 %)", "pairs", "verdict"], *lines])


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rest]
    )
