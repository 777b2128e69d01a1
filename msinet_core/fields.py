"""A field's value as its annotation wants it: plain, or refused in one sentence. No torch."""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from msinet_core.errors import ReidError


def plain(name: str, value: object, annotation: Any) -> Any:
    """`value` as `annotation` says: bool, int, float, str, Literal, tuple of these, or None.

    Numbers of numpy become Python's, paths become text, lists become tuples. Anything else is a
    `ReidError` that names the field.

    >>> from pathlib import Path
    >>> plain("root", Path("data/market"), str), plain("milestones", [1, 2], tuple[int, ...] | None)
    ('data/market', (1, 2))
    """
    try:
        return _plain(value, annotation)
    except (TypeError, ValueError, OverflowError):
        raise ReidError(f"{name} is {_words(annotation)}; got {_shown(value)}") from None


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # more digits than Python writes out
        return "a longer number"


def _plain(value: Any, annotation: Any) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        kinds = [kind for kind in inner if kind is not NoneType]
        text = isinstance(value, str | os.PathLike)
        if len(kinds) > 1:  # text, or a tuple of texts
            kinds = [kind for kind in kinds if (kind is str) == text]
        return _plain(value, kinds[0])
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise ValueError
        return str(value)
    if origin is tuple:
        return _plain_tuple(value, inner)
    return _SCALARS[annotation](value)


def _plain_tuple(value: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | dict | set) or not isinstance(value, Iterable):
        raise TypeError
    items = tuple(value)
    kinds = inner[:1] * len(items) if inner[-1] is Ellipsis else inner
    return tuple(_plain(item, kind) for item, kind in zip(items, kinds, strict=True))


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool", "bool_"):  # numpy's
        return bool(value)
    raise TypeError


def _int(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = operator.index(value)
    if not -(1 << 63) <= number < 1 << 63:  # what torch, numpy and files can hold
        raise OverflowError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _str(value: Any) -> str:
    text = os.fspath(value)  # of text: itself
    if not isinstance(text, str):
        raise TypeError
    return str(text)


_SCALARS = {bool: _bool, int: _int, float: _float, str: _str}
_NAMES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "texts", bool: "truth values"}


def _words(annotation: Any) -> str:
    """What an annotation wants, in words: `a tuple of texts`, `one of a, b`, `... or None`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join("None" if kind is NoneType else _words(kind) for kind in inner)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a tuple of {count}{_PLURALS[inner[0]]}"
    return _NAMES[annotation]
