"""The palette can be told apart, pictures have the right pixels, nothing of pyplot is left open."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from msinet_core.errors import ReidError
from msinet_lab.figures import elements, style

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as a colour-blind reader has it.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, blindness=None):
    """CIE L*a*b* of a hex colour, as seen by a reader."""
    channels = np.array(style.rgb(colour)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    if blindness:
        linear = np.clip(np.array(BLINDNESS[blindness]) @ linear, 0, 1)
    x, y, z = TO_XYZ @ linear / np.array([0.9505, 1.0, 1.089])
    fx, fy, fz = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z)
    )
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
@pytest.mark.parametrize(
    "palette", [style.OPERATION_COLOURS, style.MATCH_COLOURS], ids=["operations", "matches"]
)
def test_colours_are_told_apart_by_every_reader(palette, blindness):
    for one, two in combinations(palette.values(), 2):
        assert np.linalg.norm(lab(one, blindness) - lab(two, blindness)) > 11, (one, two)


def test_plain_red_and_green_would_fail_that_test():
    distance = np.linalg.norm(lab("#B05030", "deuteranopia") - lab("#6B7A30", "deuteranopia"))
    assert distance < 11


def test_words_on_a_colour_are_readable():
    assert style.ink_on("#0072B2") == style.WHITE
    assert style.ink_on("#E69F00") == style.BLACK
    assert style.ink_on("#FFFFFF") == style.BLACK


def test_encode_and_save_agree(tmp_path):
    figure, axes = style.new_axes(3, 2, "title")
    axes.plot([0, 1], [0, 1])
    pixels = style.as_array(figure)
    assert pixels.shape == (200, 300, 3)
    assert pixels.dtype == np.uint8
    assert style.encode(figure)[:4] == b"\x89PNG"
    assert style.save(figure, tmp_path / "made" / "a.png").stat().st_size > 500
    grey = np.zeros((4, 5), np.uint8)
    assert style.save(grey, tmp_path / "b.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert style.image_bytes(grey)[:4] == b"\x89PNG"


def test_images_of_other_types_are_refused():
    with pytest.raises(ReidError, match="uint8"):
        style.image_bytes(np.zeros((3, 3)))


def test_the_page_is_light_whatever_the_theme():
    assert (style.as_array(style.empty_figure("nothing"))[0, 0] == 255).all()


def test_figures_leave_pyplot_and_themes_alone_and_need_no_jupyter():
    """seaborn loads pyplot; nothing may stand in it, and no setting may have changed."""
    code = """
import sys, importlib, pkgutil
sys.modules |= dict.fromkeys(["ipywidgets", "IPython", "anywidget"])  # as if not installed
import matplotlib as mpl
before = dict(mpl.rcParams)
import numpy as np, msinet_lab.figures as figures
for module in pkgutil.iter_modules(figures.__path__):
    importlib.import_module(f"msinet_lab.figures.{module.name}")
from msinet_lab.figures.architecture import alpha_heatmap, alpha_trajectories
from msinet_lab.figures.style import as_array
alphas = np.random.default_rng(0).normal(size=(3, 12, 4))
as_array(alpha_heatmap(alphas))
as_array(alpha_trajectories({"a": alphas, "b": alphas}))
import matplotlib.pyplot as plt
assert not plt.get_fignums()
changed = {name for name, value in mpl.rcParams.items() if before[name] != value}
assert not changed - {"backend"}, changed
assert "msinet_lab.demo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_empty_page_is_a_figure():
    assert isinstance(style.empty_figure("x"), Figure)


def test_names_with_dollars_are_names():
    """Two of them begin a formula in matplotlib, and what is none stops a drawing."""
    figure, axes = style.new_axes(4, 3, r"run $\frac$ of $100$")
    axes.plot([1, 10], [1, 10], label=r"$\nothing$")
    axes.set_yticks([1], [r"$\no$"])
    axes.set_xscale("log")
    style.legend(axes)
    made = elements.svg(figure)
    for name in (r"run $\frac$ of $100$", r"$\nothing$", r"$\no$"):
        assert name in made
    assert "mathdefault" not in made  # powers at the axis are formulas still
    style.encode(figure)


def test_a_figure_of_another_width_keeps_or_scales_its_words():
    figure, axes = style.new_axes(6, 3, "title")
    style.resized(figure, 3)
    assert figure.get_size_inches().tolist() == [3, 1.5]
    assert axes._left_title.get_fontsize() == 10.5
    by_hand = style.new_figure(6, 3, layout=None)
    words = by_hand.text(0.5, 0.5, "words", fontsize=10)
    style.resized(by_hand, 3)
    assert words.get_fontsize() == 5
