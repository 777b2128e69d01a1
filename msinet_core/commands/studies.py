"""`msinet trust | study | demo`: many small runs and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msinet_core.commands.parsing import Run
from msinet_core.config import Device


def trust(
    *,
    run: Run,
    seeds: tuple[Path, ...] = (),
    random: int = 30,
    trainings: int = 0,
    max_identities: int = 60,
    root: Path | None = None,
    to: Path | None = None,
) -> None:
    """Is a search to be trusted? Better than random, stable over seeds, what its operations really do.

    Everything is measured on identities of the search that trained no weight, never on test images.

    Args:
        run: The search's run folder, finished or not; it is only read.
        seeds: Runs of the same search with other seeds, to see whether they agree.
        random: Random genotypes to compare with.
        trainings: Short trainings from scratch to check the supernet's ranking (8 or more; 0 for none).
        max_identities: Of those that trained no weight, how many to retrieve among.
        root: Where the data is, if it was moved.
        to: Folder for tables and pictures; default `trust` in the run folder.
    """
    from dataclasses import replace

    from msinet_core import loop
    from msinet_core.figures.style import save
    from msinet_core.figures.trust import trust_figures
    from msinet_core.runs import RunFolder
    from msinet_core.search.diagnostics import diagnose

    folder = RunFolder(run)
    config, place = folder.config(), to or run / "trust"
    dataset = loop.open_dataset(replace(config, root=str(root)) if root else config)
    found = diagnose(
        folder, dataset=dataset, others=seeds, random=random, trainings=trainings, max_identities=max_identities,
        folder=place / "trainings",
    )  # fmt: skip
    found.save(place)
    for name, figure in trust_figures(found).items():
        save(figure, place / f"{name}.png")
    print(f"{found}\n\ntables and pictures: {place}")


def study(
    *,
    folder: Path = Path("runs/study"),
    parts: tuple[Literal["a", "b", "c", "d"], ...] = ("a", "b", "c", "d"),
    seeds: tuple[int, ...] = (0, 1, 2),
    kinds: tuple[Literal["people", "vehicles"], ...] = ("people", "vehicles"),
    turntable: Path | None = None,
    to: Path | None = None,
    search_steps: int = 48,
    train_epochs: int = 7,
    train_identities: int = 40,
    random: int = 2,
    device: Device = "auto",
) -> None:
    """Put the paper's claims to the test on small data: a table, a verdict for each, stop and go on at will.

    At its default size all four parts take from half an hour of one fast processor core to three hours of a slow one.

    Args:
        folder: For the data and a run folder for every cell; finished cells are taken as they are.
        parts: a twins split, b searched against random and the paper's, c alignment across domains, d ResNets.
        seeds: One search and training of everything for each.
        kinds: Generated data to use.
        turntable: Folder of a data set of your own with a manifest, to use as well.
        to: The table, ending in .csv; verdicts, pictures, a text and circumstances go beside it. Default: study.csv in the folder.
        search_steps: Of every search.
        train_epochs: Of every training.
        train_identities: Generated for training; as many again for tests.
        random: Random genotypes for each seed.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_core.figures.style import save
    from msinet_core.figures.trust_study import study_figures
    from msinet_core.search.study import Study, StudySize, markdown, summary, verdicts

    size = StudySize(
        train_identities=train_identities, test_identities=train_identities, search_steps=search_steps,
        train_epochs=train_epochs, random=random, device=device,
    )  # fmt: skip
    place = to or folder / "study.csv"
    rows = Study(folder, size, seeds, kinds, turntable).carry_out(parts, place)
    for name, figure in study_figures(rows).items():
        save(figure, place.with_name(f"{place.stem}_{name}.png"))
    place.with_suffix(".md").write_text(markdown(rows))
    print(summary(rows).round(4).to_string(index=False))
    print(verdicts(rows).round(4).to_string(index=False), f"table: {place}", sep="\n\n")


def demo(*, run: Run = Path("runs/demo"), seed: int = 0, device: Device = "auto") -> None:
    """The whole method in minutes: generate, search, derive, train, evaluate, first pictures.

    Args:
        run: Folder for the data, both runs and the pictures.
        seed: Of everything random.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_core.demo import run_demo

    run_demo(run, seed=seed, device=device)
