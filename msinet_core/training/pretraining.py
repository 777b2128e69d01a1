"""Pretraining: a network learns to tell classes apart, on a folder of images or any of our data.

It is a training whose batches are drawn by lot, whose loss is the cross-entropy of both branches,
and which is scored by how often the class is among the first answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from msinet_core.config import PretrainConfig, RunConfig
from msinet_core.data.batches import TrainBatches
from msinet_core.data.shuffling import ShuffledSampler
from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.models.networks import ReidNetwork
from msinet_core.retrieval.embedder import Embedder
from msinet_core.runs.epochs import carry_out, told
from msinet_core.runs.feeding import augmentation_of, open_dataset, worker_threads
from msinet_core.runs.fingerprint import Fingerprint
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.stopping import Stop
from msinet_core.runs.worker import Job
from msinet_core.training.losses import LossParts, classification_loss
from msinet_core.training.training import Training


class Pretraining(Training):
    """A pretraining in progress."""

    config: PretrainConfig

    def __init__(self, job: Job) -> None:
        assert isinstance(job.config, PretrainConfig)
        train, validation = split_classes(job.dataset, job.config)
        super().__init__(replace(job, dataset=job.dataset.with_table(train)))
        self.validation = None if validation.empty else self.open_images(validation)
        tables = [reader.table for reader in (self.train_batches.reader, self.validation) if reader]
        self.data = Fingerprint(job.dataset, tuple(tables))
        self.classes = pd.Index(sorted(self.train_batches.reader.table["identity"].unique()))

    def training_batches(
        self, table: pd.DataFrame, seed: int, config: RunConfig | None = None
    ) -> TrainBatches:
        """This process's batches, images drawn by lot, labelled 0.. by sorted class."""
        reader = self.open_images(table)
        labels, _ = pd.factorize(reader.table["identity"], sort=True)
        processes = {"rank": self.processes.rank, "world_size": self.processes.size}
        sampler = ShuffledSampler(labels, 1, self.config.batch, seed, **processes)
        return TrainBatches(
            reader,
            labels,
            sampler,
            augmentation_of(self.config),
            device=self.device,
            seed=seed,
            workers=worker_threads(self.config, self.device),
        )

    def add_gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add this batch's share to the step's gradient; gives its `LOSSES`, none of pairs."""
        with self.autocast():
            output = self.model(images)
            whole, part = (
                classification_loss(logits, labels, self.config.label_smoothing)
                for logits in (output.global_logits, output.part_logits)
            )
        none = torch.zeros_like(whole)
        parts = LossParts(whole + part, whole, none, part, none, none)
        (parts.total / self.config.accumulate).backward()
        accuracy = (output.global_logits.argmax(1) == labels).float().mean()
        return torch.cat((parts.values(), accuracy[None]))

    def _evaluate(self) -> None:
        """Top-1 and top-5 of the network as it is after an epoch."""
        if self.validation is None:
            return
        embedder = Embedder(self.network, after_necks=True)
        embedder = replace(embedder, device=self.device, processes=self.processes)
        features = embedder.embed(self.validation)
        if not self.processes.is_main_process:
            return
        labels = self.classes.get_indexer(self.validation.table["identity"])
        found = accuracies(logits_of(self.network, features), labels)
        self.run.append("evaluation", epoch=self.epoch, **found)
        self.run.write_json("metrics.json", {"epoch": self.epoch, **found, "images": len(labels)})

    def result(self) -> str:
        return f"pretraining finished: {told(self.run.metrics() or {})}"


def split_classes(
    dataset: ReidDataset, config: PretrainConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and validation images: the data's own test images of its training classes, or where
    it has none, a share of each class's images by the seed.
    """
    train, table = dataset.train, dataset.table
    if train["identity"].nunique() < 2:
        raise ReidError(
            f"data set {dataset.name!r} has {train['identity'].nunique()} classes to train on; two "
            "or more are needed, in an image folder train/CLASS/*.jpg"
        )
    other = table[(table["split"] != "train") & table["identity"].isin(train["identity"])]
    if not other.empty:
        return train, other.reset_index(drop=True)
    order = train.sample(frac=1, random_state=config.seed)  # by lot, then class by class
    place = order.groupby("identity").cumcount()
    count = order.groupby("identity")["path"].transform("count")
    held_out = (place < (count * config.held_out).astype(int)).sort_index()
    return train[~held_out].reset_index(drop=True), train[held_out].reset_index(drop=True)


def logits_of(network: ReidNetwork, features: np.ndarray) -> np.ndarray:
    """The global branch's answers, N x K, from features behind the necks, N x D."""
    weight, bias = (p.detach().float().cpu().numpy() for p in network.classifier.parameters())
    return features[:, : weight.shape[1]] @ weight.T + bias


def accuracies(logits: np.ndarray, labels: Any) -> dict[str, float]:
    """Shares of images whose class has the largest logit, or one of the five largest: top1, top5.

    >>> accuracies(np.array([[0.1, 0.9, 0.0], [0.6, 0.3, 0.1]]), np.array([1, 1]))
    {'top1': 0.5, 'top5': 1.0}
    """
    own = np.take_along_axis(logits, np.asarray(labels)[:, None], 1)
    above = (logits > own).sum(1)
    return {f"top{k}": float((above < k).mean()) for k in (1, 5)}


def pretrain(
    config: PretrainConfig,
    folder: str | Path | RunFolder,
    *,
    dataset: ReidDataset | None = None,
    resume: bool = False,
    progress: bool = True,
    stop: Stop | None = None,
) -> RunFolder:
    """Pretrain a network on classes, writing everything into a run folder, and give that back.

    Its folder is what `--weights` of a training starts from. Stopping and resuming are as in
    `search`.
    """
    dataset = dataset or open_dataset(config)
    job = Job(config, dataset, RunFolder.at(folder), progress)
    return carry_out(Pretraining, job, resume, stop)
