"""The whole method in minutes, on generated data: generate, search, derive, train, evaluate, look."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from msinet_core.config import Device, SearchConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset
from msinet_core.models import MSINet
from msinet_core.retrieval import Embedder, RetrievalResult, evaluate
from msinet_core.runs.devices import choose_device
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.training import load_network, train
from msinet_lab.synthetic import generate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DemoSize:
    """How much work a demo is. The default fits two cores and six minutes."""

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
        before, after = self.untrained.metrics(), self.trained.metrics()
        rows = [f"{'':<12}{'mAP':>8}{'rank-1':>8}{'rank-5':>8}"]
        for name, values in (("untrained", before), ("trained", after)):
            rows.append(
                f"{name:<12}{values['mAP']:>8.3f}{values['rank1']:>8.3f}{values['rank5']:>8.3f}"
            )
        return "\n".join(
            [
                f"genotype    {self.search_run.genotype()}",
                *rows,
                f"pictures    {self.folder / 'figures'}",
            ]
        )


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
    search_run = _finish(
        search, search_config(root, size, seed, device), folder / "search", progress
    )
    say(f"3/5 derived {search_run.genotype()}")
    say("4/5 training the derived network")
    train_run = _finish(
        train, train_config(root, size, seed, device, search_run), folder / "train", progress
    )
    say("5/5 comparing with the untrained network, drawing pictures")
    result = DemoResult(
        folder, dataset, search_run, train_run, *_before_and_after(train_run, dataset, size, seed)
    )
    save_pictures(result)
    say("done")
    if progress:
        print(result)
    return result


def search_config(root: Path, size: DemoSize, seed: int, device: Device) -> SearchConfig:
    """The demo's search: the paper's recipe, small; alpha moves faster, as there are few steps to
    move in.
    """
    return SearchConfig(
        data="market1501",
        root=str(root),
        height=size.height,
        width=size.width,
        epochs=size.search_epochs,
        identities_per_batch=8,
        stratify_by_camera=True,
        cell_width="reference",
        alpha_learning_rate=0.02,
        milestones=(100,),
        alpha_milestones=(100,),
        warmup_epochs=1,
        augmentation="none",
        seed=seed,
        device=device,
    )


def train_config(
    root: Path, size: DemoSize, seed: int, device: Device, search_run: RunFolder
) -> TrainConfig:
    """The demo's training with the genotype that the search found.

    Batches of half the size ask for a smaller rate than the paper's, and so few epochs for no
    erasing and for gradients at their full length: at this rate they do no harm, and there is no
    time to lose.
    """
    return TrainConfig(
        data="market1501",
        root=str(root),
        height=size.height,
        width=size.width,
        epochs=size.train_epochs,
        identities_per_batch=8,
        learning_rate=0.02,
        milestones=(8,),
        warmup_epochs=1,
        augmentation="none",
        max_gradient_norm=None,
        seed=seed,
        device=device,
        genotype=str(search_run.genotype()),
        evaluate_every=5,
    )


def _finish(
    start: object, config: SearchConfig | TrainConfig, folder: Path, progress: bool
) -> RunFolder:
    """Begin a run, or go on with it where it stands."""
    run = RunFolder(folder)
    if run.finished and not run.config().differences(config):
        return run
    return start(config, run, resume=run.exists, progress=progress)  # type: ignore[operator]


def _before_and_after(
    run: RunFolder, dataset: ReidDataset, size: DemoSize, seed: int
) -> tuple[RetrievalResult, RetrievalResult]:
    """Scores of the network as initialised and as trained."""
    trained = load_network(run)
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
    from msinet_lab.figures import architecture, curves, network, retrieval

    folder = result.folder / "figures"
    folder.mkdir(exist_ok=True)
    searched = result.search_run.epochs()
    genotype = result.search_run.genotype()
    assert genotype is not None
    photos = retrieval.shelves(result.trained, result.dataset.root)
    figures: dict[str, Figure] = {
        "alpha_heatmap": architecture.alpha_heatmap(
            searched.iloc[-1]["alphas"], "After the last epoch"
        ),
        "search_curves": curves.search_curves(result.search_run.lines()),
        "network": network.draw_network(genotype),
        "training_curves": curves.training_curves(result.train_run.lines()),
        "rank_lists": retrieval.rank_list_figure(result.trained, *photos),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths
