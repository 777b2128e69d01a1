"""One model on any number of data sets: the usual table of cross-domain results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from msinet_core.data import Protocol, ReidDataset
from msinet_core.errors import ReidError
from msinet_core.retrieval.evaluate import evaluate
from msinet_core.retrieval.result import RetrievalResult
from msinet_core.runs.processes import ALONE, Processes

METRICS = ("mAP", "rank1", "rank5", "rank10", "mINP")


@dataclass(frozen=True)
class DomainResults:
    """A `RetrievalResult` for each data set, in the order given. Prints as one table."""

    results: dict[str, RetrievalResult]

    @property
    def table(self) -> pd.DataFrame:
        """One row a data set: metrics as fractions (means over gallery draws, with their deviations
        as `mAP_deviation` and so on where a protocol draws), queries that counted, gallery,
        protocol.
        """
        rows = {}
        for name, result in self.results.items():
            rows[name] = {
                **result.metrics(),
                "gallery": len(result.gallery_table),
                "protocol": str(result.protocol),
            }
        table: pd.DataFrame = pd.DataFrame.from_dict(rows, orient="index")
        metrics = [name for name in table.columns if name.startswith(METRICS)]
        return table[[*metrics, "counted", "queries", "gallery", "protocol"]].rename_axis(
            "data set"
        )

    def _shown(self) -> pd.DataFrame:
        """Percent, with deviations behind a sign."""
        table = self.table
        shown = pd.DataFrame(index=table.index)
        for name in METRICS:
            cells = table[name].map("{:.1%}".format)
            if f"{name}_deviation" in table:
                spread = table[f"{name}_deviation"].map(
                    lambda value: "" if pd.isna(value) else f" ± {value:.1%}"
                )
                cells = cells + spread
            shown[name] = cells
        counted = table[["counted", "queries"]].round().astype(int)
        shown["queries"] = [f"{c:,} of {q:,}" for c, q in counted.itertuples(index=False)]
        return shown.assign(gallery=table["gallery"].map("{:,}".format), protocol=table["protocol"])

    def __repr__(self) -> str:
        return self._shown().to_string()

    def _repr_html_(self) -> str:
        return self._shown().to_html()


def evaluate_across(
    model: nn.Module,
    datasets: Iterable[ReidDataset],
    height: int,
    width: int,
    *,
    protocols: Sequence[Protocol | None] | None = None,
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    workers: int = 0,
    progress: bool = False,
    processes: Processes = ALONE,
) -> DomainResults:
    """Score one model on the test images of every data set, each by its own protocol.

    protocols: one for each data set (None: the one that fits it). Features are extracted once for
    each data set, gallery draws included. Data sets of the same name are numbered. For the other
    arguments see `evaluate`.
    """
    datasets = list(datasets)
    chosen = list(protocols) if protocols is not None else [None] * len(datasets)
    if not datasets:
        raise ReidError("there is no data set to evaluate on; name at least one")
    if len(chosen) != len(datasets):
        raise ReidError(
            f"there are {len(chosen)} protocols for {len(datasets)} data sets; give one each"
        )
    results: dict[str, RetrievalResult] = {}
    for dataset, protocol in zip(datasets, chosen, strict=True):
        result = evaluate(
            model,
            dataset,
            height,
            width,
            protocol=protocol,
            after_necks=after_necks,
            flip=flip,
            batch_size=batch_size,
            device=device,
            workers=workers,
            progress=progress,
            processes=processes,
        )
        results[_unused(dataset.name, results)] = result
    return DomainResults(results)


def _unused(name: str, taken: dict[str, RetrievalResult]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
