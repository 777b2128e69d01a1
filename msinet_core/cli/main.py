"""`msinet`: the commands there are, errors as one line, and the exit status.

What the commands do is in the modules beside this one and, for the lab's, in packages above, which
join through the entry points `msinet.commands`.
"""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from typing import IO, Any

from msinet_core import __version__
from msinet_core.cli import check, comparing, data, evaluating, networks, querying
from msinet_core.cli.parsing import Command, parse
from msinet_core.cli.work import working
from msinet_core.config import PretrainConfig, SearchConfig, TrainConfig
from msinet_core.errors import Elsewhere, ReidError, Stopped

DONE, UNEXPECTED, REFUSED, INTERRUPTED = 0, 1, 2, 130

# Top names of libraries that the plain install lacks, and the extra that brings them.
EXTRAS = {
    "lab": (
        *("matplotlib", "seaborn", "sklearn", "pytorch_grad_cam", "IPython", "ipywidgets"),
        *("anywidget", "jupyterlab", "jscatter", "nbformat"),
    ),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "scale": ("faiss", "pyarrow"),
    "losses": ("pytorch_metric_learning",),
    "models": ("timm",),
    "hub": ("huggingface_hub",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 for an error nobody foresaw, 2 for a
    `ReidError`, 130 stopped. Help and words that cannot be understood raise `SystemExit`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"msinet {__version__}")
        raise SystemExit(DONE)
    if hasattr(sys.stdout, "reconfigure"):  # names that the terminal cannot write end no command
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
        return _status([word for word in words if word != "--debug"], "--debug" in words)


def commands(words: list[str]) -> dict[str, Command]:
    """Every command by its name; with `--resume` the flags of `words` default to what is stored."""
    own = {
        "search": Command(working(SearchConfig, "msinet_core.search", words)),
        "train": Command(working(TrainConfig, "msinet_core.training", words)),
        "pretrain": Command(working(PretrainConfig, "msinet_core.training", words)),
        "evaluate": Command(evaluating.evaluate),
        "compare": Command(comparing.compare),
        "query": Command(querying.query),
        "embed": Command(networks.embed),
        "export": Command(networks.export),
        "describe": Command(networks.describe),
        "data check": Command(data.check, takes_imports=False),
        "check": Command(check.check, takes_imports=False),
    }
    for point in entry_points(group="msinet.commands"):
        own.update(point.load())
    return own


def _status(words: list[str], debug: bool) -> int:
    """The boundary: whatever happens inside becomes one line and a status."""
    try:
        if nameless := [word for word in words if "\0" in word]:
            raise ReidError(f"{nameless[0]!r} holds the character NUL, which no name can")
        call = parse(words, commands(words))
        with redirect_stdout(_Printable(sys.stdout)):
            call()
        _leave()
        return DONE
    except Elsewhere:
        return REFUSED  # the main process says it
    except ReidError as error:
        _say(f"error: {error}")
        return REFUSED
    except Stopped:
        return INTERRUPTED
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return UNEXPECTED
    except Exception as error:
        if isinstance(error, OSError | MemoryError) and not debug:  # the machine's, not ours
            _say(f"error: {_of_the_machine(error)}; {_kept(error, words)}")
            return REFUSED
        if isinstance(error, ModuleNotFoundError) and (extra := _extra(error)):
            _say(f"error: {error.name} is not installed: pip install 'msinet-core[{extra}]'")
            return REFUSED
        if debug:
            traceback.print_exc()
        else:
            _say(f"error: {type(error).__name__}: {error}; {_kept(error, words)}")
        return UNEXPECTED


def _leave() -> None:
    """Close the connection to the other processes, where the command made one."""
    if "msinet_core.runs.processes" in sys.modules:
        sys.modules["msinet_core.runs.processes"].leave()


def _say(line: str) -> None:
    """One line on the terminal."""
    print(_printable(" ".join(line.splitlines())), file=sys.stderr)


def _printable(text: str) -> str:
    """Foreign text that moves no cursor and sets no colours; line breaks stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


class _Printable:
    """A stream for what commands print: identities, paths and names come from anywhere."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(_printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _of_the_machine(error: OSError | MemoryError) -> str:
    """What a disk, a right or the memory lacked, and of which file."""
    if isinstance(error, MemoryError):
        return "the memory does not suffice; take smaller batches or images, or cache='none'"
    file = f" with {str(error.filename)!r}" if error.filename else ""
    return f"{error.strerror or error}{file}; see to the disk and its rights, then try again"


def _extra(error: ModuleNotFoundError) -> str | None:
    missing = (error.name or "").partition(".")[0]
    return next((extra for extra, names in EXTRAS.items() if missing in names), None)


def _kept(error: Exception, words: list[str]) -> str:
    """Write the traceback to a file; says where it is."""
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="msinet-",
            suffix=".log",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(f"msinet {shlex.join(words)}\n{__version__}, {platform.platform()}\n\n")
            traceback.print_exception(error, file=file)
    except OSError:
        return "again with --debug it shows where"
    return f"where it happened is in {file.name} (or again with --debug)"


if __name__ == "__main__":
    raise SystemExit(main())
