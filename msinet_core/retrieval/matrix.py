"""Sources x targets: several networks scored on several data sets, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval.comparison import Bootstrap
from msinet_core.retrieval.evaluation import DomainResults
from msinet_core.retrieval.result import RetrievalResult

BOOTSTRAP = Bootstrap("identity", draws=2_000)


@dataclass(frozen=True)
class DomainMatrix:
    """A network's results on each data set, by the network's name. Prints as a grid.

    `table` has one row a cell: source, target, and for each of mAP, rank1 and mINP the value (a
    fraction), and `_low` and `_high` of its 95 % interval: over drawn galleries where the protocol
    draws them, else a percentile bootstrap over the identities of the queries.
    """

    results: Mapping[str, DomainResults] = field(repr=False)
    table: pd.DataFrame

    @classmethod
    def of(cls, results: Mapping[str, DomainResults]) -> DomainMatrix:
        """`ReidError` unless all networks were scored on the same data sets."""
        targets = [list(one.results) for one in results.values()]
        if not targets or any(names != targets[0] for names in targets):
            raise ReidError("a matrix takes one or more networks, all scored on the same data sets")
        rows = [
            {"source": source, "target": target, **cell(result)}
            for source, one in results.items()
            for target, result in one.results.items()
        ]
        return cls(dict(results), pd.DataFrame(rows))

    def grid(self, column: str = "mAP") -> pd.DataFrame:
        """A column of `table` as sources x targets, in the order they were given in."""
        grid = self.table.pivot(index="source", columns="target", values=column)
        return grid.loc[self.table["source"].unique(), self.table["target"].unique()]

    def shown(self, metric: str = "mAP") -> pd.DataFrame:
        """Percent with its interval, sources x targets, as text."""
        value, low, high = (100 * self.grid(f"{metric}{end}") for end in ("", "_low", "_high"))
        texts = [
            [f"{v:.1f} ({a:.1f} to {b:.1f})" for v, a, b in zip(*row, strict=True)]
            for row in zip(value.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
        ]
        return pd.DataFrame(texts, value.index, value.columns)

    def __repr__(self) -> str:
        with pd.option_context("display.width", 200, "display.max_colwidth", None):
            return f"mAP in %, 95 % intervals\n{self.shown().to_string()}"

    def _repr_html_(self) -> str:
        return self.shown().to_html()


def cell(result: RetrievalResult) -> dict[str, float]:
    """mAP, rank1 and mINP of a result, each with the ends of its interval."""
    metrics, found = result.metrics(), dict[str, float]()
    ranking, counted = result.ranking, result.ranking.counted
    by_query = {
        "mAP": ranking.average_precision,
        "rank1": (ranking.first_match_rank == 1).astype(float),
        "mINP": ranking.inverse_negative_penalty,
    }
    if result.draws is not None:
        ends = np.quantile(result.draws[list(by_query)].to_numpy(), [0.025, 0.975], axis=0).T
        intervals = [(float(low), float(high)) for low, high in ends]
    else:
        values = np.stack([column[counted] for column in by_query.values()], axis=1)
        groups = BOOTSTRAP.groups(result.query_table[counted])
        intervals = BOOTSTRAP.intervals(values, groups)
    for name, (low, high) in zip(by_query, intervals, strict=True):
        found |= {name: metrics[name], f"{name}_low": low, f"{name}_high": high}
    return found
