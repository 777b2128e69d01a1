"""`Protocol`: the rules of an evaluation as a value, printed with every result.

A gallery image of the query's identity is a match. Where the query's own camera took it, it is left
out instead: finding it would be no re-identification. So is junk, whoever asks. `Matches` applies
the rules to labels (`docs/method.md`, evaluation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError


@dataclass(frozen=True)
class Protocol:
    """Which gallery entries a query is compared with, and which count as matches.

    exclude_same_camera: gallery entries of the query's identity *and* camera are removed; the
        usual rule wherever there are cameras, impossible where there are none.
    junk_identities: removed from every query's gallery (Market-1501's -1).
    distractor_identities: kept in the gallery, never a match (Market-1501's 0). Both name labels
        whether those are numbers or text: -1 is "-1" too.
    gallery_draws: 0 takes the table's own query and gallery rows. n > 0 is VehicleID's protocol:
        n times, one random image of each test identity becomes the gallery and all the others
        are queries; mean and deviation over the draws are reported.
    draw_seed: the seed of those draws.
    """

    name: str = "standard"
    exclude_same_camera: bool = True
    junk_identities: tuple[Any, ...] = ()
    distractor_identities: tuple[Any, ...] = ()
    gallery_draws: int = 0
    draw_seed: int = 0

    def __post_init__(self) -> None:
        if self.gallery_draws < 0:
            raise ReidError(f"gallery_draws is {self.gallery_draws}; it must be 0 or more")
        object.__setattr__(self, "junk_identities", tuple(self.junk_identities))
        object.__setattr__(self, "distractor_identities", tuple(self.distractor_identities))

    def __str__(self) -> str:
        parts = [
            "same camera left out" if self.exclude_same_camera else "same camera kept",
            _identities("junk", self.junk_identities),
            _identities("distractors", self.distractor_identities),
        ]
        if self.gallery_draws:
            parts.append(f"{self.gallery_draws} gallery draws, seed {self.draw_seed}")
        return f"{self.name}: " + "; ".join(part for part in parts if part)


def protocol_for(dataset: ReidDataset) -> Protocol:
    """The protocol that fits a data set: VehicleID's draws, or the standard one, which leaves
    same-camera entries out if and only if the data has cameras.
    """
    draws = 10 if dataset.name == "vehicleid" else 0
    cameras = dataset.has_cameras and not draws
    return Protocol(
        name="vehicleid" if draws else "standard" if cameras else "camera-less",
        exclude_same_camera=cameras,
        junk_identities=dataset.junk_identities,
        distractor_identities=dataset.distractor_identities,
        gallery_draws=draws,
    )


def draw_gallery(identities: Any, seed: int, draw: int = 0) -> np.ndarray:
    """VehicleID's random gallery: True for one row of each identity (length n, bool).

    identities: length n, the test rows in the table's order. A draw depends on nothing but
    (identities, seed, draw), so the galleries of a seed are the same on every machine. An
    identity with one image stays out: as a gallery entry it would have no query, as a query no
    match.
    """
    _, labels, counts = np.unique(np.asarray(identities), return_inverse=True, return_counts=True)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, draw))))
    order = np.argsort(labels, kind="stable")  # rows grouped by identity
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    chosen = order[starts + (rng.random(len(counts)) * counts).astype(np.int64)]
    mask = np.zeros(len(labels), dtype=bool)
    mask[chosen[counts > 1]] = True
    return mask


def _identities(word: str, values: tuple[Any, ...]) -> str:
    return f"{word} {', '.join(map(str, values))}" if values else ""


def nothing_counts(name: str, protocol: Protocol) -> str:
    """Why no query of the data set `name` can be scored, in a sentence."""
    where = "in another camera " if protocol.exclude_same_camera else ""
    return (
        f"no query of data set {name!r} has a match {where}in the gallery, so nothing could be "
        "scored; check the identity, camera and split columns"
    )
