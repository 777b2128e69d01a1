"""Does the supernet rank architectures rightly? Its scores against short trainings from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from msinet_core.config import SearchConfig, TrainConfig
from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.space import Genotype
from msinet_core.training import train
from msinet_lab.diagnosis.statistics import kendall_tau_b

FEWEST = 8  # genotypes that a rank correlation takes to say anything


# of a search's configuration, for a training at the same size with the same batches
SHARED = (
    *("data", "root", "options", "height", "width", "pad", "channels"),
    *("identities_per_batch", "images_per_identity", "min_images", "device", "workers"),
    "on_bad_image",
)


@dataclass(frozen=True)
class RankCorrelation:
    """How alike supernet mAP and mAP after a short training rank genotypes."""

    tau: float  # Kendall's tau-b
    table: pd.DataFrame = field(repr=False)  # genotype, supernet, trained


def short_config(
    config: SearchConfig, genotype: Genotype, epochs: int, seed: int = 0
) -> TrainConfig:
    """A few epochs at the size and with the batches of a search, without erasing or schedule."""
    return TrainConfig(
        **{name: getattr(config, name) for name in SHARED},
        epochs=epochs,
        milestones=(10 * epochs,),
        warmup_epochs=1,
        augmentation="none",
        learning_rate=0.02,
        max_gradient_norm=None,
        genotype=str(genotype),
        seed=seed,
        evaluate_every=0,
        save_every=epochs,
    )


def short_trainings(
    config: SearchConfig,
    held_out: ReidDataset,
    genotypes: Sequence[Genotype],
    folder: Path,
    *,
    epochs: int = 4,
) -> dict[Genotype, float]:
    """mAP of each genotype trained from scratch on the search's train identities and judged on the
    held-out ones.

    A run folder for each below `folder`; those that are finished are taken as they are.
    """
    scores = {}
    for number, genotype in enumerate(genotypes, 1):
        wanted = short_config(config, genotype, epochs)
        run = RunFolder(folder / f"{number:02d}")
        if not (run.finished and not run.config().differences(wanted)):
            run = train(wanted, run, dataset=held_out, resume=run.exists, progress=False)
        scores[genotype] = float((run.metrics() or {})["mAP"])
    return scores


def rank_correlation(
    supernet: Mapping[Genotype, float], trained: Mapping[Genotype, float]
) -> RankCorrelation:
    """How alike the two orders are, over the genotypes that both have."""
    rows = [(str(one), supernet[one], trained[one]) for one in trained if one in supernet]
    if len(rows) < FEWEST:
        raise ReidError(
            f"a rank correlation takes at least {FEWEST} genotypes with both scores; there are "
            f"{len(rows)}"
        )
    table = pd.DataFrame(rows, columns=["genotype", "supernet", "trained"])
    return RankCorrelation(kendall_tau_b(table["supernet"], table["trained"]), table)
