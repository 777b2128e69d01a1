"""`check_dataset`: what is wrong with data, said before work begins, with the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from msinet_core.data.boxes import boxes_of, key_columns
from msinet_core.data.checks_files import check_images
from msinet_core.data.matches import Matches
from msinet_core.data.protocol import Protocol, protocol_for
from msinet_core.data.report import DataReport, Finding, error, note, ok, warning
from msinet_core.data.roots import counted, shown
from msinet_core.data.sources import size_notes
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.data.twins import TwinSplit

CAMERA_DISTANCE = 0.2  # beyond it, one side of a twins split sees other cameras than the other


def check_dataset(
    dataset: ReidDataset,
    *,
    quick: bool = False,
    needs: Sequence[str] = SPLITS,
    protocol: Protocol | None = None,
    identities_per_batch: int | None = None,
    twin_split: TwinSplit | None = None,
    on_bad_image: str = "error",
    workers: int = 0,
    progress: bool = False,
) -> DataReport:
    """Everything that can be known before work begins.

    quick: only what takes no opening of images (seconds for a hundred thousand of them); search and
        training do this by themselves. Otherwise every image is decoded as well, by `workers`
        threads (0: as many as cores), to find unreadable ones and pictures that occur twice.
    needs: the splits that must not be empty; `("train",)` for a search.
    protocol: what queries must find a match under; by default the one that fits the data.
    identities_per_batch: where given, the training split must have that many.
    twin_split: checked to share no image, and for its cameras.
    on_bad_image: with `skip`, missing and unreadable images are warnings, as work goes on without
        them.
    """
    protocol = protocol or protocol_for(dataset)
    bad = "warning" if on_bad_image == "skip" else "error"
    findings = [
        *_notes(dataset),
        *_splits(dataset, needs),
        _files(dataset, bad),
        _rows_twice(dataset, protocol),
        *_training_identities(dataset, identities_per_batch),
        *_identity_overlap(dataset),
        *_labels(dataset),
        *_cameras(dataset, protocol),
        *_queries(dataset, protocol, needs),
    ]
    if twin_split is not None:
        findings += check_twins(twin_split)
    if not quick:
        findings += check_images(dataset, protocol, bad, workers, progress)
    return DataReport(dataset.name, tuple(findings), dataset.summary())


def has_match(query: pd.DataFrame, gallery: pd.DataFrame, protocol: Protocol) -> np.ndarray:
    """For each query, whether the protocol leaves it a gallery entry of its identity (bool, Q)."""
    return Matches.find(query, gallery, protocol).num_matches > 0


def check_twins(split: TwinSplit) -> list[Finding]:
    """The two sides of a twins split: no image on both, shared identities, and their cameras."""
    paths = tuple(sorted(set(split.train["path"]) & set(split.validation["path"])))
    what, remedy = f"{counted(len(paths), 'image')} on both sides", "make the split anew"
    images = error if paths else ok
    both = len(split.shared_identities)
    findings = [
        images("twins: images", what, f"{remedy} with twins_split" if paths else "", paths),
        ok(
            "twins: identities",
            f"{counted(both, 'identity', 'identities')} on both sides "
            f"({split.identity_overlap:.0%}), {split.num_train_identities - both:,} only in train, "
            f"{split.num_validation_identities - both:,} only in validation",
        ),
    ]
    cameras = [side["camera"] for side in (split.train, split.validation)]
    if both and not any(side.isna().any() for side in cameras):
        what = (
            f"of the shared identities, the two sides' camera shares differ by "
            f"{split.camera_distance:.2f} (0 equal, 1 no camera in common); "
            f"{cameras[0].nunique()} cameras in train, {cameras[1].nunique()} in validation"
        )
        far = split.camera_distance > CAMERA_DISTANCE
        remedy = "split with stratify_by_camera=True (--stratify-by-camera)" if far else ""
        findings.append((warning if far else ok)("twins: cameras", what, remedy))
    return findings


def _notes(dataset: ReidDataset) -> Iterator[Finding]:
    sizes = size_notes(dataset)
    yield from (note("notes", said) for said in dataset.notes if said not in sizes)
    remedy = "fine for a part or a copy; for published figures fetch the whole data set"
    yield from (warning("size", said, remedy) for said in sizes)


def _splits(dataset: ReidDataset, needs: Sequence[str]) -> Iterator[Finding]:
    counts = {name: len(dataset.split(name)) for name in SPLITS}
    yield ok("splits", ", ".join(f"{name} {count:,}" for name, count in counts.items()) + " images")
    for name in [name for name, count in counts.items() if not count]:
        what, remedy = f"the split {name} is empty", f"give some rows the split {name}"
        if name in needs:
            yield error("splits", what, f"{remedy}, or fetch that part of the data set")
        else:
            yield note("splits", what)


def _files(dataset: ReidDataset, severity: str) -> Finding:
    missing = missing_files(dataset)
    if not missing:
        return ok("files", f"all {len(dataset):,} images are there")
    verb = "is" if len(missing) == 1 else "are"
    return Finding(
        "files",
        severity,
        f"{len(missing):,} of {counted(len(dataset), 'image')} {verb} missing under "
        f"{dataset.root}: {shown(missing)}",
        "unpack the data set again, mend its list, or pass on_bad_image='skip' to go on without "
        "them",
        tuple(missing),
    )


def missing_files(dataset: ReidDataset) -> list[str]:
    """Paths of the table that do not exist; each folder is listed once, no image opened."""
    known: dict[str, set[str]] = {}
    missing = []
    root = os.fspath(dataset.root)
    for path in dataset.table["path"]:
        folder, name = os.path.split(os.path.join(root, path))
        if folder not in known:
            known[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in known[folder]:
            missing.append(path)
    return missing


def _rows_twice(dataset: ReidDataset, protocol: Protocol) -> Finding:
    """The same file in several rows. (Pictures that are the same in different files: the full
    check.)
    """
    boxes_of(dataset.table)
    keys = key_columns(dataset.table)
    table = dataset.table.assign(test=dataset.table["split"] != "train")
    repeated = table[table.duplicated(keys, keep=False)]
    if repeated.empty:
        return ok("rows", f"every row names another {'file' if len(keys) == 1 else 'box'}")
    remedy = "leave each file one row"
    groups = repeated.groupby(keys, sort=False, dropna=False)
    paths = tuple(repeated["path"].unique())
    if (groups["identity"].nunique() > 1).any():
        return error("rows", f"files with two identities: {shown(paths)}", remedy, paths)
    on_both = groups["test"].transform("nunique") > 1
    if on_both.any():
        both = tuple(repeated["path"][on_both].unique())
        who = counted(len(both), "file is", "files are")
        return error("rows", f"{who} in training and in testing: {shown(both)}", remedy, both)
    if protocol.exclude_same_camera and (groups["split"].nunique() == groups.size()).all():
        who = counted(len(paths), "query is", "queries are")
        return ok("rows", f"{who} in the gallery too, where the same-camera rule removes them")
    who = counted(len(paths), "file has", "files have")
    return warning("rows", f"{who} several rows: {shown(paths)}", remedy, paths)


def _training_identities(
    dataset: ReidDataset, identities_per_batch: int | None
) -> Iterator[Finding]:
    counts = dataset.train["identity"].value_counts()
    if counts.empty:
        return
    single = tuple(sorted(counts.index[counts == 1], key=str))
    if len(single) == len(counts):
        what = "every training identity has one image only"
        remedy = "give them a second one: nothing can be learnt"
        yield error("training identities", what, remedy, single)
    elif single:
        who = counted(len(single), "training identity has", "training identities have")
        remedy = (
            "one image makes no pair; leave such identities out with min_images=2, "
            "or keep them with min_images=1"
        )
        what = f"{who} one image only: {shown(single)}"
        yield warning("training identities", what, remedy, single)
    too_few = identities_per_batch and len(counts) < identities_per_batch
    if too_few:
        what = (
            f"a batch takes {identities_per_batch} identities, the training split has {len(counts)}"
        )
        yield error("batch", what, f"take at most {len(counts)} identities per batch")
    if not single and not too_few:
        what = f"{len(counts):,} identities, {counts.min():,} to {counts.max():,} images each"
        yield ok("training identities", what)


def _identity_overlap(dataset: ReidDataset) -> Iterator[Finding]:
    aside = {*dataset.junk_identities, *dataset.distractor_identities}
    known = set(dataset.train["identity"]) - aside
    tested = {*dataset.query["identity"], *dataset.gallery["identity"]} - aside
    both = tuple(sorted(known & tested, key=str))
    if both:
        what = f"{len(both):,} of {len(tested):,} test identities are in training too"
        remedy = "re-identification is tested on identities held out; move each to one side"
        yield warning("identity overlap", f"{what}: {shown(both)}", remedy, both)
    elif known and tested:
        yield ok("identity overlap", "no identity is in both training and testing")


def _labels(dataset: ReidDataset) -> Iterator[Finding]:
    """Labels that two hands may have written for one: c1 and C1, 7 and 07."""
    for column in ("identity", "camera"):
        labels = pd.Series(dataset.table[column].dropna().unique()).astype(str)
        plain = labels.str.casefold().str.replace(r"\b0+(?=\d)", "", regex=True)
        alike = tuple(labels[plain.duplicated(keep=False)].sort_values())
        if alike:
            what = f"{column}: some differ only in capitals or zeros in front: {shown(alike, 6)}"
            remedy = "if they are the same, write them alike; otherwise nothing need be done"
            yield warning("labels", what, remedy, alike)


def _cameras(dataset: ReidDataset, protocol: Protocol) -> Iterator[Finding]:
    if not dataset.has_cameras:
        if protocol.exclude_same_camera:
            what = "the data has no cameras, but the protocol leaves same-camera entries out"
            yield error("cameras", what, "take a protocol with exclude_same_camera=False")
        else:
            yield note("cameras", f"no cameras; evaluated with {protocol}")
        return
    test = dataset.table[dataset.table["split"] != "train"]
    seen, tested = set(dataset.train["camera"]), set(test["camera"])
    what = f"{len(seen):,} in training, {len(tested):,} in testing, {len(seen & tested):,} in both"
    yield ok("cameras", what)
    per_identity = dataset.train.groupby("identity")["camera"].nunique()
    if len(per_identity) and (per_identity == 1).all() and len(seen) > 1:
        what = "each training identity was seen by one camera only"
        remedy = "the network may learn cameras instead of identities; add images by other cameras"
        yield warning("cameras", what, f"{remedy} if you can")


def _queries(dataset: ReidDataset, protocol: Protocol, needs: Sequence[str]) -> Iterator[Finding]:
    query, gallery = dataset.query, dataset.gallery
    if query.empty or gallery.empty:
        return
    matched = has_match(query, gallery, protocol)
    other = " by another camera" if protocol.exclude_same_camera else ""
    without = tuple(query["path"][~matched])
    what = (
        f"{len(without):,} of {len(query):,} queries have no match{other} in the gallery: "
        f"{shown(without)}"
    )
    if not without:
        yield ok("queries", f"all {len(query):,} have a match{other} in the gallery")
    elif matched.any():
        remedy = "they do not count in any figure; nothing need be done"
        yield warning("queries", what, remedy, without)
    else:
        remedy = "nothing could be scored; add gallery images of their identities" + other
        if protocol.exclude_same_camera:
            remedy += ", or take a protocol with exclude_same_camera=False"
        yield (error if "query" in needs else warning)("queries", what, remedy, without)
