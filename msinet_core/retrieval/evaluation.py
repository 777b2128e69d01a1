"""From a network and data sets to scored results: one, or a table of several domains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
from torch import nn

from msinet_core.data import ImageReader, Protocol, ReidDataset, protocol_for
from msinet_core.data.joining import unused_name
from msinet_core.data.protocol import nothing_counts
from msinet_core.errors import ReidError
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.result import RetrievalResult

METRICS = ("mAP", "rank1", "rank5", "rank10", "mINP")


def evaluate(
    network: Embedder | nn.Module,
    dataset: ReidDataset,
    height: int = 256,
    width: int = 128,
    *,
    protocol: Protocol | None = None,
) -> RetrievalResult:
    """Embeds the test images of a data set and scores them, by default by the data's protocol, both
    on the network's device.

    A bare module takes images of `height` x `width`; an `Embedder` knows its own size. Of several
    processes each reads and embeds its share; all get the whole result.
    """
    embedder = network if isinstance(network, Embedder) else Embedder(network, height, width)
    table = dataset.table[dataset.table["split"] != "train"].reset_index(drop=True)
    several = embedder.processes.size > 1  # each needs a part of the images, once
    reader = embedder.open(table, dataset.root, cache="none" if several else "auto")
    rules = protocol or protocol_for(dataset)
    features = embedder.embed(reader)
    return RetrievalResult.from_features(features, reader.table, rules, device=embedder.place)


@dataclass(frozen=True)
class ScoredImages:
    """Queries and a gallery, open to be scored time and again."""

    reader: ImageReader
    protocol: Protocol

    def score(self, embedder: Embedder) -> RetrievalResult | None:
        """Of several processes each embeds its share; only the main one gets the result."""
        features = embedder.embed(self.reader)
        if not embedder.processes.is_main_process:
            return None
        table, place = self.reader.table, embedder.place
        return RetrievalResult.from_features(features, table, self.protocol, device=place)


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
        rows = {
            name: {
                **result.metrics(),
                "gallery": len(result.gallery_table),
                "protocol": str(result.protocol),
            }
            for name, result in self.results.items()
        }
        table: pd.DataFrame = pd.DataFrame.from_dict(rows, orient="index")
        metrics = [name for name in table.columns if name.startswith(METRICS)]
        columns = [*metrics, "counted", "queries", "gallery", "protocol"]
        return table[columns].rename_axis("data set")

    def _shown(self) -> pd.DataFrame:
        """Percent, with deviations behind a sign."""
        table = self.table
        shown = pd.DataFrame(index=table.index)
        for name in METRICS:
            shown[name] = table[name].map("{:.1%}".format)
            if f"{name}_deviation" in table:
                spread = table[f"{name}_deviation"]
                shown[name] += spread.map(lambda v: "" if pd.isna(v) else f" ± {v:.1%}")
        counted = table[["counted", "queries"]].round().astype(int)
        shown["queries"] = [f"{c:,} of {q:,}" for c, q in counted.itertuples(index=False)]
        return shown.assign(gallery=table["gallery"].map("{:,}".format), protocol=table["protocol"])

    def _reasons(self) -> list[str]:
        """Why there are no figures, of each data set that has none."""
        results = self.results.items()
        return [nothing_counts(k, r.protocol) for k, r in results if not r.ranking.num_counted]

    def __repr__(self) -> str:
        with pd.option_context("display.width", 200, "display.max_colwidth", None):
            return "\n".join([self._shown().to_string(), *self._reasons()])

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(reason)}</p>" for reason in self._reasons())
        return self._shown().to_html() + said


def evaluate_across(
    embedder: Embedder,
    datasets: Iterable[ReidDataset],
    protocols: Sequence[Protocol | None] | None = None,
) -> DomainResults:
    """Evaluates one network on several data sets, each by its own protocol (VehicleID by its
    draws), features extracted once. `protocols`: one for each data set, None for its usual one.
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
        result = evaluate(embedder, dataset, protocol=protocol)
        results[unused_name(dataset.name, results)] = result
    return DomainResults(results)
