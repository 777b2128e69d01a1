"""The static pages: what is laid out for them, and that each can be reached from the first."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "site" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_and_what_they_link_to_are_laid_out(build, tmp_path):
    notebooks = build.lay_out(tmp_path)
    assert [path.name for path in notebooks] == sorted(
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    for page in [*tmp_path.glob("docs/*.md"), tmp_path / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            place = page.parent / link
            assert place.is_file() or (ROOT / page.parent.name / link).is_dir(), (page.name, link)


def test_every_page_is_reached_from_the_first(build):
    text = build.index()
    for page in [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        assert f"\n{page.relative_to(ROOT).with_suffix('').as_posix()}\n" in text


def test_the_workflow_builds_them_as_the_makefile_does():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    assert any("make site" in step.get("run", "") for step in steps)
    assert any(step.get("with", {}).get("path") == "build/site/html" for step in steps)
    assert "docs/site/build.py --to build/site" in (ROOT / "Makefile").read_text()
