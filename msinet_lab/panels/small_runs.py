"""Runs small enough for a notebook: seconds on two cores.

The same calls as the real thing, fewer of everything.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.cli.work import command_of as command_of
from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.data import Protocol, ReidDataset
from msinet_core.data.sources import GENERATED as GENERATED_MARK
from msinet_core.errors import ReidError
from msinet_core.files import read_json
from msinet_core.retrieval import RetrievalResult, evaluate, load_model
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.search.history import SearchHistory
from msinet_core.space import PAPER_GENOTYPE, Genotype
from msinet_core.training import train
from msinet_lab.panels.settings import Settings, source_of
from msinet_lab.recorded import recorded_network

SMALL: dict[str, Any] = {
    "channels": (16, 64, 96, 128),
    "identities_per_batch": 8,
    "images_per_identity": 4,
    "warmup_epochs": 1,
    "pad": 3,
}


def small_search(
    dataset: ReidDataset, settings: Settings | None = None, **changes: Any
) -> SearchConfig:
    """The configuration of a search over `dataset` that takes seconds; `changes` are its fields.

    settings: of the notebooks: size of the images and the split.
    """
    settings = settings or Settings()
    small = {
        "epochs": 4,
        "milestones": (100,),
        "alpha_milestones": (100,),
        "alpha_learning_rate": 0.03,
        "overlap": settings.overlap,
        "stratify_by_camera": settings.stratify_by_camera,
    }
    return SearchConfig(**{**_small(dataset, settings), **small, **changes})


def small_training(
    dataset: ReidDataset, settings: Settings | None = None, **changes: Any
) -> TrainConfig:
    """The configuration of a training on `dataset` that takes seconds; `changes` are its fields."""
    small = {
        "genotype": str(PAPER_GENOTYPE),
        "epochs": 12,
        "milestones": (100,),
        "learning_rate": 0.01,
        "max_gradient_norm": None,
        "augmentation": "none",
        "evaluate_every": 3,
    }
    return TrainConfig(**{**_small(dataset, settings or Settings()), **small, **changes})


def _small(dataset: ReidDataset, settings: Settings) -> dict[str, Any]:
    height, width = settings.size(dataset)
    size = {"height": height, "width": width}
    return {"data": source_of(dataset), "root": str(dataset.root), **SMALL, **size}


def differing(config: RunConfig) -> pd.DataFrame:
    """A row for each field of a configuration that is not at its default: both values."""
    rows = {}
    for field in fields(config):
        value = getattr(config, field.name)
        default = None if field.default is MISSING else field.default
        if value != default:
            rows[field.name] = (_shown(value), _shown(default))
    if config.roots and all((Path(root) / GENERATED_MARK).is_file() for root in config.roots):
        rows["data"] = f"generated, read as {config.data}", rows["data"][1]
    return pd.DataFrame(rows, index=["here", "default"]).T.rename_axis("setting")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)


def run_folder(home: str | Path, config: RunConfig) -> Path:
    """A place below `home` for each different configuration, such as `search-seed-0-1f3a9c`.

    The data's folder counts as well, so that runs on two data sets of one kind do not meet.
    """
    values = {
        name: value for name, value in config.to_dict().items() if name not in config.OPERATIONAL
    }
    text = json.dumps(
        [values, *(str(Path(root).resolve()) for root in config.roots)], sort_keys=True
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Path(home) / f"{config.KIND}-seed-{config.seed}-{digest[:6]}"


def ensure_run(
    config: RunConfig, home: str | Path, dataset: ReidDataset | None = None
) -> RunFolder:
    """The finished run of a configuration: from its folder below `home`, or carried out now; where
    another notebook is at it, this waits.
    """
    folder = run_folder(home, config)
    run = RunFolder(folder)
    carry_out: Any = search if isinstance(config, SearchConfig) else train
    while not (run.exists and run.finished):
        if _waited_for_another(run):
            continue
        try:
            return carry_out(config, folder, dataset=dataset, resume=run.exists, progress=False)
        except ReidError:
            if run.writer_pid() is None:  # not another that was quicker
                raise
    return run


def _waited_for_another(run: RunFolder) -> bool:
    """Whether a process wrote into the run's folder; back when none does any more."""
    pid = run.writer_pid()
    if pid is None:
        return False
    print(f"process {pid} is computing {run.path.name}; waiting until it has ended")
    while run.writer_pid() is not None:
        time.sleep(0.2)
    return True


def ready_network(
    dataset: ReidDataset, settings: Settings | None = None, **changes: Any
) -> RunFolder:
    """A network to look into at once: for generated people the recorded one, which has seen none of
    them; for other data that of a small training on these, `changes` its fields.
    """
    if dataset.name.startswith("generated people"):
        return recorded_network()
    settings = settings or Settings()
    return ensure_run(small_training(dataset, settings, **changes), settings.runs, dataset)


def evaluate_run(
    run: RunFolder | str | Path,
    dataset: ReidDataset,
    protocol: Protocol | None = None,
    **options: Any,
) -> RetrievalResult:
    """Score the network of a training run on a data set, at the size that it was trained for;
    options are those of `Embedder`.
    """
    path = run.path if isinstance(run, RunFolder) else run
    return evaluate(load_model(path, **options), dataset, protocol=protocol)


def runs_in(folder: str | Path) -> Mapping[str, RunFolder]:
    """The run folders below a folder, by their path inside it, in order."""
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.rglob("config.json"))
    return {
        path.relative_to(folder).as_posix() if path != folder else path.name: RunFolder(path)
        for path in paths
    }


def run_table(folder: str | Path) -> pd.DataFrame:
    """A row a run below a folder, by what tells it apart: state, epochs, last evaluation in per
    cent, genotype, and the run's folder.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, run in labelled_runs(folder).items():
        config, metrics = run.config(), run.metrics() or {}
        state = "running" if run.writer_pid() else "finished" if run.finished else "stopped"
        scores: dict[str, Any] = {
            f"{name} in %": round(100 * metrics[key], 1)
            for key, name in (("mAP", "mAP"), ("rank1", "rank-1"))
            if key in metrics
        }
        rows[name] = {
            "state": state,
            "epochs": f"{len(run.epochs())} of {config.epochs}",
            **scores,
            "genotype": str(run.genotype() or ""),
            "folder": run.path.relative_to(folder).as_posix(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")
    last = [name for name in ("genotype", "folder") if name in table]
    return table[[*table.columns.difference(last, sort=False), *last]]


def labelled_runs(folder: str | Path) -> dict[str, RunFolder]:
    """The runs below a folder, searches and trainings, by what tells each kind apart."""
    kinds: dict[str, dict[str, RunFolder]] = {}
    for name, run in runs_in(folder).items():
        kinds.setdefault(run.config().KIND, {})[name] = run
    return {label: run for runs in kinds.values() for label, run in labelled(runs).items()}


def differences(runs: Mapping[str, RunFolder]) -> pd.DataFrame:
    """A row for each setting that runs have in common and in which they differ; a column a run."""
    values = {name: _values(run.config()) for name, run in runs.items()}
    rows = {
        field.replace("_", " "): [_shown(each[field]) for each in values.values()]
        for field in next(iter(values.values()), {})
        if all(field in each for each in values.values())
        and len({str(each[field]) for each in values.values()}) > 1
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(runs)).rename_axis("setting")


def example_manifest(dataset: ReidDataset, path: str | Path) -> Path:
    """A manifest CSV with copies of a data set's images beside it, in `images`; without cameras.

    What data of your own may look like.
    """
    path = Path(path)
    folder = path.parent / "images"
    if folder.is_symlink():  # as older versions had it
        folder.unlink()
    table = dataset.table[["path", "identity", "split"]].copy()
    known = ~table["identity"].isin([*dataset.junk_identities, *dataset.distractor_identities])
    table = table[known]
    for name in table["path"]:
        copy = folder / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(dataset.root / name, copy)
    table.assign(path="images/" + table["path"].astype(str)).to_csv(path, index=False)
    return path


def searches_in(folder: str | Path) -> dict[str, RunFolder]:
    """The searches below a folder, by what tells them apart; see `labelled`."""
    return labelled(
        {name: run for name, run in runs_in(folder).items() if run.config().KIND == "search"}
    )


def genotypes_in(folder: str | Path) -> dict[str, Genotype]:
    """What the searches below a folder have found so far, by run."""
    found = {name: SearchHistory.read(run) for name, run in searches_in(folder).items()}
    return {name: history.genotypes[-1] for name, history in found.items() if len(history)}


def labelled(runs: Mapping[str, RunFolder]) -> dict[str, RunFolder]:
    """Runs of one kind by their seed and the settings in which they differ, such as
    `search, seed 0, epochs 4`; by their folder as well where they differ in none.
    """
    configs = {name: run.config() for name, run in runs.items()}
    values = {name: _values(config) for name, config in configs.items()}
    several = [
        field
        for field in next(iter(values.values()), {})
        if field == "seed" or len({str(each.get(field)) for each in values.values()}) > 1
    ]
    labels = {
        name: ", ".join(
            [configs[name].KIND]
            + [f"{field.replace('_', ' ')} {_shown(values[name].get(field))}" for field in several]
        )
        for name in runs
    }
    twice = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    return {
        f"{label}, in {name}" if (label := labels[name]) in twice else label: run
        for name, run in runs.items()
    }


def _words_of_data(root: str) -> str:
    """A data set's folder, or what was drawn there."""
    try:
        drawn = read_json(Path(root, GENERATED_MARK))
        return f"generated {drawn['kind']}, domain {drawn['domain']}, seed {drawn['seed']}"
    except (ReidError, OSError, TypeError, KeyError):
        return Path(root).name


def _values(config: RunConfig) -> dict[str, Any]:
    """What of a configuration tells runs apart: its data by their folder, nothing operational."""
    roots = {"data": " + ".join(map(_words_of_data, config.roots))} if config.roots else {}
    others = {
        field: value
        for field, value in config.to_dict().items()
        if field not in (*config.OPERATIONAL, "seed", "data")
    }
    return {"seed": config.seed, **roots, **others}
