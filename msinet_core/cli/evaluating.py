"""`msinet evaluate`: features of a network or of a file, scored on one data set or several."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from msinet_core.cli.parsing import AS_SAID, Options, Pictures
from msinet_core.cli.shows import show
from msinet_core.config import named_folder, parse_options
from msinet_core.errors import ReidError
from msinet_core.files import safe_name
from msinet_core.options import Device

if TYPE_CHECKING:
    from msinet_core.data import ReidDataset
    from msinet_core.retrieval import Embedder, RetrievalResult, Roc


@dataclass(frozen=True)
class Scoring:
    """What is done with the features, besides mAP and rank-k.

    Args:
        rerank: Rank by k-reciprocal re-ranking.
        k1: Of re-ranking: neighbours that must be each other's.
        k2: Of re-ranking: neighbours that are averaged.
        lambda_value: Of re-ranking: share of the original distance.
        average: Multi-query: average the features of the queries of each value of this column, such
            as a tracklet.
        roc: Matches against non-matches: true positive rates, equal error rate and its threshold.
        threshold_from: Choose the threshold there and show it here: `train` for the training
            identities, or the folder of a saved result.
        false_positive_rate: To choose the threshold for; default: where both errors are equal.
        open_set: Detection and identification rates with unknown queries; the share of identities
            whose gallery entries are taken out for it (0: the queries without a match are enough).
    """

    rerank: bool = False
    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    average: str | None = None
    roc: bool = False
    threshold_from: str | None = None
    false_positive_rate: float | None = None
    open_set: float | None = None

    def __call__(self, result: RetrievalResult) -> RetrievalResult:
        """The result that was asked for."""
        if self.average is not None:
            result = result.averaged(self.average)
        return result.reranked(self.k1, self.k2, self.lambda_value) if self.rerank else result


def evaluate(
    *,
    run: Path | None = None,
    model: str | None = None,
    features: Path | None = None,
    table: Path | None = None,
    on: tuple[str, ...] = (),
    options: Options = (),
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: Device = "auto",
    checkpoint: str = "last",
    workers: int = 0,
    save: Path | None = None,
    report: Path | None = None,
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = AS_SAID,
    scoring: Annotated[Scoring, tyro.conf.arg(name="")] = Scoring(),
) -> None:
    """Score a network, or features from anywhere, on its own test set or on others.

    Args:
        run: A training run's folder.
        model: Any other network instead: a file of weights, .onnx, timm:NAME, torchvision:NAME or
            package.module:function.
        features: Features instead of a network, a row for each of `table`: .npy, .npz, .safetensors
            or .parquet.
        table: The CSV that the features belong to, with columns path, identity, camera, split.
        on: Data sets to score on, as name=folder or name=folder,option=value,... (several may
            follow); default: the run's own.
        after_necks: Features behind the necks, often better across domains.
        flip: Average the features of each image and its mirror image.
        batch_size: Images at a time.
        device: Where to compute; auto takes a GPU if there is one.
        checkpoint: Which network of the run: last, or best or epoch-0010 where they were kept.
        workers: Threads that decode images.
        save: Folder to save the results in, for galleries and comparisons; one inside it for each
            data set.
        report: Folder for a page that shows everything (needs the extra `lab`).
    """
    draw = show("report", "--report") if report is not None else None
    if sum(given is not None for given in (run, model, features)) != 1:
        raise ReidError("what is to be scored? Give one of --run, --model and --features")
    embedder: Embedder | None = None
    if features is not None:
        found = [_from_file(features, table, options, pictures.output, device)]
    else:
        if table is not None:
            raise ReidError("--table belongs to --features; a network scores data sets (--on)")
        made = {"after_necks": after_necks, "flip": flip, "batch_size": batch_size}
        kept = run and checkpoint != "last" and run / "checkpoints" / checkpoint
        source = str(kept or run or model)
        embedder = open_model(source, pictures, device, **made, workers=workers)
        found = _by_network(embedder, _datasets(source, on, options))
        if not embedder.processes.is_main_process:
            return
    scored = {name: (scoring(result), dataset) for name, result, dataset in found}
    results = {name: result for name, (result, _) in scored.items()}
    for name, result in results.items():
        if save is not None:
            result.save(save / safe_name(name))
    _tell(results)
    for name, (result, dataset) in scored.items():
        for line in _verified(result, dataset, scoring, features or embedder, pictures.output):
            print(f"{name}: {line}")
    if draw is not None:
        roots = {name: dataset.root for name, (_, dataset) in scored.items()}
        print(f"report: {draw(results, report, roots=roots, embedder=embedder)}")


def open_model(source: str, pictures: Pictures, device: Device, **options: Any) -> Embedder:
    """The network of a SOURCE as a command's flags want it, on this process's device."""
    from msinet_core.retrieval import OnnxModel, load_model
    from msinet_core.runs.processes import join
    from msinet_core.speed import choose_device

    processes = join(device == "cpu")
    if not options.get("after_necks"):
        options.pop("after_necks", None)  # an exported network has its own choice built in
    options |= vars(pictures) | {"progress": True, "processes": processes}
    embedder = load_model(os.path.expanduser(source), **options)
    if isinstance(embedder.model, OnnxModel):
        return embedder
    return embedder.on(choose_device(device, processes.device))


Scored = tuple[str, "RetrievalResult", "ReidDataset"]


def _by_network(embedder: Embedder, datasets: list[ReidDataset]) -> list[Scored]:
    from msinet_core.retrieval import evaluate_across

    results = evaluate_across(embedder, datasets).results
    return [(*item, data) for item, data in zip(results.items(), datasets, strict=True)]


def _from_file(
    file: Path, table: Path | None, options: Options, name: str | None, device: Device
) -> Scored:
    from msinet_core.data import load_dataset, protocol_for
    from msinet_core.retrieval import RetrievalResult, read_features
    from msinet_core.speed import choose_device

    if table is None:
        raise ReidError("features need the table of their images: --table T.csv")
    dataset = load_dataset("manifest", table, **parse_options(options))
    protocol = protocol_for(dataset)
    values, place = read_features(file, name), choose_device(device)
    result = RetrievalResult.from_features(values, dataset.table, protocol, device=place)
    return dataset.name, result, dataset


def _datasets(source: str, on: tuple[str, ...], options: Options) -> list[ReidDataset]:
    from msinet_core.data import load_dataset
    from msinet_core.runs.feeding import open_dataset
    from msinet_core.runs.folder import RunFolder

    if len(on) > 1 and options:
        raise ReidError(
            "--options belong to one data set; behind its folder each may have its own: "
            "--on market1501=data/market vehicleid=data/vehicleid,test_size=1600"
        )
    places = [named_folder(text) for text in on]
    if places:
        common = parse_options(options)
        return [load_dataset(name, root, **{**common, **own}) for name, root, own in places]
    if not Path(source).expanduser().is_dir():
        raise ReidError(f"what is {source!r} to be scored on? Give --on NAME=FOLDER")
    run, _ = RunFolder.with_checkpoint(Path(source).expanduser())
    return [open_dataset(run.config())]


def _tell(results: Mapping[str, RetrievalResult]) -> None:
    from msinet_core.retrieval import DomainResults

    print(DomainResults(dict(results)))


def _verified(
    result: RetrievalResult,
    dataset: ReidDataset,
    scoring: Scoring,
    source: Path | Embedder | None,
    name: str | None,
) -> list[str]:
    """A line for each thing that was asked for about matches and non-matches."""
    from msinet_core.retrieval import count_pairs, open_set, transfer

    lines = []
    wants_roc = scoring.roc or scoring.threshold_from is not None
    roc = count_pairs(result).roc() if wants_roc else None
    strangers = None if scoring.open_set is None else open_set(result, scoring.open_set)
    if scoring.roc:
        lines.append(str(roc))
    if strangers is not None:
        lines.append(str(strangers))
    if scoring.threshold_from is not None and roc is not None:
        chosen_on = _chosen_on(scoring.threshold_from, dataset, source, name)
        moved = transfer(chosen_on, roc, scoring.false_positive_rate)
        lines.append(f"{moved} (chosen on {scoring.threshold_from})")
        if strangers is not None:
            rates = strangers.at(moved.chosen["distance"])
            lines.append("at that threshold DIR {DIR:.4g}, FAR {FAR:.4g}".format(**rates))
    return lines


def _chosen_on(
    place: str, dataset: ReidDataset, source: Path | Embedder | None, name: str | None
) -> Roc:
    """Where a threshold is chosen: on the training images, or on a saved result."""
    from msinet_core.retrieval import (
        Embedder,
        RetrievalResult,
        count_pairs,
        count_pairs_within,
        read_features,
    )

    if place != "train":
        return count_pairs(RetrievalResult.load(os.path.expanduser(place))).roc()
    table = dataset.train
    if table.empty:
        raise ReidError(
            f"{dataset.name!r} has no training images to choose a threshold on; give the folder "
            "of another saved result"
        )
    if isinstance(source, Embedder):
        reader = source.open(table, dataset.root)
        features, table = source.embed(reader), reader.table
    else:
        assert source is not None
        rows = (dataset.table["split"] == "train").to_numpy().nonzero()[0]
        features = read_features(source, name)[rows]
    cameras = table["camera"] if dataset.has_cameras else None
    return count_pairs_within(features, table["identity"], cameras).roc()
