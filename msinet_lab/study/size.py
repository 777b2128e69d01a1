"""How much work the study is, and the configurations that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import ReidDataset
from msinet_core.models.blocks import CHANNELS
from msinet_core.options import Device
from msinet_core.search.twin_search import split_for


@dataclass(frozen=True)
class StudySize:
    """Half an hour of one fast processor core in all, three hours of a slow one: small images,
    narrow networks, few epochs.

    Searches get the same number of steps whatever their split, trainings the same number of epochs.
    Part d compares the networks at their full width.
    """

    train_identities: int = 40
    test_identities: int = 40
    images_per_identity: int = 12
    most_images: int = 480  # of a data set's own training images, thinned evenly
    tall: tuple[int, int] = (64, 32)  # height and width for people, pixels
    square: tuple[int, int] = (48, 48)  # and for everything else
    channels: tuple[int, int, int, int] = (16, 64, 96, 128)
    full_channels: tuple[int, int, int, int] = CHANNELS
    search_steps: int = 48
    train_epochs: int = 7
    random: int = 2  # random genotypes for each seed
    identities_per_batch: int = 8
    device: Device = "auto"

    def batches(self, dataset: ReidDataset) -> dict[str, int]:
        """P x K of a batch: eight by four, or four by eight where a side of a split has few
        identities.
        """
        few = dataset.train["identity"].nunique() < 4 * self.identities_per_batch
        p = self.identities_per_batch // 2 if few else self.identities_per_batch
        return {"identities_per_batch": p, "images_per_identity": 8 if few else 4}

    def common(self, dataset: ReidDataset, seed: int) -> dict[str, Any]:
        """Fields of searches and trainings alike."""
        height, width = self.tall if dataset.name == "market1501" else self.square
        return {
            "data": dataset.name,
            "root": str(dataset.root),
            "height": height,
            "width": width,
            "channels": self.channels,
            "warmup_epochs": 1,
            "augmentation": "none",
            "pad": 3,
            "seed": seed,
            "device": self.device,
            "save_every": 1000,
            **self.batches(dataset),
        }

    def search(self, dataset: ReidDataset, seed: int, **changes: Any) -> SearchConfig:
        """A search of about `search_steps` steps; alpha moves ten times as fast as in the paper, as
        there are so few.
        """
        fields = {
            **self.common(dataset, seed),
            "alpha_learning_rate": 0.02,
            "milestones": (10_000,),
            "alpha_milestones": (10_000,),
            "stratify_by_camera": dataset.has_cameras,
            **changes,
        }
        one = SearchConfig(**fields, epochs=1)
        steps = max(1, len(split_for(one, dataset).train) // one.batch_size)
        return SearchConfig(**fields, epochs=max(1, round(self.search_steps / steps)))

    def train(self, dataset: ReidDataset, seed: int, **changes: Any) -> TrainConfig:
        """A training from scratch; the last epoch at a tenth of the rate."""
        epochs = self.train_epochs
        fields = {
            **self.common(dataset, seed),
            "epochs": epochs,
            "learning_rate": 0.02,
            "max_gradient_norm": None,
            "evaluate_every": 0,
            "milestones": (epochs - 1,) if epochs > 1 else (10,),
            **changes,
        }
        return TrainConfig(**fields)
