"""What happens around a command: help that starts at once, imports, and errors as one line."""

import subprocess
import sys
from pathlib import Path

import pytest
from common import small_training

from msinet_core import PAPER_GENOTYPE, ReidError
from msinet_core.cli import main, networks
from msinet_core.cli.main import DONE, REFUSED, UNEXPECTED
from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.models.interactions import forget_operation

DESCRIBE = ["describe", "--height", "64", "--width", "32"]


def said_after(capsys, words):
    status = main(words)
    return status, capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch):
    """`failing(error)`: from now on `msinet describe` raises it."""

    def fail_with(error):
        def describe(*, genotype: str = "paper") -> None:
            """Fails."""
            raise error

        monkeypatch.setattr(networks, "describe", describe)

    return fail_with


def test_help_loads_no_torch():
    code = """
import sys
from msinet_core.cli import main
for words in ["", "search", "train", "evaluate", "data check", "data", "diagnose", "notebooks"]:
    try:
        main([*words.split(), "--help"])
    except SystemExit as ended:
        assert ended.code == 0
slow = {"torch", "pandas", "matplotlib", "numba", "numpy"} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    ["embed --model {} --root x --to y", "report {}", "check {}", "search --run {} --root x", "{}"],
)
def test_no_name_holds_nul(words, capsys):
    status, said = said_after(capsys, words.format("a\0b").split(" "))
    assert status == REFUSED
    assert said == "error: 'a\\x00b' holds the character NUL, which no name can\n"


@pytest.mark.parametrize("kind", [SearchConfig, TrainConfig])
def test_help_shows_the_configuration_in_groups(kind, capsys):
    with pytest.raises(SystemExit):
        main([kind.KIND, "--help"])
    said = capsys.readouterr().out
    places = [said.index(f" {title} options ") for title in kind.SECTIONS]
    assert places == sorted(places)
    assert "--learning-rate FLOAT" in said
    assert f"(default: {kind().learning_rate})" in said
    assert "--import MODULE" in said


def test_an_unexpected_error_is_one_line_and_a_log(failing, capsys):
    failing(ZeroDivisionError("a \x1b[31mred\x1b[0m\nfault"))
    status, said = said_after(capsys, ["describe"])
    assert status == UNEXPECTED
    (line,) = said.splitlines()
    assert line.startswith(r"error: ZeroDivisionError: a \x1b[31mred\x1b[0m fault; ")
    log = Path(line.split(" is in ")[1].split(" (or ")[0])
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "msinet describe" in log.read_text(encoding="utf-8")
    log.unlink()


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(5, "Input/output error", "/data/x.png"), "Input/output error with '/data/x.png'"),
        (PermissionError(13, "Permission denied", "/data"), "Permission denied with '/data'"),
        (MemoryError(), "the memory does not suffice"),
    ],
)
def test_what_the_machine_lacks_is_a_sentence(error, said, failing, capsys):
    failing(error)
    status, told = said_after(capsys, ["describe"])
    assert status == REFUSED
    (line,) = told.splitlines()
    assert line.startswith(f"error: {said}")
    Path(line.split(" is in ")[1].split(" (or ")[0]).unlink()


def test_what_commands_print_moves_no_cursor(monkeypatch, capsys):
    def describe(*, genotype: str = "paper") -> None:
        """Prints what came with the data."""
        print("caf\u00e9\t1\n\x1b[2J\x9b31m\u202ename")

    monkeypatch.setattr(networks, "describe", describe)
    assert main(["describe"]) == DONE
    assert capsys.readouterr().out == "caf\u00e9\t1\n\\x1b[2J\\x9b31m\\u202ename\n"


def test_data_check_prints_identities_without_escapes(tiny_root, tmp_path, capsys):
    text = (tiny_root / "manifest.csv").read_text()
    names = {f",{number},": f",\x1b[31m{number}," for number in range(16)}
    for old, new in names.items():
        text = text.replace(old, new)
    (tmp_path / "manifest.csv").write_text(text)
    (tmp_path / "images").symlink_to(tiny_root / "images", target_is_directory=True)
    main(["data", "check", "--root", str(tmp_path)])
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    main(["data", "check", "--root", str(tmp_path), "--quick"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--debug", "describe"], ["describe", "--debug"]])
def test_debug_shows_the_traceback_instead(words, failing, capsys):
    failing(ZeroDivisionError("fault"))
    status, said = said_after(capsys, words)
    assert status == UNEXPECTED
    assert "Traceback" in said
    assert "error: " not in said


def test_errors_pass_on_no_terminal_escapes(failing, capsys):
    failing(ReidError("no file '\x1b]0;title\x07\x9b2Jx\u202ey'"))
    status, said = said_after(capsys, ["describe"])
    assert status == REFUSED
    assert said == "error: no file '\\x1b]0;title\\x07\\x9b2Jx\\u202ey'\n"


@pytest.mark.parametrize(
    "library, extra", [("matplotlib", "lab"), ("IPython.display", "lab"), ("onnx", "export")]
)
def test_a_missing_library_of_an_extra_is_one_sentence(library, extra, failing, capsys):
    failing(ModuleNotFoundError(f"No module named {library!r}", name=library))
    status, said = said_after(capsys, ["describe"])
    assert status == REFUSED
    assert said == f"error: {library} is not installed: pip install 'msinet-core[{extra}]'\n"


def test_warnings_are_one_line_and_filters_stay_as_they_were(monkeypatch, capsys):
    import warnings

    def describe(*, genotype: str = "paper") -> None:
        """Warns."""
        warnings.warn("slow\x1b[2J", stacklevel=1)

    monkeypatch.setattr(networks, "describe", describe)
    before = warnings.showwarning
    status, said = said_after(capsys, ["describe"])
    assert (status, said) == (DONE, "warning: slow\\x1b[2J\n")
    assert warnings.showwarning is before


OPERATION = """
from msinet_core.models.interactions import register_operation

@register_operation("halves")
def halves(a, b):
    return (a + b) / 2, (a + b) / 2
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module in the current folder that registers an operation, known to nobody yet."""
    (tmp_path / "my_ops.py").write_text(OPERATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "my_ops"
    forget()


def forget():
    if sys.modules.pop("my_ops", None):
        forget_operation("halves")


def test_a_run_with_an_operation_of_ones_own(own_module, tiny_settings, capsys):
    genotype = str(PAPER_GENOTYPE).replace("exchange", "halves")
    status, said = said_after(capsys, ["describe", "--genotype", genotype])
    assert status == REFUSED
    assert "registered first: --import MODULE" in said
    assert main([*DESCRIBE, "--genotype", genotype, "--import", own_module]) == DONE
    small_training(tiny_settings, "run", genotype=genotype, epochs=1)
    forget()
    evaluate = ["evaluate", "--run=run", "--device", "cpu"]
    status, said = said_after(capsys, evaluate)
    assert status == REFUSED
    assert "The run registered its own with --import my_ops" in said
    assert "my_ops" not in sys.modules  # never unasked
    assert main([*evaluate, "--import=my_ops"]) == DONE


@pytest.mark.parametrize("name", ["nobody", "my_ops.py", "my_ops.deeper"])
def test_a_module_that_is_not_there(name, own_module, capsys):
    status, said = said_after(capsys, ["describe", "--import", name])
    assert status == REFUSED
    assert f"--import {name}: no such module" in said


def test_what_a_module_lacks_itself_is_not_said_of_the_module(own_module, capsys):
    Path("my_ops.py").write_text("import a_library_of_theirs")
    status, said = said_after(capsys, ["describe", "--import", "my_ops"])
    assert status == UNEXPECTED
    assert "a_library_of_theirs" in said


def test_resume_takes_up_what_is_stored_however_the_run_is_named(
    tiny_settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    small_training(tiny_settings, tmp_path / "run", epochs=1)
    for words in (["--run", str(tmp_path / "run")], [f"--run={tmp_path}/run"], ["--run=~/run"]):
        assert main(["train", *words, "--resume", "--quiet"]) == DONE
        assert main(["train", "--resume", "--quiet", *words]) == DONE
