"""Genotypes: text forms, canonical form, errors."""

import subprocess
import sys
from itertools import product
from types import ModuleType

import pytest

import msinet_core
from msinet_core import OPERATIONS, PAPER_GENOTYPE, Genotype, ReidError


def test_text_and_json_round_trip():
    for genotype in (PAPER_GENOTYPE, *(Genotype.sample(seed) for seed in range(20))):
        assert Genotype.parse(str(genotype)) == genotype
        assert Genotype.from_json(genotype.to_json()) == genotype
    assert Genotype.parse("paper") == PAPER_GENOTYPE
    assert str(PAPER_GENOTYPE).count("||") == 2


def test_other_names_are_understood():
    text = " ".join(["ag", "exc", "cross_att", "identity"] * 3)
    expected = ("channel_gate", "exchange", "cross_attention", "none") * 3
    assert Genotype.parse(text).slots == expected


def test_canonical_counts_12_to_the_sixth():
    one_cell = {
        Genotype(tuple(pair) + ("none",) * 10).canonical().slots[:2]
        for pair in product(OPERATIONS, repeat=2)
    }
    assert len(one_cell) == 12
    for seed in range(50):
        sample = Genotype.sample(seed)
        assert sample.canonical() == sample


def test_samples_are_spread_evenly():
    draws = [Genotype.sample(seed).slots for seed in range(3000)]
    for slot in range(12):
        expected = 4 if slot % 2 == 0 else 3
        shares = {name: sum(d[slot] == name for d in draws) / len(draws) for name in OPERATIONS}
        assert all(abs(share - 1 / expected) < 0.05 for share in shares.values() if share)
        assert sum(share > 0 for share in shares.values()) == expected


@pytest.mark.parametrize(
    "slots, message",
    [
        (("none",) * 11, "12 slots .* 11 were given"),
        (("none",) * 13, "13 were given"),
        (
            ("none",) * 11 + ("chanel_gate",),
            "unknown operation 'chanel_gate'.*Did you mean 'channel_gate'",
        ),
        (("none",) * 11 + ("zzz",), "unknown operation 'zzz'"),
        ("none-none", "Genotype.parse"),
    ],
)
def test_errors_name_thing_and_remedy(slots, message):
    with pytest.raises(ReidError, match=message):
        Genotype(slots)


def test_damaged_genotype_file():
    with pytest.raises(ReidError, match="not a genotype file"):
        Genotype.from_json("{}")
    for text in ("[" * 100_000, '{"slots": ' + "9" * 10_000 + "}", "["):
        with pytest.raises(ReidError, match="not a genotype file"):
            Genotype.from_json(text)
    for names in ("[null]", '["none", 3]', '[["none"]]'):
        with pytest.raises(ReidError, match="made of operations' names"):
            Genotype.from_json(f'{{"slots": {names}}}')


# -- who imports whom ----------------------------------------------------------------------------

LAB = {"msinet_lab", "matplotlib", "seaborn", "sklearn", "pytorch_grad_cam"}
LAB |= {"IPython", "ipywidgets", "anywidget", "jupyterlab"}


def imported_by(code):
    """All modules that a fresh process has imported after `code`, and their top names."""
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = set(done.stdout.split())
    return names | {name.partition(".")[0] for name in names}


WALK = """
import importlib, pkgutil
def walk(package):
    module = importlib.import_module(package)
    for found in pkgutil.iter_modules(module.__path__, package + "."):
        if found.name.endswith("__main__"):
            continue
        if found.ispkg:
            walk(found.name)
        else:
            importlib.import_module(found.name)
"""


def test_importing_the_package_is_immediate():
    code = """
import time
start = time.perf_counter()
import msinet_core
assert time.perf_counter() - start < 1
assert dir(msinet_core)
"""
    assert not imported_by(code) & {"torch", "numpy", "pandas", "tyro", *LAB}


def test_the_public_names_are_listed_and_there():
    names = dir(msinet_core)
    assert names == sorted(names)
    assert {
        *("Genotype", "PAPER_GENOTYPE", "OPERATIONS", "MSINet", "Supernet", "SearchConfig"),
        *("TrainConfig", "ReidError", "load_dataset", "twins_split", "load_model", "rank"),
        *("rerank", "RetrievalResult", "register_operation"),
    } < set(names)
    for name in names:
        assert getattr(msinet_core, name) is not None
    assert isinstance(msinet_core.search, ModuleType)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        msinet_core.serach  # noqa: B018


def test_no_module_of_the_core_imports_the_lab_or_its_libraries():
    imported = imported_by(WALK + "walk('msinet_core')")
    assert {"torch", "tyro"} <= imported  # it did walk
    assert not imported & LAB


def test_the_method_imports_no_compiler_no_progress_bar_and_no_distributions():
    rooms = "models", "search", "training"
    imported = imported_by(WALK + "\n".join(f"walk('msinet_core.{room}')" for room in rooms))
    # torch itself imports tqdm
    assert not imported & {"numba", "llvmlite", "tyro", "tqdm.auto", "scipy.stats"}


def test_figures_need_no_widgets():
    """seaborn takes ipywidgets where there are some; hidden, nothing misses them."""
    names = "ipywidgets", "IPython", "jupyterlab", "anywidget"
    hidden = f"import sys\nsys.modules |= dict.fromkeys({names})\n"
    assert "matplotlib" in imported_by(hidden + WALK + "walk('msinet_lab.figures')")
