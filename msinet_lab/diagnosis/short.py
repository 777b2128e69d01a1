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


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b between supernet mAP and mAP after a short training; `table` has both for
    each genotype.
    """

    tau: float
    table: pd.DataFrame = field(repr=False)


def short_config(
    config: SearchConfig, genotype: Genotype, epochs: int, seed: int = 0
) -> TrainConfig:
    """A few epochs of training at the size and with the batches of a search, without erasing or
    schedule.
    """
    return TrainConfig(
        data=config.data,
        root=config.root,
        options=config.options,
        height=config.height,
        width=config.width,
        channels=config.channels,
        epochs=epochs,
        identities_per_batch=config.identities_per_batch,
        images_per_identity=config.images_per_identity,
        min_images=config.min_images,
        milestones=(10 * epochs,),
        warmup_epochs=1,
        augmentation="none",
        pad=config.pad,
        device=config.device,
        workers=config.workers,
        learning_rate=0.02,
        max_gradient_norm=None,
        genotype=str(genotype),
        seed=seed,
        evaluate_every=0,
        save_every=epochs,
    )


def short_trainings(
    config: SearchConfig,
    unseen: ReidDataset,
    genotypes: Sequence[Genotype],
    folder: str | Path,
    *,
    epochs: int = 4,
) -> dict[Genotype, float]:
    """mAP of each genotype trained from scratch on the search's train identities and judged on the
    unseen ones.

    A run folder for each below `folder`; those that are finished are taken as they are.
    """
    scores = {}
    for number, genotype in enumerate(genotypes, 1):
        wanted = short_config(config, genotype, epochs)
        run = RunFolder(Path(folder) / f"{number:02d}")
        if not (run.finished and not run.config().differences(wanted)):
            run = train(wanted, run, dataset=unseen, resume=run.exists, progress=False)
        scores[genotype] = float((run.metrics() or {})["mAP"])
    return scores


def rank_correlation(
    supernet: Mapping[Genotype, float], trained: Mapping[Genotype, float]
) -> RankCorrelation:
    """How alike the two orders are, over the genotypes that both have."""
    both = [genotype for genotype in trained if genotype in supernet]
    if len(both) < FEWEST:
        raise ReidError(
            f"a rank correlation takes at least {FEWEST} genotypes with both scores; there are {len(both)}"
        )
    table = pd.DataFrame(
        {
            "genotype": [str(genotype) for genotype in both],
            "supernet": [supernet[genotype] for genotype in both],
            "trained": [trained[genotype] for genotype in both],
        }
    )
    return RankCorrelation(kendall_tau_b(table["supernet"], table["trained"]), table)
