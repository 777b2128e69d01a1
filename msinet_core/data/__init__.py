"""Data sets as tables, their checks, the twins split, and the way from files to batches."""

from msinet_core.data.augmentation import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    augment,
    normalise,
)
from msinet_core.data.batches import TrainBatches, iterate_images
from msinet_core.data.boxes import boxes_of
from msinet_core.data.checks import check_dataset
from msinet_core.data.decoding import crop, decode, read_rgb
from msinet_core.data.images import ImageReader, open_images
from msinet_core.data.protocol import Protocol, protocol_for
from msinet_core.data.report import DataReport, Finding
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.sources import load_dataset
from msinet_core.data.table import ReidDataset
from msinet_core.data.tables import from_table
from msinet_core.data.twins import TwinSplit, twins_split

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "DataReport",
    "Finding",
    "IdentitySampler",
    "ImageReader",
    "Protocol",
    "ReidDataset",
    "TrainBatches",
    "TwinSplit",
    "augment",
    "boxes_of",
    "check_dataset",
    "crop",
    "decode",
    "from_table",
    "iterate_images",
    "load_dataset",
    "normalise",
    "open_images",
    "protocol_for",
    "read_rgb",
    "twins_split",
]
