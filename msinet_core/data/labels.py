"""Identities and cameras: whole numbers or texts, whatever a table or an array holds them as."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

INVISIBLE = "\u200b\ufeff"  # zero-width space and byte order mark, which no `strip` takes away


def tidy(text: str) -> str:
    """A label as it is meant: no blanks around it, single ones within, letters in Unicode's NFC."""
    plain = text if text.isascii() else unicodedata.normalize("NFC", text.strip(INVISIBLE))
    return " ".join(plain.split())


def integers_or_text(column: pd.Series, padded: bool = True) -> pd.Series:
    """A text column as integers where every value is a whole number, else as it is.

    padded: whether 0042 is a number too (in file names it is; in a table of the user's, where 042
    may be somebody else, it stays text). `42.0`, as spreadsheets write it, is the number 42.
    """
    if column.dtype.kind in "iu" or column.isna().any():
        return column
    text = column.astype(str)
    number = (r"-?\d{1,18}" if padded else r"(?:0|-?[1-9]\d{0,17})") + r"(?:\.0+)?"
    if not text.str.fullmatch(number).all():
        return text
    return text.str.partition(".")[0].astype("int64")


def identities(given: Any) -> tuple[Any, ...]:
    """A tuple of identities from one, several, or `-1,0` as the command line gives them."""
    if not isinstance(given, str):
        return (given,) if isinstance(given, int) else tuple(given)
    if not given:
        return ()
    return tuple(integers_or_text(pd.Series(given.split(","), dtype="str"), padded=False).tolist())


def label_column(column: pd.Series) -> tuple[pd.Series, str]:
    """A column without gaps as int64 or as tidy text, and what was changed, '' for nothing worth
    telling. Categories, dates, decimals and mixtures of numbers and text become what they show.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.dtype.kind in "iuf" and len(column) and _whole(column):
        return column.astype("int64"), ""
    values = column.tolist()
    kinds = {type(value) for value in values}
    if kinds and kinds <= {int, float, np.int64} and _whole(pd.to_numeric(column)):
        return column.astype("int64"), ""
    texts = pd.Series([tidy(_shown(value)) for value in values], index=column.index, dtype=object)
    if kinds <= {str}:
        changed = sum(a != b for a, b in zip(values, texts, strict=True))
        return texts, f"blanks taken away around {changed:,} of its values" if changed else ""
    mixed = str in kinds and len(kinds) > 1
    return texts, "mixes numbers and text; all were taken as text" if mixed else ""


def in_kind(names: Sequence[Any], labels: Iterable[Any]) -> tuple[Any, ...]:
    """`names` (such as junk identities, as an option gives them) as `labels` write them.

    -1, "-1" and " -1" all name the label -1 or "-1"; the number 0 also names the texts that read as
    it ("0000"), where no label is "0" itself. A name that no label has stays as it is.
    """
    known = set(labels)
    found: list[Any] = []
    for name in names:
        text = tidy(str(name))
        same = [name] if name in known else [text] if text in known else []
        if not same and (number := _number(name)) is not None:
            loose = not isinstance(name, str)
            same = [
                label
                for label in sorted(known, key=str)
                if (loose or not isinstance(label, str)) and _number(label) == number
            ]
        found += [value for value in same or [name] if value not in found]
    return tuple(found)


def _whole(column: pd.Series) -> bool:
    """Whether all values are whole numbers that int64 holds."""
    return bool(((column % 1 == 0) & (column.abs() < 2**63)).all())


def _shown(value: Any) -> str:
    """A value as a person would write it: 3.0 as 3, a date without its midnight."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).removesuffix(" 00:00:00")


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
