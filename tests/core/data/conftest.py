"""Small copies of every layout, names and list files included."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_image(path: Path, height: int = 32, width: int = 16) -> None:
    """A small picture that depends on its path only, so that no two files are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(str(path).encode()).digest()[:4], "little")
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(path)


def write_all(root: Path, names: Iterable[str]) -> None:
    for name in names:
        write_image(root / name)


@pytest.fixture
def image() -> Callable[..., None]:
    return write_image


@pytest.fixture
def images() -> Callable[[Path, Iterable[str]], None]:
    return write_all


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Market-1501's layout: 3 training identities, 2 tested, junk and a distractor."""
    root = tmp_path / "Market-1501-v15.09.15"
    write_all(
        root,
        [
            *(
                f"bounding_box_train/{i:04d}_c{c}s1_{n:06d}_01.jpg"
                for i in (2, 7, 11)
                for c in (1, 3)
                for n in (151, 276)
            ),
            *(f"query/{i:04d}_c{c}s1_000001_00.jpg" for i in (1, 3) for c in (1, 6)),
            *(
                f"bounding_box_test/{i:04d}_c{c}s2_{n:06d}_04.jpg"
                for i in (1, 3)
                for c in (1, 6)
                for n in (2, 9)
            ),
            "bounding_box_test/-1_c1s1_000401_03.jpg",
            "bounding_box_test/0000_c4s3_012345_02.jpg",
        ],
    )
    (root / "bounding_box_test" / "Thumbs.db").write_bytes(b"not an image")
    return root


@pytest.fixture
def veri(tmp_path: Path) -> Path:
    """VeRi-776's layout; as in the real one, the queries are in the gallery too."""
    root = tmp_path / "VeRi"
    queries = [f"{i:04d}_c{c:03d}_00016450_0.jpg" for i in (2, 5) for c in (1, 20)]
    write_all(
        root,
        (
            f"image_train/{i:04d}_c{c:03d}_000{n}_0.jpg"
            for i in (1, 3)
            for c in (2, 19)
            for n in (10, 20)
        ),
    )
    write_all(root, (f"image_query/{name}" for name in queries))
    write_all(
        root, (f"image_test/{i:04d}_c{c:03d}_00077777_0.jpg" for i in (2, 5) for c in (1, 20))
    )
    for name in queries:
        (root / "image_test" / name).write_bytes((root / "image_query" / name).read_bytes())
    (root / "list_color.txt").write_text("1 yellow\n")
    return root


def write_msmt17(root: Path, version: str = "V1") -> Path:
    """MSMT17's layout, both of whose lists number identities from 0."""
    folder = root / f"MSMT17_{version}"
    train, test = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}[version]
    name = "{i:04d}/{i:04d}_{n:03d}_{c:02d}_0303morning_{n:04d}_0.jpg"
    lists = {
        "list_train.txt": (train, [(i, n, c) for i in (0, 1, 2) for n, c in enumerate((1, 15, 7))]),
        "list_val.txt": (train, [(i, 9, 4) for i in (0, 2)]),
        "list_query.txt": (test, [(i, 0, 2) for i in (0, 1)]),
        "list_gallery.txt": (test, [(i, n, c) for i in (0, 1) for n, c in ((1, 3), (2, 12))]),
    }
    for file, (part, entries) in lists.items():
        paths = [(name.format(i=i, n=n, c=c), i) for i, n, c in entries]
        write_all(folder / part, (path for path, _ in paths))
        (folder / file).write_text("".join(f"{path} {i}\n" for path, i in paths))
    return folder


@pytest.fixture
def msmt17(tmp_path: Path) -> Callable[..., Path]:
    return lambda version="V1": write_msmt17(tmp_path, version)


@pytest.fixture
def vehicleid(tmp_path: Path) -> Path:
    """VehicleID's layout, its test list of 800 cut to 6 identities of 2 to 5 images."""
    root = tmp_path / "VehicleID"
    train = [(f"{100 + 10 * i + n:07d}", 40 + i) for i in range(3) for n in range(4)]
    test = [(f"{900 - 10 * i - n:07d}", 500 + i) for i in range(6) for n in range(2 + i % 4)]
    write_all(root / "image", (f"{name}.jpg" for name, _ in train + test))
    lists = root / "train_test_split"
    lists.mkdir()
    (lists / "train_list.txt").write_text("".join(f"{name} {i}\n" for name, i in train))
    (lists / "test_list_800.txt").write_text("".join(f"{name} {i}\n" for name, i in test))
    (lists / "test_list_1600.txt").write_text("".join(f"{name} {i}\n" for name, i in test[:9]))
    return root


@pytest.fixture
def cuhk03(tmp_path: Path) -> Path:
    root = tmp_path / "cuhk03-np"
    for boxes, count in (("detected", 2), ("labeled", 3)):
        write_all(
            root / boxes,
            [
                *(
                    f"bounding_box_train/{i:04d}_c{c}_{n}.png"
                    for i in (1, 4)
                    for c in (1, 2)
                    for n in range(1, count + 1)
                ),
                *(f"query/{i:04d}_c{c}_1.png" for i in (3, 9) for c in (1, 2)),
                *(
                    f"bounding_box_test/{i:04d}_c{c}_{n}.png"
                    for i in (3, 9)
                    for c in (1, 2)
                    for n in (2, 21)
                ),
            ],
        )
    return root


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a manifest and every image that it names."""

    def write(text: str, folder: str = "mine") -> Path:
        root = tmp_path / folder
        for line in text.strip().splitlines()[1:]:
            write_image(root / line.split(",")[0])
        root.mkdir(exist_ok=True)
        (root / "manifest.csv").write_text(text, encoding="utf-8")
        return root

    return write
