"""`IdentitySampler`: batches of P identities with K images each (`docs/method.md`, training).

The authors' epoch ends with the first identity that runs out; here nearly every image is seen once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from msinet_core.errors import ReidError


class IdentitySampler:
    """P distinct identities with K images each, as batch-hard losses need them.

    An epoch of N images has exactly max(1, N // (P * K * world_size)) batches for each process.
    It is a pure function of (seed, epoch): resuming takes no state but the epoch and the step.

    In an epoch an identity with n images gives n // K groups of K without repetition, one group
    with every image and repetitions where n < K. Where that makes too many groups, some are left
    out; where it makes too few, leftover images are filled up to groups of K. Nearly every image
    is then seen once in an epoch when identities are balanced.

    labels: length N, an identity for each image. cameras: length N; with it, a group spreads over
    as many of its identity's cameras as it can (K different ones where the identity has K).
    rank, world_size: of several processes, which one this is; each takes its own batches of
    P x K of the one epoch that all of them plan, so no image is seen twice.
    """

    def __init__(
        self,
        labels: Any,
        identities_per_batch: int,
        images_per_identity: int,
        seed: int,
        *,
        cameras: Any = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        values, self._identity = np.unique(np.asarray(labels), return_inverse=True)
        if identities_per_batch < 1 or images_per_identity < 1:
            raise ReidError(
                f"a batch of {identities_per_batch} identities x {images_per_identity} images is "
                "none; both must be at least 1"
            )
        if len(values) < identities_per_batch:
            raise ReidError(
                f"a batch takes {identities_per_batch} different identities, but the data has "
                f"{len(values)}; take at most {len(values)} identities per batch"
            )
        if not 0 <= rank < world_size:
            raise ReidError(
                f"rank {rank} is not one of 0 to {world_size - 1} (world_size {world_size})"
            )
        if cameras is not None and len(cameras) != len(self._identity):
            raise ReidError(f"there are {len(cameras)} cameras for {len(self._identity)} labels")
        self.identities_per_batch = identities_per_batch
        self.images_per_identity = images_per_identity
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._images = _by_value(self._identity)
        self._cameras = None if cameras is None else _codes(cameras)
        self._planned: dict[int, list[np.ndarray]] = {}  # of the last two epochs asked for
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Batches in an epoch, for each process."""
        size = self.identities_per_batch * self.images_per_identity * self.world_size
        return max(1, len(self._identity) // size)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """This process's batches: index arrays of P * K, the K of an identity side by side."""
        with self._lock:  # threads that make batches ahead share it
            if epoch not in self._planned:
                before = dict(list(self._planned.items())[-1:])
                mine = self._plan(epoch)[self.rank :: self.world_size]
                self._planned = before | {epoch: mine}
            return list(self._planned[epoch])

    def batch(self, epoch: int, step: int) -> np.ndarray:
        """Batch `step` (from 0) of `epoch`."""
        return self.epoch(epoch)[step]

    def everyones(self, epoch: int) -> list[np.ndarray]:
        """All processes' batches of an epoch; batch `step` of process `rank` is at step *
        world_size + rank.
        """
        return self._plan(epoch)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        """All processes' batches of an epoch."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch))))
        batches = len(self) * self.world_size
        quota = self._quota(batches, rng)
        # Deal the groups of each identity, side by side, round the batches: no identity has more
        # groups than there are batches, so none meets itself, and every batch gets P.
        order = rng.permutation(len(quota))
        identities = np.repeat(order, quota[order])
        groups = np.concatenate([self._groups(who, quota[who], rng) for who in order if quota[who]])
        shuffled = rng.permutation(batches)
        plan = []
        for place in shuffled:
            members = np.arange(place, len(identities), batches)
            plan.append(groups[rng.permutation(members)].reshape(-1))
        return plan

    def _quota(self, batches: int, rng: np.random.Generator) -> np.ndarray:
        """How many groups each identity gives: their sum is batches * P, none above `batches`."""
        wanted = batches * self.identities_per_batch
        counts = np.array([len(images) for images in self._images])
        quota = np.minimum(np.maximum(counts // self.images_per_identity, 1), batches)
        if quota.sum() > wanted:
            drop = rng.permutation(np.repeat(np.arange(len(quota)), quota))[: quota.sum() - wanted]
            quota -= np.bincount(drop, minlength=len(quota))
        leftover = np.where(counts < self.images_per_identity, 0, counts % self.images_per_identity)
        # Those with most images left over first, in random order among equals.
        while quota.sum() < wanted:
            open_to = np.flatnonzero(quota < batches)
            best = open_to[np.lexsort((rng.random(len(open_to)), -leftover[open_to]))]
            quota[best[: wanted - quota.sum()]] += 1
            leftover[:] = 0
        return quota

    def _groups(self, who: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """count x K images of one identity, as few of them repeated as can be."""
        images, size = self._images[who], self.images_per_identity
        if self._cameras is not None and len(images) > size:
            return _spread(images, self._cameras[images], count, size, rng)
        return np.stack(_take(images, count, size, rng))


def _take(images: np.ndarray, count: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` groups of `size`: through the images in random order, again and again; no image twice
    in a group unless there are fewer than `size`, and then every image in each group.
    """
    if len(images) < size:
        extra = [rng.choice(images, size - len(images)) for _ in range(count)]
        return [rng.permutation(np.concatenate((images, more))) for more in extra]
    groups: list[np.ndarray] = []
    left = rng.permutation(images)
    for _ in range(count):
        if len(left) < size:
            others = rng.permutation(np.setdiff1d(images, left))
            left = np.concatenate((left, others, rng.permutation(left)))
        groups.append(left[:size])
        left = left[size:]
    return groups


def _spread(
    images: np.ndarray, cameras: np.ndarray, count: int, size: int, rng: np.random.Generator
) -> np.ndarray:
    """`count` groups of `size` over as many cameras as can be, unseen images first."""
    fresh = {
        camera: list(rng.permutation(images[cameras == camera])) for camera in np.unique(cameras)
    }
    pools = {camera: list(pool) for camera, pool in fresh.items()}
    groups = []
    for _ in range(count):
        taken: dict[int, list[int]] = {camera: [] for camera in pools}
        for _ in range(size):
            # Fewest in this group first, then most unseen images, then by lot.
            camera = min(pools, key=lambda c: (len(taken[c]), -len(pools[c]), rng.random()))
            if not pools[camera]:
                again = [image for image in fresh[camera] if image not in taken[camera]]
                pools[camera] = list(rng.permutation(again or fresh[camera]))
            taken[camera].append(pools[camera].pop())
        groups.append([image for part in taken.values() for image in part])
    return np.array(groups)


def _by_value(labels: np.ndarray) -> list[np.ndarray]:
    """For each label 0..n-1, the positions that have it."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def _codes(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(values).astype(str), return_inverse=True)[1]
