"""What the README says can be done, can be done."""

import re
from pathlib import Path

import pandas as pd
import pytest

from msinet_lab.study import markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "code", [c for c in re.findall(r"```python\n(.*?)```", README, re.S) if ".pth" not in c]
)
def test_python_snippets_run(code, capsys):
    exec(compile(code, "README.md", "exec"), {})
    assert "mAP" in capsys.readouterr().out


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_make_target_and_command_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.M) or target in ("in",), target
    commands = (ROOT / "msinet_core/cli/main.py").read_text()
    commands += (ROOT / "msinet_lab/commands.py").read_text()
    for command in re.findall(
        r"msinet (data \w+|[a-z]+)(?= )", "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))
    ):
        assert f'"{command}"' in commands, command


def test_the_studys_tables_are_those_of_its_results():
    rows = pd.read_csv(ROOT / "benchmarks/results/study.csv", keep_default_na=False)
    assert markdown(rows.astype({"mAP": float})) in README
