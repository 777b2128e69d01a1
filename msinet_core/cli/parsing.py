"""From words to a call: a command is one typed function, its parameters become tyro's flags."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro
from tyro.extras import SubcommandApp

from msinet_core import functions
from msinet_core.options import DATA_SETS

ABOUT = (
    "A workbench for object re-identification with MSINet: search, train, retrieve and look. "
    "`msinet COMMAND --help` explains a command's options; `msinet --version` says which this is."
)

Run = Annotated[Path, tyro.conf.arg(help="The run folder.")]
DataSet = Annotated[str, tyro.conf.arg(help=f"Data set: {', '.join(DATA_SETS)}.")]
Options = Annotated[tuple[str, ...], tyro.conf.arg(help="Options of the data set as name=value.")]
Imports = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        name="import",
        metavar="MODULE",
        help="First import this module: it registers operations of your own, or holds functions "
        "that a run folder names.",
    ),
    tyro.conf.UseAppendAction,
]


@dataclass(frozen=True)
class Pictures:
    """How a network's pictures are prepared, where its source does not say so or says otherwise.

    Args:
        mean: Of red, green and blue, as shares of white: pixels are (value / 255 - mean) / std.
        std: Likewise.
        height: Of the network's pictures, pixels.
        width: Of the network's pictures, pixels.
        interpolation: Of the resizing.
        output: Which of several outputs of a network (key, name or place) or of several arrays of a
            file are the features.
    """

    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    height: int | None = None
    width: int | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    output: str | None = None


AS_SAID = Pictures()  # by the source


@dataclass(frozen=True)
class Command:
    """A function whose parameters are flags; one that opens or makes runs also takes `--import`."""

    function: Callable[..., None]
    aliases: tuple[str, ...] = ()
    takes_imports: bool = True


@dataclass(frozen=True)
class Call:
    """What the words ask for, not yet done."""

    function: Callable[..., None]
    positional: tuple[Any, ...]
    given: dict[str, Any]
    imports: tuple[str, ...]

    def __call__(self) -> None:
        for module in self.imports:
            functions.trust(module, f"--import {module}")
        self.function(*self.positional, **self.given)


def parse(words: Sequence[str], commands: Mapping[str, Command]) -> Call:
    """The call that the words ask for. Help and bad words end the program, as everywhere."""
    app, groups = SubcommandApp(), dict[str, SubcommandApp]()
    for full_name, command in commands.items():
        group, _, name = full_name.rpartition(" ")
        if group and group not in groups:
            members = [one for one in commands if one.startswith(f"{group} ")]
            groups[group] = SubcommandApp()
            app.command(groups[group], name=group, help=f"See msinet {', '.join(members)}.")
        named = list(words[:2]) == full_name.split() or words[:1] == [full_name]
        add = (groups[group] if group else app).command(
            name=name,
            aliases=command.aliases,
            help=None if named else _first_line(command.function),
        )
        add(_deferred(command))
    if not words or list(words) in [[group] for group in groups]:
        words = [*words, "--help"]
    return app.cli(
        prog="msinet", description=ABOUT, args=words, config=(tyro.conf.OmitArgPrefixes,)
    )


def _deferred(command: Command) -> Callable[..., Call]:
    """The command's function as tyro sees it: with the flags that all share, and called later."""
    signature, hints = inspect.signature(command.function), _hints(command.function)
    shared: dict[str, tuple[Any, Any]] = {"debug": (Debug, False)}
    if command.takes_imports and "imports" not in hints:
        shared["imports"] = (Imports, ())

    def later(*positional: Any, **given: Any) -> Call:
        imports = given.get("imports", ())
        wanted = {name: _home(value) for name, value in given.items() if name not in shared}
        return Call(command.function, tuple(map(_home, positional)), wanted, imports)

    later.__doc__ = command.function.__doc__
    later.__annotations__ = {**hints, **{name: hint for name, (hint, _) in shared.items()}}
    later.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            *signature.parameters.values(),
            *(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
                for name, (_, default) in shared.items()
            ),
        ]
    )
    return later


Debug = Annotated[
    bool,
    tyro.conf.arg(help="Show the traceback of an unexpected error."),
    tyro.conf.FlagCreatePairsOff,
]


def _hints(function: Callable[..., None]) -> dict[str, Any]:
    return get_type_hints(function, include_extras=True)


def _first_line(function: Callable[..., None]) -> str:
    return inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _home(value: Any) -> Any:
    """A path, or each of several, with `~` expanded: no shell does so in `--run=~/x`."""
    if isinstance(value, Path):
        return value.expanduser()
    return tuple(map(_home, value)) if isinstance(value, tuple) else value
