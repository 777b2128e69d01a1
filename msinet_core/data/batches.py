"""Training batches and evaluation batches, ready for a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msinet_core.data.augmentation import Augmentation, augment, normalise, step_generator
from msinet_core.data.images import ImageReader
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.threads import SideStream, ahead
from msinet_core.errors import ReidError

Batch = tuple[Tensor, Tensor, Tensor]


class TrainBatches:
    """Augmented batches of P identities x K images, epoch by epoch.

    Every draw comes from (seed, epoch, step) and the sampler's rank: the same seed gives the same
    batches whatever the workers, the cache or the device, and an epoch can be entered at any step.

    reader: the images. labels: an integer for each row of `reader.table`. sampler: over the same
    rows. workers: threads that make batches ahead; 0 makes each when it is asked for.
    """

    def __init__(
        self,
        reader: ImageReader,
        labels: Any,
        sampler: IdentitySampler,
        augmentation: Augmentation,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        self.labels = torch.tensor(np.asarray(labels, dtype=np.int64))
        if len(self.labels) != len(reader):
            raise ReidError(
                f"there are {len(self.labels)} labels for {len(reader)} images; take them from the "
                "reader's table, which leaves unreadable images out"
            )
        self.reader, self.sampler, self.augmentation = reader, sampler, augmentation
        self.device, self.seed, self.workers = torch.device(device), seed, workers

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start` + 1, ... of `epoch`.

        Yields images (float32, N x 3 x H x W, normalised), labels (int64, N) on the device, and
        rows of `reader.table` (int64, N, on the CPU).
        """
        return self.epochs(epoch, start, epoch + 1)

    def epochs(
        self, epoch: int, start: int = 0, end: int | None = None, length: int | None = None
    ) -> Iterator[Batch]:
        """The same on through later epochs, up to `end` or for ever; `length` batches of each.

        In one go, so that the next epoch's first batches are made while this one's last are used.
        """
        length, side = len(self) if length is None else length, SideStream(self.device)
        epochs = itertools.count(epoch) if end is None else range(epoch, end)
        places = ((e, n) for e in epochs for n in range(start if e == epoch else 0, length))
        for batch, ready in ahead(
            lambda place: side.make(lambda: self._make(*place)), places, self.workers
        ):
            images, labels, rows = side.take(batch, ready)
            yield images, labels, rows

    def _make(self, epoch: int, step: int) -> Batch:
        rows = self.sampler.batch(epoch, step)
        generator = step_generator(self.seed, epoch, step, self.sampler.rank)
        pixels = to_device(self.reader.read(rows), self.device)
        indices = torch.from_numpy(rows)
        labels = to_device(self.labels[indices], self.device)
        return augment(pixels, self.augmentation, generator), labels, indices


def iterate_images(
    reader: ImageReader,
    batch_size: int,
    device: torch.device | str = "cpu",
    *,
    workers: int = 0,
    rows: range | None = None,
) -> Iterator[Tensor]:
    """All images of `reader` (or those of `rows`), in order, as normalised float32 batches (the
    last may be smaller).
    """
    if batch_size < 1:
        raise ReidError(f"batch_size is {batch_size}; it must be at least 1")
    target, wanted = torch.device(device), range(len(reader)) if rows is None else rows

    def make(start: int) -> Tensor:
        chosen = np.arange(start, min(start + batch_size, wanted.stop))
        return normalise(to_device(reader.read(chosen), target))

    return ahead(make, range(wanted.start, wanted.stop, batch_size), workers)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """To `device`, through pinned memory where that lets the copy overlap with computation."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
