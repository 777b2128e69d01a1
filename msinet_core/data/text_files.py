"""Tables and lists as people keep them: encodings, separators and other habits of spreadsheets.

What had to be guessed goes into `notes`, the list that each reader is given.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from msinet_core.data.labels import tidy
from msinet_core.data.roots import IMAGE_SUFFIXES, counted, refuse_escapes, shown, spelt_as_on_disk
from msinet_core.errors import ReidError
from msinet_core.files import read_bytes

LARGEST = 1 << 30  # bytes
NO_VALUE = ("", "NA", "nan", "NaN")


def read_text(file: Path, notes: list[str]) -> str:
    """A text in UTF-8 or UTF-16, with or without a byte order mark, or else in Latin-1, as
    Windows writes it.
    """
    content = read_bytes(file, LARGEST)
    if content is None:
        raise ReidError(f"there is no file {file}")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ReidError(f"{file} is a workbook, not text; save it as CSV")
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if 4 * text.count("\0") > len(text):  # UTF-16 that does not say so, or no text at all
            break
        if encoding in ("cp1252", "latin-1"):
            notes.append(f"{file.name} is not UTF-8; it was read as Latin-1 (Windows-1252)")
        return text
    raise ReidError(f"{file} cannot be read as text; save it as UTF-8")


def read_lines(file: Path, notes: list[str]) -> list[str]:
    """The lines of a text file that are not blank, stripped."""
    return [line.strip() for line in read_text(file, notes).splitlines() if line.strip()]


def read_list(file: Path, notes: list[str]) -> list[tuple[str, int | None]]:
    """`path label` a line, the label being optional: paths with forward slashes (`.jpg` where a
    path has no suffix), and labels. Paths are relative, to a folder that they do not leave.
    """
    entries = []
    for line in read_lines(file, notes):
        match = re.fullmatch(r"(.*\S)\s+(-?\d{1,18})", line)
        path = (match[1] if match else line).replace("\\", "/")
        path = path if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES else path + ".jpg"
        entries.append((path, int(match[2]) if match else None))
    refuse_escapes((path for path, _ in entries), file, file.parent)
    return entries


def read_csv(file: Path, texts: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """A CSV with a heading, one row a record; the index tells its line in the file, from 1.

    The columns `texts` come as texts without blanks around them, '' where nothing is written; the
    others as pandas would infer them. Commas, or semicolons or tabs where the heading has no comma;
    blank lines, commas at the ends of lines, and other capitals in a heading are no matter.
    """
    records, separator = _records(file, read_text(file, notes))
    if not records:
        raise ReidError(f"{file} is empty")
    if separator != ",":
        notes.append(f"{file.name} is separated by {separator!r}")
    names = _heading(file, records[0][1], texts)
    rows = []
    for line, cells in records[1:]:
        extra = [cell for cell in cells[len(names) :] if cell.strip()]
        if extra:
            raise ReidError(
                f"{file} cannot be read as a comma-separated table: line {line} has {len(cells)} "
                f"fields, the heading {len(names)}"
            )
        rows.append([*cells[: len(names)], *[""] * (len(names) - len(cells))])
    lines = pd.Index([line for line, _ in records[1:]])
    table = pd.DataFrame(rows, index=lines, columns=names, dtype="str")
    hollow = [name for name in names if name.startswith("unnamed ") and not table[name].any()]
    table = table.drop(columns=hollow)
    for name in table.columns:
        stripped = table[name].str.strip()
        if blanks := int((stripped != table[name]).sum()):
            notes.append(f"{name}: blanks behind {counted(blanks, 'value')} taken away")
        table[name] = stripped if name in texts else inferred(stripped)
    if "path" in table.columns:
        table["path"] = table["path"].str.replace("\\", "/")
        refuse_escapes(table["path"], file, file.parent)
        table["path"] = spelt_as_on_disk(file.parent, table["path"])
    return table


def inferred(column: pd.Series) -> pd.Series:
    """A text column as numbers or truths, where all its values are; NA where nothing is written."""
    column = column.mask(column.isin(NO_VALUE))
    present = column.dropna()
    if present.empty:
        return column.astype("float64")
    if present.isin(["True", "False"]).all() and len(present) == len(column):
        return column == "True"
    numbers = pd.to_numeric(present, errors="coerce")
    return pd.to_numeric(column) if numbers.notna().all() else column


def _records(file: Path, text: str) -> tuple[list[tuple[int, list[str]]], str]:
    """Records that are not blank, each with the line it begins in, and what separates fields."""
    heading = text.lstrip().partition("\n")[0]
    if match := re.fullmatch(r"sep=(.)\s*", heading):  # a spreadsheet's own way of saying it
        separator, text = match[1], text.replace(heading, "", 1)
    else:
        separator = next((mark for mark in ",;\t" if mark in heading), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    records, line = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ReidError(
            f"{file} cannot be read as a comma-separated table: line {line}: {error}"
        ) from None
    return records, separator


def _heading(file: Path, cells: list[str], texts: Sequence[str]) -> list[str]:
    """Column names, numbered where one is missing."""
    names = [tidy(cell) or f"unnamed {n}" for n, cell in enumerate(cells, 1)]
    for text in texts:
        alike = [n for n, name in enumerate(names) if name.casefold() == text]
        if text not in names and len(alike) == 1:
            names[alike[0]] = text
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ReidError(f"the heading of {file} names {shown(sorted(twice))} twice; rename one")
    return names
