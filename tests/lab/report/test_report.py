"""The page of results and runs: whole, self-contained, and safe whatever the data is called."""

import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.cli import main
from msinet_core.config import TrainConfig
from msinet_core.data import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_core.training import train
from msinet_lab.figures import elements
from msinet_lab.figures.comparison import cmc_curves
from msinet_lab.figures.elements import Html, drawing, tag, together
from msinet_lab.report import Subject, page, read_subjects, write_report

EVIL = "<img src=x onerror=alert(1)>"
IDENTITIES = (EVIL, "b & c", "d\"'", "$x^2$", "</script><b>", "plain")
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "nav", "a", "b"),
    *("section", "div", "span", "table", "tr", "th", "td", "figure", "figcaption", "img", "br"),
    *("details", "summary", "code", "svg", "defs", "g", "path", "use", "text", "clippath", "rect"),
    *("tspan", "metadata", "rdf:rdf", "cc:work", "dc:type", "dc:format", "dc:creator", "cc:agent"),
    *("dc:title", "circle", "ellipse", "line", "polyline", "polygon"),
}


class Seen(HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.words = set(), [], []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.add(name)
        self.attributes += [(name, *pair) for pair in attributes]

    def handle_data(self, data):
        self.words.append(data)


def make_result(root=None, seed=0, queries=16):
    rng = np.random.default_rng(seed)
    centres, tables, features = np.random.default_rng(9).normal(size=(6, 16)), [], []
    for count, split in ((queries, "query"), (60, "gallery")):
        labels = np.arange(count) % 6
        table = pd.DataFrame(
            {
                "path": [f"{split}{row}.png" for row in range(count)],
                "identity": [IDENTITIES[label] for label in labels],
                "camera": [("<cam>", "east")[row // 6 % 2] for row in range(count)],
                "split": split,
                "<view>": "side",
            }
        )
        tables.append(table)
        noise = rng.normal(size=(count, 16))
        features.append((centres[labels] + noise).astype(np.float32))
        if root is not None:
            for path, label in zip(table["path"], labels, strict=True):
                Image.new("RGB", (24, 24), (40 * int(label), 90, 60)).save(root / path)
    return RetrievalResult.score(*features, *tables, Protocol(name=EVIL))


@pytest.fixture
def saved(tmp_path):
    """Two saved results with photographs."""
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(("one $1$", "two & <b>")):
        make_result(tmp_path / "photos", seed).save(tmp_path / "results" / name.replace("<b>", "b"))
    return tmp_path


def test_foreign_text_is_text_everywhere(saved):
    place = write_report(read_subjects([saved / "results"], [saved / "photos"]), saved / "out")
    text = place.read_text(encoding="utf-8")
    seen = Seen(text)
    assert seen.elements <= ALLOWED, seen.elements - ALLOWED
    assert not [one for one in seen.attributes if one[1].startswith("on")]
    assert EVIL not in text
    assert sum(EVIL in words for words in seen.words) > 10  # as words it is there
    for name in IDENTITIES:
        assert any(name in words for words in seen.words), name


def test_the_page_would_betray_an_unescaped_name(saved, monkeypatch):
    """The control of the test above."""
    monkeypatch.setattr("msinet_lab.figures.elements.html.escape", lambda words: words)
    subjects = read_subjects([saved / "results"], [saved / "photos"])
    seen = Seen(page.page_of(subjects))
    assert [one for one in seen.attributes if one[1] == "onerror"]


def test_the_page_needs_nothing_else(saved):
    place = write_report(read_subjects([saved / "results"], [saved / "photos"]), saved / "out")
    text = place.read_text(encoding="utf-8")
    loads = [
        value
        for name, key, value in Seen(text).attributes
        if key in ("src", "href", "xlink:href", "data", "srcset") and value
    ]
    assert loads
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in loads)
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert len(text.encode()) < 10_000_000


def test_the_page_says_what_was_scored(saved):
    subjects = read_subjects([saved / "results"], [saved / "photos"])
    words = " ".join(Seen(page.page_of(subjects)).words)
    for subject in subjects:
        metrics = subject.result.metrics()
        assert f"{100 * metrics['mAP']:.1f}" in words
        assert subject.name in words
    for part in ("Protocol", "Cameras", "Best queries", "Worst queries", "Versions", "bootstrap"):
        assert part in words
    assert "Against one $1$, query by query" in words
    assert "<view> (1)" in words
    hardest = int(subjects[0].result.hardest(1).index[0])
    assert f"Query {hardest + 1}: AP" in words


def test_figures_take_the_colours_of_the_page():
    result = make_result()
    text = str(drawing(cmc_curves({"a": result.ranking}), "a curve"))
    assert "var(--ink)" in text
    assert "var(--faint)" in text
    assert "#22262b" not in text
    assert "#ffffff" not in text


def test_drawings_have_names_of_their_own_and_the_same_in_every_process(monkeypatch):
    def drawn():
        monkeypatch.setattr(elements, "NUMBERS", itertools.count(1))
        return [str(drawing(cmc_curves({"a": make_result().ranking}))) for _ in range(2)]

    def names(text):
        return {*re.findall(r'(?:url\(|href=")#([^")]+)', text)}

    one, other = drawn()
    assert drawn() == [one, other]
    assert names(one)
    assert not names(one) & names(other)


def test_without_photographs_and_without_cameras():
    table = pd.DataFrame({"identity": [1, 2], "path": ["a", "b"], "camera": pd.NA})
    features = np.eye(2, dtype=np.float32)
    result = RetrievalResult.score(
        features, features, table, table, Protocol(exclude_same_camera=False)
    )
    words = " ".join(Seen(page.page_of([Subject("bare", result)])).words)
    assert "name their folder with --root" in words
    assert "Cameras" not in words


def test_a_result_in_which_no_query_counts():
    table = pd.DataFrame({"identity": [1, 2], "path": ["a", "b"]})
    other = pd.DataFrame({"identity": [3, 4], "path": ["c", "d"]})
    features = np.eye(2, dtype=np.float32)
    result = RetrievalResult.score(
        features, features, table, other, Protocol(exclude_same_camera=False)
    )
    assert "0 of 2" in page.page_of([Subject("nothing", result)])


def test_nothing_that_is_no_report_is_replaced(tmp_path):
    mine, subjects = tmp_path / "report.html", [Subject("a", make_result())]
    mine.write_text("my own page")
    with pytest.raises(ReidError, match="is no report and is not replaced"):
        write_report(subjects, tmp_path)
    assert mine.read_text() == "my own page"
    mine.unlink()
    first = write_report(subjects, tmp_path)
    assert write_report(subjects, first, "again") == first == mine
    assert "<h1>again</h1>" in mine.read_text()
    with pytest.raises(ReidError, match="nothing to report"):
        write_report([], tmp_path)


def test_a_page_that_is_too_large_goes_without_photographs(saved, monkeypatch):
    monkeypatch.setattr(page, "LIMIT", 200_000)
    subjects = read_subjects([saved / "results"], [saved / "photos"])
    with pytest.warns(UserWarning, match="left out"):
        place = write_report(subjects, saved / "out")
    assert "data:image/jpeg" not in place.read_text()


def test_escaping_happens_where_pieces_come_together():
    assert together(Html("<b>"), "<b>", ["&", None, 3]) == "<b>&lt;b&gt;&amp;3"
    assert tag("p", "a<b", title='"x"') == '<p title="&quot;x&quot;">a&lt;b</p>'
    assert tag("meta", charset="utf-8", name=None) == '<meta charset="utf-8">'


# -- runs, and the command -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_settings, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "a <b> run"
    train(TrainConfig(**tiny_settings, genotype="paper"), place, progress=False)
    return place


def test_a_run_is_evaluated_and_told(trained, tmp_path, capsys):
    assert main(["report", str(trained), "--to", str(tmp_path / "page.html")]) == 0
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    seen = Seen((tmp_path / "page.html").read_text())
    words = " ".join(seen.words)
    for part in ("Architecture", "channel gate", "Curves", "Configuration", "Metrics", "million"):
        assert part in words
    assert "a <b> run" in words
    assert "manifest" in words
    assert seen.elements <= ALLOWED


def test_a_run_whose_data_is_gone_says_so(trained, tiny_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "msinet_lab.report.subjects.open_dataset",
        lambda config: (_ for _ in ()).throw(ReidError("the data is gone")),
    )
    (subject,) = read_subjects([trained])
    assert subject.result is None
    assert "Not evaluated: the data is gone" in page.page_of([subject])


def test_a_search_shows_alpha(tmp_path):
    import shutil
    from pathlib import Path

    golden = Path(__file__).parents[2] / "golden/version_0.1/half_search"
    shutil.copytree(golden, tmp_path / "search")
    text = page.page_of(read_subjects([tmp_path / "search"]))
    assert "Alpha" in text
    assert "stage 3, cell 2, slot 2" in text


def test_bad_places_are_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--to", str(tmp_path / "o")]) == 2
    assert "no saved result and no run folder" in capsys.readouterr().err
    words = ["report", str(tmp_path), "--root", "a", "b", "--to", str(tmp_path / "o")]
    assert main(words) == 2
    assert "2 folders of photographs for 1 results" in capsys.readouterr().err


def test_evaluate_writes_a_report(trained, tmp_path, capsys):
    from msinet_core.cli import evaluating
    from msinet_lab.shows import report

    original = evaluating.show
    try:
        evaluating.show = lambda name, flag: report  # as the entry point of an installation does
        words = ["evaluate", "--run", str(trained), "--report", str(tmp_path / "page")]
        assert main([*words, "--device", "cpu"]) == 0
    finally:
        evaluating.show = original
    assert "report: " in capsys.readouterr().out
    assert "Features of MSINet" in (tmp_path / "page" / "report.html").read_text()
