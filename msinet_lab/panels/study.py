"""Read a study's table: a part at a time, and what became of each claim."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from msinet_core.errors import ReidError
from msinet_lab.figures.study import TITLES, part_figure, verdict_figure
from msinet_lab.panels.base import Panel, dropdown, row, table_html
from msinet_lab.study import Study, StudySize, summary, verdicts

ALL = "verdicts"
TRIAL = StudySize(
    train_identities=12,
    test_identities=8,
    images_per_identity=12,
    tall=(32, 32),
    square=(32, 32),
    channels=(16, 64, 64, 64),
    train_epochs=1,
    identities_per_batch=4,
)


class StudyPanel(Panel):
    """The table of `msinet study`: its verdicts, and each part's scores by setting and seed."""

    def __init__(self, rows: pd.DataFrame, *, saves_to: str | Path = "figures") -> None:
        super().__init__("study", saves_to)
        if rows.empty:
            raise ReidError("this study has no rows; carry out a part of it with `msinet study`")
        self.rows = rows
        parts = [(f"{part}: {TITLES[part]}", part) for part in sorted(set(rows["part"]))]
        options = [("what became of each claim", ALL), *parts]
        self.part = self.tag(dropdown("show", options, ALL, width="420px"), "part")
        self.table = self.text("table")
        self.picture("picture")
        self.children = (
            row(self.part, self.save_button()),
            self.pictures["picture"],
            self.table,
            self.status,
        )
        self.react([self.part])
        self.attempt(self.draw)

    def draw(self) -> None:
        part = self.part.value
        if part == ALL:
            self.show("picture", verdict_figure(self.rows))
            table = verdicts(self.rows)
        else:
            self.show("picture", part_figure(self.rows, part))
            table = summary(self.rows[self.rows["part"] == part])
        self.tell("table", table_html(in_percent(table), index=False))


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """A study's table with its shares (mAP, rank-1, differences) in per cent, and so called."""
    shares = {
        "mAP": "mAP in %",
        "deviation": "deviation in points",
        "rank1": "rank-1 in %",
        "difference": "difference in points of mAP",
        "low": "95 % from",
        "high": "to",
    }
    there = {name: words for name, words in shares.items() if name in table}
    percent = {name: (100 * table[name]).round(1) for name in there}
    return table.assign(**percent).rename(columns=there)


def read_study(table: str | Path, trial: str | Path) -> pd.DataFrame:
    """The rows of a study's CSV.

    Where there is none, those of a trial too small to mean anything, in folder `trial`.
    """
    if Path(table).is_file():
        return pd.read_csv(table)
    study = Study(Path(trial), TRIAL, seeds=(0, 1), kinds=("people",), progress=False)
    return study.carry_out(("c",))
