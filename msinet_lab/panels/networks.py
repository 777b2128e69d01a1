"""Networks under inspection: each with its own rank lists over the same queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from msinet_core.data import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.retrieval import (
    Embedder,
    RetrievalResult,
    evaluate,
    load_model,
    require_same_queries,
)
from msinet_core.runs.folder import RunFolder
from msinet_lab.figures.feature_maps import Looker

Results = RetrievalResult | Mapping[str, RetrievalResult] | ReidDataset


@dataclass
class Networks:
    """Networks by name over one set of photographs, each with its own size, colours and rank lists.

    given: SOURCEs of `load_model`, modules or `Embedder`s by name; a bare module takes images of
        `height` x `width`. data: a data set, or a result whose photographs and protocol count:
        each network's rank lists are computed when they are first asked for. Or a result for each
        name, over the same queries. root: of the photographs.
    """

    given: Mapping[str, Any]
    data: Results
    root: Path
    height: int = 256
    width: int = 128
    _embedders: dict[str, Embedder] = field(default_factory=dict)
    _results: dict[str, RetrievalResult] = field(default_factory=dict)
    _lookers: dict[str, tuple[Looker, Looker]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.data, Mapping):
            self._results.update(self.data)
            first, *others = self._results.items()
            for name, result in others:
                try:
                    require_same_queries(first[1], result)
                except ReidError as error:
                    raise ReidError(f"{first[0]} and {name}: {error}") from None
        elif isinstance(self.data, RetrievalResult) and len(self.given) < 2:
            self._results.update(dict.fromkeys(self.names, self.data))

    @property
    def names(self) -> list[str]:
        """Of the results, where there are some by name; else of the networks."""
        return list(self.data if isinstance(self.data, Mapping) else self.given) or [""]

    def embedder(self, name: str) -> Embedder:
        """The network; `ReidError` where a result came without one."""
        if name not in self._embedders:
            if name not in self.given:
                raise ReidError(f"there is no network of {name!r}; give it with `networks`")
            self._embedders[name] = as_embedder(self.given[name], self.height, self.width)
        return self._embedders[name]

    def result(self, name: str) -> RetrievalResult:
        """The network's rank lists."""
        if name not in self._results:
            if isinstance(self.data, Mapping):
                known = ", ".join(self.data)
                raise ReidError(f"there is no result of {name!r}; there are those of {known}")
            self._results[name] = self._scored(self.embedder(name))
        return self._results[name]

    def _scored(self, embedder: Embedder) -> RetrievalResult:
        if isinstance(self.data, ReidDataset):
            return evaluate(embedder, self.data)
        assert isinstance(self.data, RetrievalResult)
        embedder = replace(embedder, on_bad_image="skip")  # one broken photograph hides none else
        query = embedder.open(self.data.query_table, self.root)
        gallery = embedder.open(self.data.gallery_table, self.root)
        features = embedder.embed(query), embedder.embed(gallery)
        return RetrievalResult.score(*features, query.table, gallery.table, self.data.protocol)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Of the queries and of the gallery."""
        result = self.result(self.names[0])
        return result.query_table, result.gallery_table

    def lookers(self, name: str) -> tuple[Looker, Looker]:
        """Maps of the queries and of the gallery by one network."""
        if name not in self._lookers:
            result, embedder = self.result(name), self.embedder(name)
            query, gallery = (
                Looker(embedder, table, self.root)
                for table in (result.query_table, result.gallery_table)
            )
            self._lookers[name] = query, gallery
        return self._lookers[name]


def as_query(result: RetrievalResult, row: int) -> tuple[RetrievalResult, np.ndarray]:
    """The rank list of a gallery image over all others, and which rows of the gallery these are."""
    rows = np.delete(np.arange(len(result.gallery_table)), row)
    table = result.gallery_table
    tables = table.iloc[[row]].reset_index(drop=True), table.iloc[rows].reset_index(drop=True)
    features = result.gallery_features[[row]], result.gallery_features[rows]
    return RetrievalResult.score(*features, *tables, result.protocol), rows


def root_of(data: Results, root: str | Path | None) -> Path:
    """Where the photographs are; `ReidError` where nobody says it."""
    if root is None and isinstance(data, ReidDataset):
        return data.root
    if root is None:
        raise ReidError("give `root` as well: the folder that the paths of a result start from")
    return Path(root)


def as_embedder(network: Any, height: int = 256, width: int = 128) -> Embedder:
    """Whatever stands for a network as an `Embedder`."""
    if isinstance(network, Embedder):
        return network
    if isinstance(network, nn.Module):
        return Embedder(network, height, width)
    return load_model(network.path if isinstance(network, RunFolder) else network)
