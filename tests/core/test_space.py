"""Genotypes: text forms, canonical form, errors."""

import subprocess
import sys
from itertools import product

import pytest

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


def test_importing_the_package_loads_no_torch():
    code = (
        "import sys, msinet_core; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_below_panels_imports_jupyter_and_nothing_below_figures_matplotlib():
    code = """
import sys
import msinet_core.search, msinet_core.training, msinet_core.retrieval, msinet_core.models, msinet_core.data
below = {"matplotlib", "ipywidgets", "IPython", "tyro", "pytorch_grad_cam"} & set(sys.modules)
assert not below, below
import importlib, pkgutil, msinet_lab.figures as figures
for module in pkgutil.iter_modules(figures.__path__):
    if module.name != "__main__":
        importlib.import_module(f"msinet_lab.figures.{module.name}")
assert not {"ipywidgets", "jupyterlab", "anywidget"} & set(sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
