"""Panels of networks of any kind over square photographs: each network its own rank lists and maps,
in the geometry of the photographs.
"""

import re

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

NETWORKS = """
import warnings; warnings.simplefilter("ignore")
import timm, torch
from msinet_core.data import load_dataset
from msinet_core.models import MSINet
from msinet_core.retrieval import Embedder, evaluate, load_model
from msinet_core.space import PAPER_GENOTYPE
from msinet_lab.panels import AttentionPanel, ComparePanel, GalleryPanel
torch.manual_seed(0)
dataset = load_dataset("manifest", "../square")
vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64)
half = (0.5, 0.5, 0.5)
networks = {
    "MSINet": Embedder(MSINet(PAPER_GENOTYPE, 2, (16, 64, 64, 64), alignment=True), 96, 48),
    "ResNet": load_model("torchvision:resnet18", height=64, width=64),
    "ViT": Embedder(vit, 64, 64, mean=half, std=half),
}
"""


def square_photographs(root):
    """Eight objects by two cameras, square: a coloured disc on a ground each, which turns."""
    rng = np.random.default_rng(0)
    folder = root / "square" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,identity,camera,split"]
    for identity in range(8):
        colour, ground = rng.integers(60, 255, 3), rng.integers(0, 60, 3)
        for number in range(8):
            y, x = np.mgrid[:96, :96] - 48
            page = np.where(((x * x + y * y) < 1600)[..., None], colour, ground)
            angle = number * np.pi / 4
            page[(abs(x - 24 * np.cos(angle)) < 8) & (abs(y - 24 * np.sin(angle)) < 8)] = 255
            noisy = np.clip(page + rng.normal(0, 12, page.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{identity}_{number}.png")
            split = "query" if number < 2 else "gallery"
            rows.append(f"images/{identity}_{number}.png,object {identity},{number % 2},{split}")
    (root / "square" / "manifest.csv").write_text("\n".join(rows))


def options(lab, part):
    texts = lab.page.locator(f".msinet-attention-{part} option").all_inner_texts()
    return [text.replace("\xa0", " ") for text in texts]


def partners(lab):
    return options(lab, "partner")


@pytest.fixture
def opened(lab):
    pytest.importorskip("timm")
    square_photographs(lab.root)

    def open_panel(name, code):
        lab.open(lab.write(name, NETWORKS, code))
        lab.run_all(300)
        return lab

    return open_panel


def test_attention_of_three_kinds_of_networks(opened):
    lab = opened("any_attention", "panel = AttentionPanel(networks, dataset)\npanel")
    lab.until_text("msinet-attention-words", "of MSINet")
    seen = {}
    for name, layers, grid in (
        ("ViT", [f"block {n}" for n in range(1, 13)], "4 × 4 places of a picture of 64 × 64"),
        ("ResNet", [f"stage {n}" for n in range(1, 5)], "2 × 2 places of a picture of 64 × 64"),
        ("MSINet", [f"stage {n}" for n in range(1, 4)], "6 × 3 places of a picture of 96 × 48"),
    ):
        before = lab.pixels("msinet-attention-maps")
        lab.choose("msinet-attention-network", name)
        lab.changed("msinet-attention-maps", before)
        lab.until_text("msinet-attention-words", grid)
        assert options(lab, "layer") == layers
        seen[name] = partners(lab)
        maps = lab.pixels("msinet-attention-maps")
        lab.page.locator(".msinet-attention-click img").click(position={"x": 12, "y": 60})
        lab.changed("msinet-attention-maps", maps)
        lab.page.locator(".msinet-attention-click img").click(position={"x": 150, "y": 150})
        lab.settle()
        lab.shot(f"any_attention_{name}", "msinet-attention")
    assert len({tuple(names) for names in seen.values()}) == 3  # each its own
    shape = lab.page.evaluate(
        """() => {
          const image = document.querySelector('.msinet-attention-click img');
          return image.naturalWidth / image.naturalHeight;
        }"""
    )
    assert shape == pytest.approx(1, abs=0.01)  # the photograph as it is, not stretched
    names, maps = partners(lab), lab.pixels("msinet-attention-maps")
    lab.deafen()
    lab.choose("msinet-attention-network", "ViT")
    assert lab.same("msinet-attention-maps", maps)
    assert partners(lab) == names


def test_a_gallery_of_three_kinds_of_networks(opened):
    code = "panel = GalleryPanel(dataset, networks=networks, k=9)\npanel"
    lab = opened("any_gallery", code)
    lab.until_text("msinet-gallery-words", "MSINet, query")
    query = re.search(r"query (\d+)", lab.text("msinet-gallery-words"))[1]
    before = lab.pixels("msinet-gallery-picture")
    lab.page.locator(".msinet-gallery-heatmap input").check()
    lab.changed("msinet-gallery-picture", before)
    for name in ("ResNet", "ViT"):
        before = lab.pixels("msinet-gallery-picture")
        lab.choose("msinet-gallery-network", name)
        lab.changed("msinet-gallery-picture", before)
        lab.until_text("msinet-gallery-words", f"{name}, query {query}:")  # the same query
        lab.settle()
        lab.shot(f"any_gallery_{name}", "msinet-gallery")
    lab.until_text("msinet-gallery-words", "block 11, all pictures on one scale")
    before = lab.pixels("msinet-gallery-picture")
    lab.deafen()
    lab.choose("msinet-gallery-network", "MSINet")
    assert lab.same("msinet-gallery-picture", before)


def test_a_comparison_of_three_kinds_of_networks(opened):
    code = (
        "results = {name: evaluate(one, dataset) for name, one in networks.items()}\n"
        "panel = ComparePanel(results, root=dataset.root)\npanel"
    )
    lab = opened("any_comparison", code)
    lab.until_text("msinet-compare-table", "ViT")
    for view in ("query by query", "rank lists"):
        before = lab.pixels("msinet-compare-picture")
        lab.choose("msinet-compare-view", view)
        lab.changed("msinet-compare-picture", before, 60)
    before, words = lab.pixels("msinet-compare-picture"), lab.text("msinet-compare-words")
    lab.slide("msinet-compare-query")
    lab.changed("msinet-compare-picture", before)
    lab.settle()
    assert lab.text("msinet-compare-words") != words  # another query, the same in every network
    lab.shot("any_comparison", "msinet-compare")
    before = lab.pixels("msinet-compare-picture")
    lab.deafen()
    lab.slide("msinet-compare-query")
    assert lab.same("msinet-compare-picture", before)
