"""Photographs are uploaded, looked up and shown; what cannot be is a sentence."""

import io
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from torch import nn

from msinet_core.retrieval import Embedder, open_gallery, pictures_table, query
from msinet_lab.figures.query import answer_page, answer_sheets
from msinet_lab.panels import QueryPanel
from msinet_lab.shows import answer as write_answer


class Colours(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


COLOURS = np.random.default_rng(0).integers(30, 225, (12, 3)).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Twelve plain photographs, one with a name that is HTML, and one that is broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(COLOURS):
        name = "<img src=x onerror=alert(1)>" if number == 3 else f"{number:02d}"
        Image.new("RGB", (8, 16), tuple(map(int, colour))).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def embedder():
    return Embedder(Colours(), 16, 8)


def uploaded(*numbers, content=None):
    files = []
    for number in numbers:
        file = io.BytesIO()
        Image.new("RGB", (8, 16), tuple(map(int, COLOURS[number]))).save(file, "PNG")
        made = content if content is not None else file.getvalue()
        files.append(
            {
                "name": f"../my {number}.png",
                "type": "image/png",
                "size": len(made),
                "content": memoryview(made),
                "last_modified": datetime(2024, 1, 1, tzinfo=UTC),
            }
        )
    return tuple(files)


def test_an_upload_is_answered(photos, embedder, tmp_path, status):
    panel = QueryPanel(embedder, photos, k=3, saves_to=tmp_path / "saved")
    assert "upload a photograph" in status(panel)
    panel.upload.value = uploaded(5)
    status(panel)
    assert panel.answer.table["path"].iloc[0] == "05.png"
    assert panel.answer.table["rank"].tolist() == [1, 2, 3]
    assert panel.pictures["picture"].value
    assert "05.png" in panel.texts["table"].value
    assert "../my 5.png" in panel.texts["words"].value
    one = panel.pictures["picture"].value
    panel.upload.value = uploaded(5, 3)
    panel.k.value = 12
    status(panel)
    assert panel.pictures["picture"].value != one
    assert panel.answer.found.gallery_index.shape == (2, 12)
    assert "<img src=x" not in panel.texts["table"].value
    panel.together.value = True
    assert panel.answer.found.gallery_index.shape == (1, 12)
    panel.write_page()
    page = (tmp_path / "saved" / "query.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_boxes_and_what_cannot_be(photos, embedder, status):
    panel = QueryPanel(embedder, photos)
    panel.upload.value = uploaded(1)
    panel.boxes.value = "0,0,4,8; 2,2,8,16"
    status(panel)
    assert panel.answer.found.gallery_index.shape[0] == 2
    panel.boxes.value = "0,0,4"
    assert "boxes are x1,y1,x2,y2" in status(panel, error=True)
    assert not panel.pictures["picture"].value
    panel.boxes.value = "90,0,95,8"
    assert "is outside of its 8 x 16 pixels" in status(panel, error=True)
    panel.boxes.value = ""
    panel.upload.value = uploaded(1, content=b"no picture")
    assert "cannot be read as an image" in status(panel, error=True)


def test_a_page_of_one_file(photos, embedder, tmp_path):
    gallery = open_gallery(photos, embedder)
    (photos / "05.png").unlink()  # meanwhile
    found = query(embedder, gallery, pictures_table([photos / "00.png", photos / "04.png"]), k=12)
    assert [sheet.count("<img") for sheet in answer_sheets(found)] == [13, 13]
    page = write_answer(found, tmp_path / "found")
    text = page.read_text()
    assert text == answer_page(found)
    assert len(re.findall('src="data:image/jpeg;base64,', text)) == 26
    assert "<script" not in text
    assert not re.findall(r"(src|href)=\"(?!data:)", text)
    assert (tmp_path / "found" / "answer.csv").read_text().count("\n") == 25
