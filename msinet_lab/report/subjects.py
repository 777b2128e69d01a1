"""What a report tells of: results and runs, found in the folders that were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msinet_core.config import TrainConfig
from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.files import whole_folder
from msinet_core.retrieval import Embedder, RetrievalResult, evaluate, load_model
from msinet_core.runs.feeding import open_dataset
from msinet_core.runs.folder import RunFolder


@dataclass(frozen=True)
class Subject:
    """A result, a run, or a run with its result; `root` is where the photographs are."""

    name: str
    result: RetrievalResult | None = None
    run: RunFolder | None = None
    root: Path | None = None
    dataset: ReidDataset | None = None
    note: str = ""  # what could not be had, and why
    about: str = ""  # the network that made the features


def read_subjects(places: Sequence[str | Path], roots: Sequence[str | Path] = ()) -> list[Subject]:
    """What lies in folders: saved results, runs (a training's network is evaluated), or folders
    with saved results inside. roots: of the photographs, one for all or one for each place.
    """
    if len(roots) not in (0, 1, len(places)):
        raise ReidError(
            f"there are {len(roots)} folders of photographs for {len(places)} results; give one "
            "for all, or one for each"
        )
    subjects: list[Subject] = []
    for number, place in enumerate(places):
        root = Path(roots[number if len(roots) > 1 else 0]) if roots else None
        subjects += _subjects_at(Path(place), root)
    return _with_names_apart(subjects)


def _subjects_at(place: Path, root: Path | None) -> list[Subject]:
    folder, name = whole_folder(place), place.resolve().name
    if (folder / "result.json").is_file():
        return [Subject(name, RetrievalResult.load(place), root=root)]
    if (folder / "config.json").is_file():
        return [_of_run(RunFolder(place), name, root)]
    inside = sorted(path.parent for path in folder.glob("*/result.json"))
    if not inside:
        raise ReidError(
            f"{str(place)!r} is no saved result and no run folder, and holds no results; save some "
            "with `msinet evaluate --save`"
        )
    return [Subject(path.name, RetrievalResult.load(path), root=root) for path in inside]


def _of_run(run: RunFolder, name: str, root: Path | None) -> Subject:
    """A run; the result of its network where it is a training and its data is there."""
    config = run.config()
    if not isinstance(config, TrainConfig):
        return Subject(name, run=run)
    try:
        dataset = open_dataset(config)
        embedder = load_model(run.path)
        result = evaluate(embedder, dataset)
    except ReidError as error:
        return Subject(name, run=run, note=f"Not evaluated: {error}")
    place = root or dataset.root
    return Subject(name, result, run, place, dataset, about=described(embedder))


def described(embedder: Embedder) -> str:
    """What made the features, in a sentence."""
    mean, std = (", ".join(f"{c:.4g}" for c in colour) for colour in (embedder.mean, embedder.std))
    after = ", behind the necks" if embedder.after_necks else ""
    flip = ", averaged with the mirror image" if embedder.flip else ""
    return (
        f"Features of {type(embedder.model).__name__}{after}{flip}: pictures of "
        f"{embedder.height} × {embedder.width} pixels, mean {mean}, deviation {std}."
    )


def _with_names_apart(subjects: list[Subject]) -> list[Subject]:
    seen: dict[str, int] = {}
    named = []
    for subject in subjects:
        seen[subject.name] = seen.get(subject.name, 0) + 1
        count = seen[subject.name]
        named.append(subject if count == 1 else replace(subject, name=f"{subject.name} ({count})"))
    return named
