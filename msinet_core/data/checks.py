"""`check_dataset`: what is wrong with data, said before work begins, with the remedy."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from msinet_core.data.checks_files import check_images
from msinet_core.data.protocol import Protocol, protocol_for
from msinet_core.data.report import DataReport, Finding
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
        Finding("notes", "note", note) for note in dataset.notes if note not in size_notes(dataset)
    ]
    findings += _sizes(dataset)
    findings += _splits(dataset, needs)
    findings += _files(dataset, bad)
    findings += _rows_twice(dataset, protocol)
    findings += _training_identities(dataset, identities_per_batch)
    findings += _identity_overlap(dataset)
    findings += _cameras(dataset, protocol)
    findings += _queries(dataset, protocol, needs)
    if twin_split is not None:
        findings += check_twins(twin_split)
    if not quick:
        findings += check_images(dataset, protocol, bad, workers, progress)
    return DataReport(dataset.name, tuple(findings), dataset.summary())


def has_match(query: pd.DataFrame, gallery: pd.DataFrame, protocol: Protocol) -> np.ndarray:
    """For each query, whether the protocol leaves it a gallery entry of its identity (bool, Q)."""
    both = pd.concat(
        [query[["identity", "camera"]], gallery[["identity", "camera"]]], ignore_index=True
    )
    identity = pd.factorize(both["identity"])[0]
    in_gallery = np.arange(len(both)) >= len(query)
    matches = np.bincount(identity[in_gallery], minlength=identity.max(initial=0) + 1)[identity]
    if protocol.exclude_same_camera and both["camera"].notna().all():
        pair = pd.factorize(pd.MultiIndex.from_arrays([identity, pd.factorize(both["camera"])[0]]))[
            0
        ]
        matches = matches - np.bincount(pair[in_gallery], minlength=pair.max(initial=0) + 1)[pair]
    never = both["identity"].isin([*protocol.junk_identities, *protocol.distractor_identities])
    return (matches > 0)[: len(query)] & ~never.to_numpy()[: len(query)]


def check_twins(split: TwinSplit) -> list[Finding]:
    """The two sides of a twins split: no image on both, shared identities, and their cameras."""
    paths = tuple(sorted(set(split.train["path"]) & set(split.validation["path"])))
    what = f"{counted(len(paths), 'image')} on both sides"
    remedy = "make the split anew with twins_split" if paths else ""
    findings = [Finding("twins: images", "error" if paths else "ok", what, remedy, paths)]
    both = len(split.shared_identities)
    what = (
        f"{counted(both, 'identity', 'identities')} on both sides ({split.identity_overlap:.0%}), "
        f"{split.num_train_identities - both:,} only in train, "
        f"{split.num_validation_identities - both:,} only in validation"
    )
    findings.append(Finding("twins: identities", "ok", what))
    if not both or split.train["camera"].isna().any() or split.validation["camera"].isna().any():
        return findings
    distance = split.camera_distance
    what = (
        f"of the shared identities, the two sides' camera shares differ by {distance:.2f} "
        f"(0 equal, 1 no camera in common); {split.train['camera'].nunique()} cameras in train, "
        f"{split.validation['camera'].nunique()} in validation"
    )
    far = distance > CAMERA_DISTANCE
    remedy = "split with stratify_by_camera=True (--stratify-by-camera)" if far else ""
    return [*findings, Finding("twins: cameras", "warning" if far else "ok", what, remedy)]


def _sizes(dataset: ReidDataset) -> list[Finding]:
    remedy = "fine for a part or a copy; for published figures fetch the whole data set"
    return [Finding("size", "warning", note, remedy) for note in size_notes(dataset)]


def _splits(dataset: ReidDataset, needs: Sequence[str]) -> list[Finding]:
    counts = dataset.table["split"].value_counts()
    empty = [name for name in SPLITS if not counts.get(name, 0)]
    findings = [
        Finding(
            "splits",
            "ok",
            ", ".join(f"{name} {counts.get(name, 0):,}" for name in SPLITS) + " images",
        )
    ]
    for name in empty:
        needed = name in needs
        findings.append(
            Finding(
                "splits",
                "error" if needed else "note",
                f"the split {name} is empty",
                f"give some rows the split {name}, or fetch that part of the data set"
                if needed
                else "",
            )
        )
    return findings


def _files(dataset: ReidDataset, severity: str) -> list[Finding]:
    missing = missing_files(dataset)
    if not missing:
        return [Finding("files", "ok", f"all {len(dataset):,} images are there")]
    verb = "is" if len(missing) == 1 else "are"
    found = (
        f"{len(missing):,} of {counted(len(dataset), 'image')} {verb} missing under {dataset.root}: "
        f"{shown(missing)}"
    )
    remedy = "unpack the data set again, mend its list, or pass on_bad_image='skip' to go on without them"
    return [Finding("files", severity, found, remedy, tuple(missing))]


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


def _rows_twice(dataset: ReidDataset, protocol: Protocol) -> list[Finding]:
    """The same file in several rows. (Pictures that are the same in different files: the full
    check.)
    """
    table = dataset.table
    repeated = table[table.duplicated("path", keep=False)]
    if repeated.empty:
        return [Finding("rows", "ok", "every row names another file")]
    groups = repeated.groupby("path", sort=False)
    paths = tuple(groups.groups)
    remedy = "leave each file one row"
    if (groups["identity"].nunique() > 1).any():
        return [
            Finding("rows", "error", f"files with two identities: {shown(paths)}", remedy, paths)
        ]
    spread = (
        repeated.assign(test=repeated["split"] != "train").groupby("path")["test"].nunique() > 1
    )
    if spread.any():
        both = tuple(spread.index[spread])
        what = f"{counted(len(both), 'file is', 'files are')} in training and in testing: {shown(both)}"
        return [Finding("rows", "error", what, remedy, both)]
    if protocol.exclude_same_camera and (groups["split"].nunique() == groups.size()).all():
        who = counted(len(paths), "query is", "queries are")
        what = f"{who} in the gallery too, where the same-camera rule removes them"
        return [Finding("rows", "ok", what)]
    return [
        Finding(
            "rows",
            "warning",
            f"{counted(len(paths), 'file has', 'files have')} several rows: {shown(paths)}",
            remedy,
            paths,
        )
    ]


def _training_identities(dataset: ReidDataset, identities_per_batch: int | None) -> list[Finding]:
    counts = dataset.train["identity"].value_counts()
    if counts.empty:
        return []
    findings = []
    single = sorted(counts.index[counts == 1], key=str)
    if len(single) == len(counts):
        what, remedy = (
            "every training identity has one image only",
            "give them a second one: nothing can be learnt",
        )
        findings.append(Finding("training identities", "error", what, remedy, tuple(single)))
    elif single:
        who = counted(len(single), "training identity has", "training identities have")
        what = f"{who} one image only: {shown(single)}"
        remedy = (
            "one image makes no pair; leave such identities out with min_images=2, "
            "or keep them with min_images=1"
        )
        findings.append(Finding("training identities", "warning", what, remedy, tuple(single)))
    if identities_per_batch and len(counts) < identities_per_batch:
        what = (
            f"a batch takes {identities_per_batch} identities, the training split has {len(counts)}"
        )
        remedy = f"take at most {len(counts)} identities per batch"
        findings.append(Finding("batch", "error", what, remedy))
    what = f"{len(counts):,} identities, {counts.min():,} to {counts.max():,} images each"
    return findings or [Finding("training identities", "ok", what)]


def _identity_overlap(dataset: ReidDataset) -> list[Finding]:
    table = dataset.table
    aside = [*dataset.junk_identities, *dataset.distractor_identities]
    known = set(dataset.train["identity"]) - set(aside)
    tested = set(table.loc[table["split"] != "train", "identity"]) - set(aside)
    if not known or not tested:
        return []
    both = sorted(known & tested, key=str)
    if not both:
        return [Finding("identity overlap", "ok", "no identity is in both training and testing")]
    what = f"{len(both):,} of {len(tested):,} test identities are in training too: {shown(both)}"
    remedy = "re-identification is tested on unseen identities; move each to one side"
    return [Finding("identity overlap", "warning", what, remedy, tuple(both))]


def _cameras(dataset: ReidDataset, protocol: Protocol) -> list[Finding]:
    if not dataset.has_cameras:
        if protocol.exclude_same_camera:
            what = "the data has no cameras, but the protocol leaves same-camera entries out"
            return [
                Finding("cameras", "error", what, "take a protocol with exclude_same_camera=False")
            ]
        return [Finding("cameras", "note", f"no cameras; evaluated with {protocol}")]
    table = dataset.table
    is_train = table["split"] == "train"
    train, test = set(table.loc[is_train, "camera"]), set(table.loc[~is_train, "camera"])
    per_identity = table[is_train].groupby("identity")["camera"].nunique()
    what = f"{len(train):,} in training, {len(test):,} in testing, {len(train & test):,} in both"
    findings = [Finding("cameras", "ok", what)]
    if len(per_identity) and (per_identity == 1).all() and len(train) > 1:
        what = "each training identity was seen by one camera only"
        remedy = "the network may learn cameras instead of identities; add images by other cameras if you can"
        findings.append(Finding("cameras", "warning", what, remedy))
    return findings


def _queries(dataset: ReidDataset, protocol: Protocol, needs: Sequence[str]) -> list[Finding]:
    query, gallery = dataset.query, dataset.gallery
    if query.empty or gallery.empty:
        return []
    matched = has_match(query, gallery, protocol)
    other = " by another camera" if protocol.exclude_same_camera else ""
    if matched.all():
        return [Finding("queries", "ok", f"all {len(query):,} have a match{other} in the gallery")]
    without = tuple(query["path"][~matched])
    what = f"{len(without):,} of {len(query):,} queries have no match{other} in the gallery: {shown(without)}"
    if not matched.any():
        severity = "error" if "query" in needs else "warning"
        remedy = "nothing could be scored; add gallery images of their identities" + other
        if protocol.exclude_same_camera:
            remedy += ", or take a protocol with exclude_same_camera=False"
        return [Finding("queries", severity, what, remedy, without)]
    return [
        Finding(
            "queries",
            "warning",
            what,
            "they do not count in any figure; nothing need be done",
            without,
        )
    ]
