"""Functions of the user's own, by the name `package.module:function`: run because the user named
them, never because a file did.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

from msinet_core.errors import ReidError

_NAME = re.compile(r"(?!timm:|torchvision:)[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
_TRUSTED: set[str] = set()  # modules that the user of this process named


def is_function_name(text: str) -> bool:
    """Whether a text is the name of a function in a module.

    >>> [is_function_name(text) for text in ("my.nets:tall", "timm:resnet18", "runs/a", "C:/x")]
    [True, False, False, False]
    """
    return _NAME.fullmatch(text) is not None


def trust(name: str, asked: str = "") -> None:
    """Import a module, or that of `package.module:function`, also from the current folder, and let
    files name its functions from now on. For names that the user wrote (`asked`: as what).
    """
    module = name.partition(":")[0]
    _import(module, asked or name)
    _TRUSTED.add(module)


def _import(module: str, asked: str) -> None:
    """Import what the user named, also from the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        hint = f"; give its name, {module[:-3]}" if module.endswith(".py") else ""
        raise ReidError(
            f"{asked}: no such module in this folder or among what is installed{hint}"
        ) from None


def call(name: str) -> Any:
    """What the function of that name gives, called without arguments; `ReidError` where nobody
    named its module in this process, or it is none.
    """
    module, _, function = name.partition(":")
    if module not in _TRUSTED:
        raise ReidError(
            f"{name!r} is a function of somebody's own, and nothing is run because a file names "
            f"it; if you trust it: --import {module} (in Python, msinet_core.functions.trust"
            f"({module!r}))"
        )
    found = getattr(sys.modules[module], function, None)
    if not callable(found):
        raise ReidError(f"module {module!r} has no function {function!r}; check the name")
    return found()
