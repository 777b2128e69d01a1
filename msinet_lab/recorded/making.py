"""Make what `msinet_lab.recorded` holds: draw people, search with several seeds, train, strip.

    python -m msinet_lab.recorded.making [WORK] [TO]

Minutes of a GPU, hours of a few cores; a run that was stopped goes on when it is called again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.errors import ReidError
from msinet_core.options import Device
from msinet_core.runs.checkpoints import Checkpoint, replace_checkpoint
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.space import PAPER_GENOTYPE
from msinet_core.training import train
from msinet_lab.carrying import finished_run
from msinet_lab.recorded import HERE
from msinet_lab.synthetic import generate

SEED = 2026  # of the people, which no notebook draws
FILES = ("config.json", "genotype.json", "history.jsonl", "metrics.json")
CLASSIFIERS = (
    "classifier.weight",
    "classifier.bias",
    "part_classifier.weight",
    "part_classifier.bias",
)


@dataclass(frozen=True)
class Size:
    """How much is made. The default is what is in the package."""

    search_identities: int = 160
    search_epochs: int = 40
    seeds: tuple[int, ...] = (0, 1, 2)
    train_identities: int = 400
    test_identities: int = 50
    train_epochs: int = 10
    precision: Literal["fp32", "bf16"] = "bf16"


def search_config(root: Path, size: Size, seed: int, device: Device) -> SearchConfig:
    """A search as the demo's, longer: a warm-up first, so that no operation wins for training fast,
    then a temperature that falls, so that what leads a little takes more and more of the mix.
    """
    return SearchConfig(
        data="market1501",
        root=str(root),
        height=64,
        width=32,
        channels=(32, 96, 128, 192),
        identities_per_batch=8,
        epochs=size.search_epochs,
        alpha_warmup_epochs=size.search_epochs // 10,
        alpha_learning_rate=0.01,
        alpha_milestones=(1000,),
        milestones=(1000,),
        alpha_temperature_end=0.25,
        augmentation="none",
        stratify_by_camera=True,
        pad=3,
        seed=seed,
        device=device,
    )


def train_config(root: Path, size: Size, device: Device) -> TrainConfig:
    """The paper's genotype with the recipe `strong`, but for its colours: in so few epochs the
    network sees each person too rarely to bear changed ones.
    """
    return TrainConfig(
        data="market1501",
        root=str(root),
        height=128,
        width=64,
        identities_per_batch=8,
        genotype=str(PAPER_GENOTYPE),
        epochs=size.train_epochs,
        warmup_epochs=1,
        **{**TrainConfig.RECIPES["strong"], "augmentation": "none"},
        precision=size.precision,
        evaluate_every=2,
        device=device,
    )


def stripped(run: RunFolder, place: Path) -> Path:
    """A new folder with the run's small files, its data's folder forgotten, and no line a step."""
    if place.exists():
        raise ReidError(f"{str(place)!r} is there already; move it away, or write elsewhere")
    place.mkdir(parents=True)
    for name in FILES:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, place / name)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "root": ""}, indent=1) + "\n")
    lines = (json.dumps(line) for line in run.lines() if line["kind"] != "step")
    (place / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return place


def half(checkpoint: Checkpoint) -> Checkpoint:
    """The network in half precision, with classifiers of a single identity."""
    weights: dict[str, Any] = {
        name: value[:1] if name in CLASSIFIERS else value
        for name, value in checkpoint.weights.items()
    }
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in weights.items()
    }
    return replace(checkpoint, weights=weights, state={"num_identities": 1})


def make(work: Path, to: Path, size: Size, device: Device = "auto") -> None:
    """Carry out what is not done yet, below `work`, and write the small folders below `to`."""
    make_network(work, to, size, device)
    for seed in size.seeds:
        make_search(work, to, size, seed, device)


def make_network(work: Path, to: Path, size: Size, device: Device) -> None:
    """Train a network, and keep it in half precision."""
    people = drawn(work / "many", size.train_identities, size.test_identities)
    run = finished_run(train, train_config(people, size, device), work / "network", progress=True)
    place = stripped(run, to / "network")
    replace_checkpoint(place / "checkpoints", half(run.checkpoint()), finished=True)


def make_search(work: Path, to: Path, size: Size, seed: int, device: Device) -> None:
    """Search with one seed, and keep how it went."""
    people = drawn(work / "few", size.search_identities, 2)
    config, name = search_config(people, size, seed, device), f"search-seed-{seed}"
    run = finished_run(search, config, work / name, progress=True)
    stripped(run, to / name)


def drawn(root: Path, identities: int, test_identities: int) -> Path:
    """The folder of so many people for training, and for testing, drawn if it is not there."""
    return generate(
        "people",
        root,
        train_identities=identities,
        test_identities=test_identities,
        images_per_identity=12,
        seed=SEED,
        progress=True,
    )


def main(work: Path = Path("runs/recorded"), to: Path = HERE, device: Device = "auto") -> None:
    """Draw people, search, train, and keep what is small of it."""
    make(work, to, Size(), device)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
