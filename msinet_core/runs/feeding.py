"""The data of a run: its data set, the identities that can be used, batches for each process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from msinet_core.config import RunConfig
from msinet_core.data.augmentation import Augmentation
from msinet_core.data.batches import TrainBatches
from msinet_core.data.images import ImageReader
from msinet_core.data.joining import SOURCE, BalancedSampler, join_datasets
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.sources import load_dataset, sharing_options
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.runs.processes import Processes


def open_dataset(config: RunConfig) -> ReidDataset:
    """The data set that a configuration names; of several, all of them as one."""
    if not config.roots:
        raise ReidError("where is the data? Give its folder with --root")
    if len(config.roots) == 1:
        return load_dataset(config.data_names[0], config.roots[0], **config.data_options)
    shared = sharing_options(config.data_names, config.data_options)
    places = zip(config.data_names, config.roots, shared, strict=True)
    return join_datasets([load_dataset(name, root, **own) for name, root, own in places])


def usable_identities(table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Training images whose identities have enough of them; `ReidError` where that was not decided.

    One image makes no pair, so such identities have to be left out or kept on purpose.
    """
    if table.empty:
        raise ReidError(
            "the data set has no training images; a manifest marks them with split 'train'"
        )
    counts = table["identity"].value_counts()
    least = config.min_images
    if least is None:
        single = sorted(counts.index[counts < 2], key=str)
        if single:
            path = table.loc[table["identity"] == single[0], "path"].iloc[0]
            others = f" and {len(single) - 1} more" if len(single) > 1 else ""
            raise ReidError(
                f"identity {str(single[0])!r} ({path}){others} has one training image, which makes "
                "no pair; leave such identities out with --min-images 2, or keep them with "
                "--min-images 1"
            )
        return table
    return table[table["identity"].map(counts) >= least].reset_index(drop=True)


def training_batches(
    reader: ImageReader, config: RunConfig, device: torch.device, seed: int, processes: Processes
) -> TrainBatches:
    """This process's augmented P x K batches of the reader's images, labelled 0.. by sorted
    identity.
    """
    labels, _ = pd.factorize(reader.table["identity"], sort=True)
    cameras = reader.table["camera"]
    shape = config.identities_per_batch, config.images_per_identity
    options: Any = {
        "cameras": cameras if config.different_cameras and cameras.nunique() > 1 else None,
        "rank": processes.rank,
        "world_size": processes.size,
    }
    if config.mixing == "balanced" and SOURCE in reader.table:
        options["sources"] = reader.table[SOURCE]
    kind = BalancedSampler if "sources" in options else IdentitySampler
    sampler = kind(labels, *shape, seed, **options)
    if len(sampler) < config.accumulate:
        raise ReidError(
            f"a step accumulates {config.accumulate} batches, but an epoch has {len(sampler)} for "
            "each process; lower --accumulate or the size of a batch"
        )
    return TrainBatches(
        reader,
        labels,
        sampler,
        augmentation_of(config),
        device=device,
        seed=seed,
        workers=worker_threads(config, device),
    )


def worker_threads(config: RunConfig, device: torch.device) -> int:
    """On a CPU a thread that prepares batches only takes the network's time."""
    if config.workers is not None:
        return config.workers
    return 0 if device.type == "cpu" else 4


def augmentation_of(config: RunConfig) -> Augmentation:
    pad = config.scaled_pad
    jittered = Augmentation(pad=pad, brightness=0.4, contrast=0.4, saturation=0.3)
    named = {
        "none": Augmentation.none(),
        "within": Augmentation(pad=pad),
        "across": replace(jittered, erase=0.0),
        "both": jittered,
    }
    chosen = named[config.chosen_augmentation]
    return replace(chosen, cast=config.colour_cast, grey=config.grey)


def step_paths(batches: TrainBatches, epoch: int, step: int, accumulate: int) -> list[str]:
    """Paths of the images of all processes' batches in one step."""
    sampler, paths = batches.sampler, batches.reader.table["path"].to_numpy()
    first = step * accumulate * sampler.world_size
    chosen = sampler.everyones(epoch)[first : first + accumulate * sampler.world_size]
    return [str(path) for rows in chosen for path in paths[rows]]
