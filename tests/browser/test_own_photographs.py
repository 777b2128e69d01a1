"""A photograph is uploaded in a real browser and looked up in a folder without labels."""

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

PANEL = """
from pathlib import Path
from torch import nn
from msinet_core.retrieval import Embedder
from msinet_lab.panels import QueryPanel

class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))

panel = QueryPanel(Embedder(Colours(), 16, 8), Path("own_photos"), k=4)
"""


def test_an_upload_is_answered_in_the_page(lab):
    folder = lab.root / "notebooks" / "own_photos"
    folder.mkdir(exist_ok=True)
    colours = np.random.default_rng(0).integers(30, 225, (9, 3))
    for number, colour in enumerate(colours):
        Image.new("RGB", (8, 16), tuple(map(int, colour))).save(folder / f"number{number}.png")
    lab.open(lab.write("own", PANEL, "panel"))
    lab.run_all()
    lab.until_text("msinet-query-status", "upload a photograph")

    def upload(number):
        with lab.page.expect_file_chooser() as chooser:
            lab.page.locator(".msinet-query-upload").click()
        chooser.value.set_files(folder / f"number{number}.png")

    upload(6)
    lab.until_text("msinet-query-table", "number6.png")
    assert "nearest of 9 pictures" in lab.text("msinet-query-words")
    first = lab.pixels("msinet-query-picture")
    upload(2)
    lab.changed("msinet-query-picture", first)
    lab.until_text("msinet-query-table", "number2.png")
    before = lab.pixels("msinet-query-picture")
    lab.slide("msinet-query-k")
    lab.changed("msinet-query-picture", before)
    before = lab.pixels("msinet-query-picture")
    lab.deafen()
    upload(6)
    assert lab.same("msinet-query-picture", before)
