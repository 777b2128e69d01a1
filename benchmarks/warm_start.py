"""What a start from pretrained weights brings, at a laptop's size.

    python -m benchmarks.warm_start --turntable turntable --folder runs/warm_start

A small network learns to tell generated vehicles by their type and colour, then it is trained on
photographs of a turntable, from those weights and from scratch, for equally many epochs: one
pretraining, three seeds of the training, 64 x 64 pixels. The difference of mAP is paired by seed,
with its 95 % interval by Student's t. Runs that have finished are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.__main__ import machine
from msinet_core.config import PretrainConfig, TrainConfig
from msinet_core.files import replace_file
from msinet_core.training import pretrain, train
from msinet_lab.carrying import finished_run
from msinet_lab.diagnosis.statistics import mean_interval
from msinet_lab.study.carrying_out import seconds_of
from msinet_lab.synthetic import generate

SEEDS = (0, 1, 2)
IDENTITIES, IMAGES = 240, 6  # of the generated vehicles
COMMON: dict[str, Any] = {
    "height": 64,
    "width": 64,
    "channels": (16, 32, 48, 64),
    "augmentation": "none",
    "device": "cpu",
    "pad": 5,
    "save_every": 1000,
    "evaluate_every": 0,
    "warmup_epochs": 1,
}


def vehicles(folder: Path) -> Path:
    """Generated vehicles as a table whose identity is type and colour; gives its folder."""
    numbers = {"train_identities": IDENTITIES, "images_per_identity": IMAGES}
    root = generate("vehicles", folder, **numbers) / "VeRi"
    images, who = pd.read_csv(root / "images.csv"), pd.read_csv(root / "identities.csv")
    table = images[["path", "identity"]].merge(who[["identity", "type", "colour"]], on="identity")
    table = table[table["path"].str.startswith("image_train/")]
    table["identity"] = table["type"] + " " + table["colour"]
    counts = table["identity"].map(table["identity"].value_counts())
    table = table[counts >= 2 * IMAGES].assign(split="train")[["path", "identity", "split"]]
    replace_file(root / "classes.csv", table.to_csv(index=False, lineterminator="\n"))
    return root


def measure(folder: Path, turntable: Path, epochs: int, pretraining: int) -> pd.DataFrame:
    """A row for each seed and start."""
    data = {"data": "manifest", "root": str(vehicles(folder / "vehicles"))}
    classes = {**data, "options": ("file=classes.csv",), "learning_rate": 0.05, "batch": 32}
    config = PretrainConfig(**COMMON, **classes, epochs=pretraining)
    first = finished_run(pretrain, config, folder / f"pretraining-{pretraining}", progress=False)
    about = {"top1": (first.metrics() or {})["top1"], "pretraining": seconds_of(first)}
    rows = []
    for seed in SEEDS:
        for name, weights in (("scratch", None), ("pretrained", str(first.path))):
            batch = {"identities_per_batch": 8, "images_per_identity": 4}
            data = {"data": "manifest", "root": str(turntable)}
            own = {"epochs": epochs, "learning_rate": 0.02, "weights": weights, "seed": seed}
            config = TrainConfig(**COMMON, **batch, **data, **own)
            place = folder / f"{name}-{epochs}-seed-{seed}"
            run = finished_run(train, config, place, progress=False)
            metrics = run.metrics() or {}
            scores = {key: round(metrics[key], 4) for key in ("mAP", "rank1")}
            row = {"seed": seed, "start": name, "epochs": epochs, **scores}
            rows.append({**row, "seconds": seconds_of(run), **about})
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
    return pd.DataFrame(rows).round(4)


def said(table: pd.DataFrame) -> str:
    """The means and the difference, with its interval, in a sentence."""
    by_start = table.pivot(index="seed", columns="start", values="mAP")
    mean, low, high = mean_interval(100 * (by_start["pretrained"] - by_start["scratch"]))
    scratch, pretrained = (100 * by_start[name].mean() for name in ("scratch", "pretrained"))
    epochs = table["epochs"].iloc[0]
    return (
        f"mAP after {epochs} epochs, mean of {len(by_start)} seeds: {scratch:.1f} % from "
        f"scratch, {pretrained:.1f} % from pretrained weights; difference {mean:+.1f} points, "
        f"95 % interval {low:+.1f} to {high:+.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--turntable", type=Path, required=True, help="folder with a manifest.csv")
    parser.add_argument("--folder", type=Path, default=Path("runs/warm_start"))
    parser.add_argument("--epochs", type=int, default=6, help="of the trainings")
    parser.add_argument("--pretraining", type=int, default=12)
    parser.add_argument("--to", type=Path, help="a CSV of every row")
    asked = parser.parse_args()
    table = measure(asked.folder, asked.turntable, asked.epochs, asked.pretraining)
    if asked.to:
        whole = table.assign(**machine())
        replace_file(asked.to, whole.to_csv(index=False, lineterminator="\n"))
    print(said(table))


if __name__ == "__main__":
    main()
