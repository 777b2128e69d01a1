"""Data sets as tables, their checks, the twins split, and the way from files to batches."""

from msinet_core.data.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    augment,
    normalise,
)
from msinet_core.data.batches import TrainBatches, iterate_images
from msinet_core.data.images import ImageReader, open_images
from msinet_core.data.protocol import Protocol, protocol_for
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.sources import load_dataset
from msinet_core.data.table import ReidDataset

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "IdentitySampler",
    "ImageReader",
    "Protocol",
    "ReidDataset",
    "TrainBatches",
    "augment",
    "iterate_images",
    "load_dataset",
    "normalise",
    "open_images",
    "protocol_for",
]
