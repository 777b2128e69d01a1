"""The whole method in minutes: generate data, search, derive, train, evaluate, look."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset
from msinet_core.errors import ReidError
from msinet_core.files import own_folder
from msinet_core.models import MSINet
from msinet_core.options import Device
from msinet_core.retrieval import Embedder, RetrievalResult, evaluate
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.space import Genotype
from msinet_core.speed import choose_device
from msinet_core.training import load_network, train
from msinet_lab.carrying import finished_run
from msinet_lab.synthetic import generate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DemoSize:
    """How much work a demo is. The default takes one to four minutes of two cores."""

    train_identities: int = 120
    test_identities: int = 50
    images_per_identity: int = 12
    height: int = 64
    width: int = 32
    search_epochs: int = 3
    train_epochs: int = 10


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves behind."""

    folder: Path
    dataset: ReidDataset
    search_run: RunFolder
    train_run: RunFolder
    untrained: RetrievalResult
    trained: RetrievalResult

    def __repr__(self) -> str:
        """The genotype and both scores, which differ a little from machine to machine."""
        lines = [f"genotype    {self.search_run.genotype()}"]
        lines += [f"{'':<12}{'mAP':>8}{'rank-1':>8}{'rank-5':>8}"]
        for name, result in (("untrained", self.untrained), ("trained", self.trained)):
            scores = (result.metrics()[metric] for metric in ("mAP", "rank1", "rank5"))
            lines.append(f"{name:<12}" + "".join(f"{score:>8.3f}" for score in scores))
        return "\n".join([*lines, f"pictures    {(self.folder / 'figures').as_posix()}"])


def run_demo(
    folder: str | Path = "runs/demo",
    *,
    seed: int = 0,
    device: Device = "auto",
    size: DemoSize | None = None,
    progress: bool = True,
) -> DemoResult:
    """Carry out the demo in `folder`; steps that an earlier call finished are taken as they are.

    An interrupted demo goes on where it stopped.
    """
    folder, size, started = Path(folder), size or DemoSize(), time.perf_counter()

    def say(text: str) -> None:
        if progress:
            print(f"[{time.perf_counter() - started:4.0f} s] {text}", flush=True)

    say("1/5 drawing people, seen by six cameras")
    root = generate(
        "people",
        folder / "people",
        train_identities=size.train_identities,
        test_identities=size.test_identities,
        images_per_identity=size.images_per_identity,
        seed=seed,
        progress=progress,
    )
    dataset = load_dataset("market1501", root)
    say("2/5 searching an architecture with the twins contrastive mechanism")
    config: SearchConfig | TrainConfig = search_config(root, size, seed, device)
    search_run = finished_run(search, config, folder / "search", progress=progress)
    say(f"3/5 derived {_found(search_run)}")
    say("4/5 training the derived network")
    config = train_config(root, size, seed, device, search_run)
    train_run = finished_run(train, config, folder / "train", progress=progress)
    say("5/5 comparing with the untrained network, drawing pictures")
    scores = _before_and_after(train_run, dataset, size, seed)
    result = DemoResult(folder, dataset, search_run, train_run, *scores)
    save_pictures(result)
    say("done")
    if progress:
        print(result)
    return result


def _common(root: Path, size: DemoSize, seed: int, device: Device) -> dict[str, Any]:
    """Fields of both configurations: half the paper's batch, no erasing in so few epochs."""
    return {
        "data": "market1501",
        "root": str(root),
        "height": size.height,
        "width": size.width,
        "identities_per_batch": 8,
        "warmup_epochs": 1,
        "augmentation": "none",
        "seed": seed,
        "device": device,
    }


def search_config(root: Path, size: DemoSize, seed: int, device: Device) -> SearchConfig:
    """The demo's search: the paper's recipe, small; alpha moves faster, as there are few steps to
    move in.
    """
    return SearchConfig(
        **_common(root, size, seed, device),
        epochs=size.search_epochs,
        stratify_by_camera=True,
        cell_width="reference",
        alpha_learning_rate=0.02,
        milestones=(100,),
        alpha_milestones=(100,),
    )


def train_config(
    root: Path, size: DemoSize, seed: int, device: Device, search_run: RunFolder
) -> TrainConfig:
    """The demo's training with the genotype that the search found.

    Batches of half the size ask for a smaller rate than the paper's, and so few epochs for
    gradients at their full length: at this rate they do no harm, and there is no time to lose.
    """
    return TrainConfig(
        **_common(root, size, seed, device),
        epochs=size.train_epochs,
        learning_rate=0.02,
        milestones=(8,),
        max_gradient_norm=None,
        genotype=str(_found(search_run)),
        evaluate_every=5,
    )


def _found(run: RunFolder) -> Genotype:
    """What the search found; `ReidError` where somebody took it away."""
    genotype = run.genotype()
    if genotype is None:
        raise ReidError(
            f"the search in {str(run.path)!r} has finished, but its genotype.json is gone; delete "
            "that folder, and the demo searches again"
        )
    return genotype


def _before_and_after(
    run: RunFolder, dataset: ReidDataset, size: DemoSize, seed: int
) -> tuple[RetrievalResult, RetrievalResult]:
    """Scores of the network as initialised and as trained."""
    trained = load_network(run)
    assert isinstance(trained, MSINet)
    torch.manual_seed(seed)
    untrained = MSINet(trained.genotype, 1).eval()
    device = choose_device(run.config().device)
    before, after = (
        evaluate(Embedder(model, size.height, size.width, device=device), dataset)
        for model in (untrained, trained)
    )
    return before, after


def save_pictures(result: DemoResult) -> list[Path]:
    """Alpha heatmap by stage, curves, the network, and rank lists of the five best and worst
    queries.
    """
    from msinet_lab.figures import architecture, curves, network, retrieval, style

    folder = own_folder(result.folder / "figures", "demo's pictures")
    photos = retrieval.shelves(result.trained, result.dataset.root)
    figures: dict[str, Figure] = {
        "alpha_heatmap": architecture.alpha_heatmap(result.search_run),
        "search_curves": curves.search_curves(result.search_run.lines()),
        "network": network.draw_network(_found(result.search_run)),
        "training_curves": curves.training_curves(result.train_run.lines()),
        "rank_lists": retrieval.rank_list_figure(result.trained, *photos),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(style.save(figure, folder / f"{name}.png", dpi=120))
    return paths
