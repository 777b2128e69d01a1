"""The lab's commands: `msinet data generate | diagnose | study | matrix | demo | notebooks`,
`report | push | pull`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import tyro

from msinet_core.cli.parsing import Command, Run
from msinet_core.errors import ReidError
from msinet_core.files import (
    make_folder,
    named_errors,
    own_folder,
    read_bytes,
    replace_file,
    require_own,
)
from msinet_core.options import Device


def diagnose(
    *,
    run: Run,
    seeds: tuple[Path, ...] = (),
    random: int = 30,
    trainings: int = 0,
    max_identities: int = 60,
    root: Path | None = None,
    to: Path | None = None,
) -> None:
    """Is a search to be trusted? Better than random, stable over seeds, what its operations really
    do.

    Everything is measured on identities of the search that trained no weight, never on test images.

    Args:
        run: The search's run folder, finished or not; it is only read.
        seeds: Runs of the same search with other seeds, to see whether they agree.
        random: Random genotypes to compare with.
        trainings: Short trainings from scratch to check the supernet's ranking (8 or more; 0 for
            none).
        max_identities: Of those that trained no weight, how many to retrieve among.
        root: Where the data is, if it was moved.
        to: Folder for tables and pictures; default `trust` in the run folder.
    """
    from dataclasses import replace

    from msinet_core.runs.feeding import open_dataset
    from msinet_core.runs.folder import RunFolder
    from msinet_lab.diagnosis import diagnose as judged
    from msinet_lab.figures.diagnosis import diagnosis_figures
    from msinet_lab.figures.style import save

    folder = RunFolder(run)
    config, place = folder.config(), to or run / "trust"
    require_own(place, "diagnosis")  # before hours of work
    dataset = open_dataset(replace(config, root=str(root)) if root else config)
    found = judged(
        folder,
        dataset=dataset,
        others=seeds,
        random=random,
        trainings=trainings,
        max_identities=max_identities,
        folder=place / "trainings",
    )
    found.save(place)
    for name, figure in diagnosis_figures(found).items():
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
    pretrained: tuple[str, ...] = (),
    jobs: int = 1,
    device: Device = "auto",
) -> None:
    """Put the paper's claims to the test on small data: a table, a verdict for each, stop and go on
    at will.

    At its default size all four parts take from half an hour of one fast processor core to three
    hours of a slow one.

    Args:
        folder: For the data and a run folder for every cell; finished cells are taken as they are.
        parts: a twins split, b searched against random and the paper's, c alignment across domains,
            d ResNets (not the paper's claim).
        seeds: One search and training of everything for each.
        kinds: Generated data to use.
        turntable: Folder of a data set of your own with a manifest, to use as well.
        to: The table, ending in .csv; verdicts, pictures, a text and circumstances go beside it.
            Default: study.csv in the folder.
        search_steps: Of every search.
        train_epochs: Of every training.
        train_identities: Generated for training; as many again for tests.
        random: Random genotypes for each seed.
        pretrained: Weights for networks of part d, which are then compared pretrained as well, as
            msinet=runs/pretrained resnet50=resnet50.safetensors.
        jobs: Cells at once, each in a process of its own, which share the GPU or the cores.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_lab.figures.study import study_figures
    from msinet_lab.figures.style import save
    from msinet_lab.study import Study, StudySize, markdown, summary, verdicts

    size = StudySize(
        train_identities=train_identities,
        test_identities=train_identities,
        search_steps=search_steps,
        train_epochs=train_epochs,
        random=random,
        device=device,
    )
    place = to or folder / "study.csv"
    weights = {name: Path(file) for name, _, file in (text.partition("=") for text in pretrained)}
    rows = Study(folder, size, seeds, kinds, turntable, pretrained=weights, jobs=jobs).carry_out(
        parts, place
    )
    for name, figure in study_figures(rows).items():
        save(figure, place.with_name(f"{place.stem}_{name}.png"))
    replace_file(place.with_suffix(".md"), markdown(rows))
    print(summary(rows).round(4).to_string(index=False))
    print(verdicts(rows).round(4).to_string(index=False), f"table: {place}", sep="\n\n")


def matrix(
    *,
    models: tuple[str, ...],
    on: tuple[str, ...],
    to: Path = Path("runs/matrix"),
    metric: Literal["mAP", "rank1", "mINP"] = "mAP",
    device: Device = "auto",
) -> None:
    """Score several networks on several data sets: a table and a picture, with intervals.

    Args:
        models: Run folders, or other sources of networks.
        on: Data sets to score on, as name=folder or name=folder,option=value.
        to: Folder for matrix.csv and matrix.png.
        metric: What the picture shows; the table has all.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_core.config import named_folder
    from msinet_core.data import load_dataset
    from msinet_core.data.joining import numbered
    from msinet_core.retrieval import DomainMatrix, evaluate_across, load_model
    from msinet_core.speed import choose_device
    from msinet_lab.figures.matrix import draw_matrix
    from msinet_lab.figures.style import save

    require_own(to, "matrix")  # before hours of work
    place = choose_device(device)
    places = map(named_folder, on)
    datasets = [load_dataset(name, root, **options) for name, root, options in places]
    names = numbered([Path(os.path.expanduser(model)).name or model for model in models])
    found = DomainMatrix.of(
        {
            name: evaluate_across(
                load_model(os.path.expanduser(model), device=place, progress=True), datasets
            )
            for name, model in zip(names, models, strict=True)
        }
    )
    own_folder(to, "matrix")
    replace_file(to / "matrix.csv", found.table.to_csv(index=False))
    save(draw_matrix(found, metric), to / "matrix.png")
    print(f"{found}\n\ntable and picture: {to}")


def demo(*, run: Run = Path("runs/demo"), seed: int = 0, device: Device = "auto") -> None:
    """The whole method in minutes: generate, search, derive, train, evaluate, first pictures.

    Args:
        run: Folder for the data, both runs and the pictures.
        seed: Of everything random.
        device: Where to compute; auto takes a GPU if there is one.
    """
    from msinet_lab.demo import run_demo

    run_demo(run, seed=seed, device=device)


def generate(
    kind: tyro.conf.Positional[Literal["people", "vehicles"]],
    *,
    root: Path,
    domain: Literal["A", "B"] = "A",
    train_identities: int = 60,
    test_identities: int = 60,
    images_per_identity: int = 12,
    cameras: int = 6,
    seed: int = 0,
) -> None:
    """Draw photographs of people (Market-1501 layout) or vehicles (VeRi layout).

    Args:
        kind: people or vehicles.
        root: Where to write.
        domain: A or B: they differ in palette, background and cameras.
        train_identities: Identities to train with.
        test_identities: Other identities to test with.
        images_per_identity: Photographs of each.
        cameras: At least 6.
        seed: The same seed draws the same pictures.
    """
    from msinet_lab.synthetic import generate as draw

    folder = draw(
        kind,
        root,
        domain=domain,
        train_identities=train_identities,
        test_identities=test_identities,
        images_per_identity=images_per_identity,
        cameras=cameras,
        seed=seed,
        progress=True,
    )
    layout = "market1501" if kind == "people" else "veri776"
    print(f"{folder}\nread it with: --data {layout} --root {folder}")


def notebooks(*, to: Path, open: bool = False) -> None:
    """Write the notebooks out of the installed package, so that nobody needs a clone.

    What they make goes into folders `data` and `runs` beside theirs.

    Args:
        to: Folder for the notebooks; one there that differs is never written over.
        open: Then open JupyterLab on them.
    """
    sources = shipped_notebooks()
    make_folder(to, "choose another folder")
    with named_errors(to, "choose another folder"):
        changed = [to / file.name for file in sources if _differs(to / file.name, file)]
        if changed:
            more = f", as do {len(changed) - 1} more" if changed[1:] else ""
            raise ReidError(
                f"{str(changed[0])!r} differs from the notebook of this version{more}, and nothing "
                f"was written; choose another folder, or open yours as it is: jupyter lab {to}"
            )
        for file in sources:
            replace_file(to / file.name, file.read_bytes())
    print(f"{len(sources)} notebooks in {to}")
    if open:
        import jupyterlab  # noqa: F401  # where it is missing, the error says what to install

        subprocess.run([sys.executable, "-m", "jupyterlab", str(to)], check=False)


def report(
    results: tyro.conf.Positional[tuple[Path, ...]],
    *,
    to: Path,
    root: tuple[Path, ...] = (),
    title: str = "",
) -> None:
    """One page of results and runs that opens from any disk: scores with intervals, curves, rank
    lists.

    Args:
        results: Saved results, run folders, or folders with saved results inside.
        to: The page, ending in .html, or a folder for it.
        root: Where the photographs are that the results name: one folder for all, or one for each.
        title: Of the page.
    """
    from msinet_lab.report import read_subjects, write_report

    print(write_report(read_subjects(results, root), to, title))


def push(
    run: tyro.conf.Positional[Path],
    to: tyro.conf.Positional[str],
    *,
    optimizer: bool = False,
    public: bool = False,
) -> None:
    """Give a run away with a model card: into a folder, or to a hub (extra `hub`).

    Args:
        run: The run folder.
        to: A folder, or hf:OWNER/NAME.
        optimizer: With the optimiser's state, which only a training that goes on needs.
        public: On a hub, for everyone to see; else the repository is private.
    """
    from msinet_lab.sharing import push as give

    print(give(run, to, optimizer=optimizer, public=public))


def pull(source: tyro.conf.Positional[str], *, to: Path) -> None:
    """Take in a run that was given away; it is checked, and nothing in it is executed.

    Args:
        source: A folder, or hf:OWNER/NAME, or hf:OWNER/NAME@REVISION.
        to: Where to.
    """
    from msinet_lab.sharing import pull as take

    print(take(source, to))


def _differs(mine: Path, shipped: Path) -> bool:
    content = shipped.read_bytes()
    return os.path.lexists(mine) and read_bytes(mine, len(content) + (1 << 24)) != content


def shipped_notebooks() -> list[Path]:
    """The notebooks that come with the package: inside it where it was installed from a wheel,
    beside it in a checkout.
    """
    package = Path(__file__).parent
    found = sorted(
        file
        for folder in (package / "notebooks", package.parent / "notebooks")
        for file in folder.glob("[0-9]*.ipynb")
    )
    if not found:
        raise ReidError(f"this installation has no notebooks (looked in {package / 'notebooks'})")
    return found


COMMANDS: dict[str, Command] = {
    "data generate": Command(generate, takes_imports=False),
    "diagnose": Command(diagnose, aliases=("trust",)),
    "study": Command(study),
    "matrix": Command(matrix),
    "demo": Command(demo),
    "notebooks": Command(notebooks, takes_imports=False),
    "report": Command(report),
    "push": Command(push),
    "pull": Command(pull),
}
