"""How fast photographs become batches, against the usual per-image path. `python -m
benchmarks.data`

The per-image path is what ReID code usually does: in `DataLoader` processes, each image is opened
with PIL, resized, flipped, padded, cropped, turned into a tensor, normalised and erased by
torchvision. Ours: `open_images`, then `TrainBatches`. Same pictures, same sampler, same settings,
same number of workers, one after the other in the same run, several times round; the median counts.

The pictures are generated: 64 x 128 pixels, JPEG, as Market-1501's are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks._rows import Row, row
from msinet_core.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    IdentitySampler,
    ImageReader,
    TrainBatches,
    open_images,
)

HEIGHT, WIDTH, P, K = 256, 128, 16, 4
MARKET = 12_936  # training images of Market-1501, of 751 identities
RESULTS = Path(__file__).parent / "results"
PARTS = ("cache", "throughput")


class PerImage(Dataset):
    """The usual path."""

    def __init__(self, files: list[Path], settings: Augmentation) -> None:
        self.files = files
        steps: list[Any] = [
            transforms.Resize((HEIGHT, WIDTH)),
            transforms.RandomHorizontalFlip(settings.flip),
            transforms.Pad(settings.pad),
            transforms.RandomCrop((HEIGHT, WIDTH)),
        ]
        if settings.jitters:
            steps.append(
                transforms.ColorJitter(settings.brightness, settings.contrast, settings.saturation)
            )
        steps += [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        if settings.erase:
            fill = list(settings.erase_fill)
            steps.append(
                transforms.RandomErasing(
                    settings.erase, settings.erase_area, settings.erase_aspect, fill
                )
            )
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def write_pictures(folder: Path, count: int) -> pd.DataFrame:
    """Colour gradients with coarse and fine texture, whose files are as large as Market-1501's."""
    folder.mkdir(parents=True)

    def write(n: int) -> str:
        rng = np.random.default_rng(n)
        picture = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)).resize(
            (64, 128), Image.Resampling.BICUBIC
        )
        noise = rng.normal(0, 6, (128, 64, 1))
        name = f"{n:05d}.jpg"
        Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)).save(
            folder / name, quality=90
        )
        return name

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = list(pool.map(write, range(count)))
    return pd.DataFrame({"path": names, "label": np.arange(count) * 751 // MARKET})


def rate(batches: Iterable[Any], most: int) -> float:
    """Images a second, the first batch (which starts the workers) left out."""
    images, begin = 0, 0.0
    for step, batch in enumerate(batches):
        if step == 0:
            begin = time.perf_counter()
            continue
        images += len(batch[0] if isinstance(batch, tuple) else batch)
        if step == most:
            break
    return images / (time.perf_counter() - begin)


def paths_to_compare(
    root: Path, table: pd.DataFrame, readers: dict[str, ImageReader], settings: Augmentation
) -> dict[str, Callable[[int, int], float]]:
    """For each path, a function of (workers, batches) that gives images a second."""
    sampler = IdentitySampler(table["label"], P, K, seed=0)

    def per_image(workers: int, most: int) -> float:
        dataset = PerImage([root / path for path in table["path"]], settings)
        return rate(
            DataLoader(dataset, batch_sampler=sampler.epoch(0)[: most + 1], num_workers=workers),
            most,
        )

    def ours(reader: ImageReader) -> Callable[[int, int], float]:
        def run(workers: int, most: int) -> float:
            return rate(
                TrainBatches(reader, table["label"], sampler, settings, workers=workers).epoch(0),
                most,
            )

        return run

    return {
        "per image": per_image,
        **{f"cache {name}": ours(reader) for name, reader in readers.items()},
    }


def throughput(
    root: Path, table: pd.DataFrame, cache_dir: Path, workers: Sequence[int], rounds: int
) -> pd.DataFrame:
    """Images a second of every path, augmentation and number of workers: the median of `rounds`."""
    rows = []
    readers = {
        cache: open_images(table, root, HEIGHT, WIDTH, cache=cache, cache_dir=cache_dir)
        for cache in ("memory", "disk", "none")
    }
    for name, settings in (
        ("within", Augmentation.within_domain()),
        ("across", Augmentation.across_domains()),
    ):
        paths = paths_to_compare(root, table, readers, settings)
        paths["cache memory"](0, 2)  # compiles
        for count in workers:
            found: dict[str, list[float]] = {path: [] for path in paths}
            for _ in range(rounds):
                for path, run in paths.items():
                    found[path].append(
                        run(count, 10 if path in ("per image", "cache none") else 60)
                    )
            rows += [
                (name, path, count, float(np.median(values))) for path, values in found.items()
            ]
            shown = ", ".join(f"{path} {np.median(values):,.0f}" for path, values in found.items())
            print(f"{name}, {count} workers: {shown} images/s", flush=True)
    return pd.DataFrame(rows, columns=["augmentation", "path", "workers", "images_per_second"])


def building(root: Path, table: pd.DataFrame, cache_dir: Path) -> list[Row]:
    """Seconds to make and to find again the cache of a Market-sized training set, and its size."""
    begin = time.perf_counter()
    open_images(table, root, HEIGHT, WIDTH, cache="disk", cache_dir=cache_dir, progress=True)
    made = time.perf_counter()
    open_images(table, root, HEIGHT, WIDTH, cache="disk", cache_dir=cache_dir)
    found = time.perf_counter()
    size = sum(file.stat().st_size for file in cache_dir.glob("*.u8")) / 1e9
    what = f"cache of {len(table):,} images"
    return [
        row(f"{what}: size", size, "GB", "<= 1.3"),
        row(f"{what}: built", made - begin, "s"),
        row(f"{what}: found again", found - made, "s"),
    ]


def plot(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    for axes, (name, part) in zip(
        figure.subplots(1, 2, sharey=True), table.groupby("augmentation", sort=False), strict=True
    ):
        for path, line in part.groupby("path", sort=False):
            axes.plot(line["workers"], line["images_per_second"], marker="o", label=path)
        axes.set(
            title=f"augmentation {name} domain{'s' * (name == 'across')}",
            xlabel="workers",
            yscale="log",
        )
        axes.set_xticks(sorted(part["workers"].unique()))
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].set_ylabel("images a second")
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False
    )
    return figure


def ratios(rates: pd.DataFrame) -> list[Row]:
    """How many times faster than the per-image path, at the same number of workers."""
    wide = rates.pivot_table(
        index=["augmentation", "path"], columns="workers", values="images_per_second", sort=False
    )
    print(wide.round(0).to_string())
    rows = []
    for name in ("cache memory", "cache disk"):
        ratio = wide.xs(name, level="path") / wide.xs("per image", level="path")
        for augmentation, line in ratio.iterrows():
            rows += [
                row(
                    f"{name} / per image, {augmentation}, {workers} workers",
                    figure,
                    "times",
                    ">= 5",
                )
                for workers, figure in line.items()
            ]
    return rows


def run(
    parts: tuple[str, ...] = PARTS,
    images: int = MARKET,
    sample: int = 4096,
    workers: tuple[int, ...] = (0, 1, 2, 4),
    rounds: int = 3,
) -> pd.DataFrame:
    """Both parts; about three minutes on two cores, 1.5 GB of disk. Draws the plot, too."""
    warnings.filterwarnings(
        "ignore", "This DataLoader will create"
    )  # more workers than cores: on purpose
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        root, cache_dir = Path(scratch) / "pictures", Path(scratch) / "cache"
        table = write_pictures(root, max(images if "cache" in parts else 0, sample))
        if "cache" in parts:
            rows += building(root, table[:images], cache_dir)
        if "throughput" in parts:
            rates = throughput(root, table[:sample], cache_dir, workers, rounds)
            RESULTS.mkdir(exist_ok=True)
            rates.to_csv(RESULTS / "data_throughput.csv", index=False)
            plot(rates).savefig(RESULTS / "data_throughput.png", dpi=110)
            rows += ratios(rates)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument(
        "--images", type=int, default=MARKET, help="in the cache that is built and timed"
    )
    parser.add_argument("--sample", type=int, default=4096, help="images that batches are made of")
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 1, 2, 4))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    table = run(tuple(given.part), given.images, given.sample, tuple(given.workers), given.rounds)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
