"""What tests of several rooms share."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from common import TINY
from PIL import Image
from safetensors.torch import load_file

from msinet_core import Genotype
from msinet_core.data import IMAGENET_MEAN, IMAGENET_STD, ReidDataset

GOLDEN = Path(__file__).parent / "golden"
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

# One thread: nothing here is large, and two that wait for each other are slow where a third process
# is busy.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Tests in a browser come last: they find the runs that executing the notebooks has made."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A copy of the notebooks, with room for data and runs beside them, for all that open them."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_*"))
    return root


@pytest.fixture(scope="session")
def golden():
    """`golden(name)`: what the reference implementation computed, by case name."""
    cases = json.loads((GOLDEN / "cases.json").read_text())

    def load(name: str) -> SimpleNamespace:
        case, record = cases[name], load_file(GOLDEN / f"{name}.record.safetensors")
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return SimpleNamespace(
            **case,
            record=record,
            # The alignment module's weights lie by themselves, so that no file is over a megabyte.
            state={
                key: value
                for part in sorted(GOLDEN.glob(f"{name}.*"))
                if ".record." not in part.name
                for key, value in load_file(part).items()
            },
            images=(record["images_u8"].float() / 255 - mean) / std,
            architecture=Genotype(tuple(case["genotype"])),
        )

    return load


@pytest.fixture(scope="session")
def golden_file():
    """`golden_file(name)`: tensors of one file of the golden folder, or its JSON."""

    def load(name: str):
        path = GOLDEN / name
        return json.loads(path.read_text()) if path.suffix == ".json" else load_file(path)

    return load


def write_tiny_photographs(root: Path, identities: int = 8, images: int = 8) -> pd.DataFrame:
    """Noisy coloured squares, an identity a colour: 32 x 32, two cameras, half of the identities
    for testing.
    """
    rng = np.random.default_rng(0)
    rows = []
    (root / "images").mkdir(parents=True, exist_ok=True)
    for identity in range(2 * identities):
        colour = rng.integers(40, 216, 3)
        for number in range(images):
            camera = number % 2
            pixels = np.clip(colour + rng.normal(0, 20, (32, 32, 3)) + 15 * camera, 0, 255)
            path = f"images/{identity:03d}_c{camera}_{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(root / path)
            split = "train" if identity < identities else "query" if number < 2 else "gallery"
            rows.append({"path": path, "identity": identity, "camera": camera, "split": split})
    table = pd.DataFrame(rows)
    table.to_csv(root / "manifest.csv", index=False)
    return table


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """A folder with a manifest of 16 identities x 8 images; not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_photographs(root)
    return root


@pytest.fixture
def tiny_dataset(tiny_root) -> ReidDataset:
    return ReidDataset("tiny", tiny_root, pd.read_csv(tiny_root / "manifest.csv"))


@pytest.fixture(scope="session")
def tiny_settings(tiny_root) -> dict:
    """Configuration fields of a run over the tiny photographs that takes a second or two."""
    return {"root": str(tiny_root), **TINY}
