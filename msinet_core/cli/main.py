"""The command line: `msinet data | search | train | evaluate | embed | export | trust | study |
describe | demo`.

This file finds the command that the words name, prints errors as one line and gives the exit
status; what the commands do is in the modules beside it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from msinet_core.cli import data, networks
from msinet_core.cli.parsing import Command, plain
from msinet_core.cli.work import working
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import Elsewhere, ReidError, Stopped

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status (0 done, 2 for a `ReidError`, 130 stopped)."""
    words = list(sys.argv[1:] if argv is None else argv)
    command, name, rest = _find(words)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        command(name, rest)
    except Elsewhere:
        return 2  # the main process says it
    except ReidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped:
        return INTERRUPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    from msinet_core.runs.processes import (
        leave,  # slow to import, and after most commands it is there
    )

    leave()
    return 0


def _find(words: list[str]) -> tuple[Command, str, list[str]]:
    """The command that the first words name, its full name, and the words that are left."""
    if not words or words[0] in ("-h", "--help"):
        print(_overview("msinet", COMMANDS))
        raise SystemExit(0)
    if words[0] == "--version":
        from msinet_core import __version__

        print(f"msinet {__version__}")
        raise SystemExit(0)
    for depth in (2, 1):
        name = " ".join(words[:depth])
        if name in COMMANDS:
            function, _ = COMMANDS[name]
            return function, f"msinet {name}", words[depth:]
    group = {name: entry for name, entry in COMMANDS.items() if name.startswith(f"{words[0]} ")}
    if group:
        print(_overview(f"msinet {words[0]}", group))
        raise SystemExit(0 if len(words) == 1 or words[1] in ("-h", "--help") else 2)
    print(
        f"error: there is no command {words[0]!r}\n\n{_overview('msinet', COMMANDS)}",
        file=sys.stderr,
    )
    raise SystemExit(2)


def _overview(name: str, commands: dict[str, Any]) -> str:
    width = max(map(len, commands)) + 2
    lines = "\n".join(f"  {command:<{width}}{text}" for command, (_, text) in commands.items())
    return f"usage: {name} COMMAND [options]\n\n{lines}\n\nmsinet COMMAND --help explains a command's options."


_search = working(
    SearchConfig,
    "msinet_core.search",
    "Search an architecture with the twins contrastive mechanism.",
)
_train = working(
    TrainConfig, "msinet_core.training", "Train the network of a genotype and evaluate it."
)

COMMANDS: dict[str, tuple[Command, str]] = {
    "data check": (plain(data.check), "check a data set before work"),
    "search": (_search, "search an architecture"),
    "train": (_train, "train a derived network"),
    "evaluate": (plain(networks.evaluate), "score a trained network, also on other data sets"),
    "embed": (plain(networks.embed), "features of a data set, in a store on disk"),
    "export": (plain(networks.export), "write a network as ONNX or as the authors' checkpoint"),
    "describe": (plain(networks.describe), "parameters and multiply-adds by stage"),
}
for _point in entry_points(group="msinet.commands"):  # of packages above, such as msinet_lab
    COMMANDS.update(_point.load())


if __name__ == "__main__":
    raise SystemExit(main())
