"""`RetrievalResult`: features, tables, protocol and scores in one value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from msinet_core.data.protocol import Protocol
from msinet_core.errors import ReidError
from msinet_core.retrieval.checks import feature_array
from msinet_core.retrieval.matches import Matches, find_matches
from msinet_core.retrieval.ranking import Ranking, RankList, list_from_features, rank
from msinet_core.retrieval.rerank import Reranking, rank_reranked, reranking
from msinet_core.retrieval.tables import read_table, whole_folder, write_table

FORMAT = 1
SCORES = ("average_precision", "first_match_rank", "inverse_negative_penalty", "num_matches")


@dataclass(frozen=True)
class RetrievalResult:
    """Features, tables, protocol and what was scored; galleries, metrics and reports all start
    here.

    query_features Q x D, gallery_features G x D; the tables have one row each, index from 0.
    `draws` holds the metrics of every gallery draw where the protocol draws galleries
    (the features and the ranking are then those of the first draw). `reranked_by` holds k1, k2 and
    lambda where the ranking is by re-ranked distances.
    """

    query_features: np.ndarray
    gallery_features: np.ndarray
    query_table: pd.DataFrame
    gallery_table: pd.DataFrame
    protocol: Protocol
    ranking: Ranking
    draws: pd.DataFrame | None = field(default=None, repr=False)
    reranked_by: tuple[int, int, float] | None = None

    @classmethod
    def score(
        cls,
        query_features: Any,
        gallery_features: Any,
        query_table: pd.DataFrame,
        gallery_table: pd.DataFrame,
        protocol: Protocol | None = None,
    ) -> RetrievalResult:
        """Ranks features by a protocol (by default: same camera left out where there are cameras)."""
        query_table, gallery_table = (
            query_table.reset_index(drop=True),
            gallery_table.reset_index(drop=True),
        )
        protocol = protocol or Protocol()
        query, gallery = (
            feature_array(query_features, "query features"),
            feature_array(gallery_features, "gallery features"),
        )
        ranking = rank(query, gallery, *labels_of(query_table, gallery_table), **rules_of(protocol))
        return cls(query, gallery, query_table, gallery_table, protocol, ranking)

    def reranked(self, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> RetrievalResult:
        """The same features ranked by k-reciprocal re-ranking; see `rerank`."""
        prepared = reranking(self.query_features, self.gallery_features, k1, k2, lambda_value)
        ranking = rank_reranked(
            prepared, *labels_of(self.query_table, self.gallery_table), **rules_of(self.protocol)
        )
        return RetrievalResult(
            self.query_features,
            self.gallery_features,
            self.query_table,
            self.gallery_table,
            self.protocol,
            ranking,
            None,
            (k1, k2, lambda_value),
        )

    def rank_list(self, query_index: int, k: int = 10) -> RankList:
        """The k nearest ranked gallery rows of one query, nearest first; see `Ranking.rank_list`."""
        return self.ranking.rank_list(query_index, k)

    @cached_property
    def matches(self) -> Matches:
        """Which gallery rows match each query, and which are left out."""
        counts = len(self.query_table), len(self.gallery_table)
        return find_matches(
            *labels_of(self.query_table, self.gallery_table), counts, **rules_of(self.protocol)
        )

    def metrics(self) -> dict[str, float]:
        """mAP, rank-1, 5, 10, mINP; over draws the means, with deviations as `mAP_deviation` and so
        on.
        """
        if self.draws is None:
            return self.ranking.metrics()
        means, deviations = self.draws.mean(), self.draws.std(ddof=0)
        names = [name for name in self.draws.columns if name not in ("queries", "counted")]
        values = {str(name): float(value) for name, value in means.items()}
        return {**values, **{f"{name}_deviation": float(deviations[name]) for name in names}}

    # -- looking closer --------------------------------------------------------------------------

    def by_query(self) -> pd.DataFrame:
        """The query table with `average_precision`, `first_match_rank`, `inverse_negative_penalty`,
        `num_matches`.
        """
        return self.query_table.assign(**{name: getattr(self.ranking, name) for name in SCORES})

    def hardest(self, count: int = 10) -> pd.DataFrame:
        """The counted queries of lowest AP; index: their number in the query table."""
        counted = self.by_query()[self.ranking.counted]
        return counted.sort_values(
            ["average_precision", "first_match_rank"], ascending=[True, False], kind="stable"
        ).head(count)

    def easiest(self, count: int = 10) -> pd.DataFrame:
        """The counted queries of highest AP, those with more matches first where it is equal."""
        counted = self.by_query()[self.ranking.counted]
        return counted.sort_values(
            ["average_precision", "num_matches"], ascending=False, kind="stable"
        ).head(count)

    def breakdown(self, column: str = "camera") -> pd.DataFrame:
        """Metrics of the queries of each value of a column of the query table: `camera`, or any
        further one.
        """
        if column not in self.query_table:
            raise ReidError(
                f"the query table has no column {column!r}; it has {', '.join(map(str, self.query_table.columns))}"
            )
        table = self.by_query().assign(
            rank1=self.ranking.first_match_rank == 1, counted=self.ranking.counted
        )
        groups = table.groupby(column, sort=True, dropna=False)
        scored = table[table["counted"]].groupby(column, sort=True, dropna=False)
        return pd.DataFrame(
            {
                "queries": groups.size(),
                "counted": groups["counted"].sum(),
                "mAP": scored["average_precision"].mean(),
                "rank1": scored["rank1"].mean(),
                "mINP": scored["inverse_negative_penalty"].mean(),
            }
        )

    # -- on disk ---------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Writes everything into a folder, whole or not at all; `load` reads it."""
        scores = {name: np.ascontiguousarray(getattr(self.ranking, name)) for name in SCORES}
        features = {"query": self.query_features, "gallery": self.gallery_features}
        tables = {"query": self.query_table, "gallery": self.gallery_table}
        about = {
            "format": FORMAT,
            "protocol": asdict(self.protocol),
            "max_rank": self.ranking.max_rank,
            "reranked_by": self.reranked_by,
            "columns": {name: list(table.columns) for name, table in tables.items()},
            "draws": None if self.draws is None else self.draws.to_dict("list"),
        }
        with whole_folder(Path(folder)) as place:
            save_file(
                {name: np.ascontiguousarray(array) for name, array in features.items()},
                place / "features.safetensors",
            )
            save_file(scores, place / "scores.safetensors")
            for name, table in tables.items():
                write_table(table, place / f"{name}.jsonl")
            (place / "result.json").write_text(json.dumps(about, indent=1, default=_plain))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> RetrievalResult:
        """What `save` wrote: the same scores, not computed again; rank lists on demand."""
        folder = Path(folder)
        if not (folder / "result.json").is_file():
            raise ReidError(f"{str(folder)!r} holds no retrieval result (no result.json)")
        about = json.loads((folder / "result.json").read_text())
        if about.get("format") != FORMAT:
            raise ReidError(
                f"{str(folder)!r} was written by another version of msinet-core; evaluate again"
            )
        rules: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in about["protocol"].items()
        }
        protocol = Protocol(**rules)
        features = load_file(folder / "features.safetensors")
        scores: dict[str, Any] = load_file(folder / "scores.safetensors")
        tables = {
            name: read_table(folder / f"{name}.jsonl", columns)
            for name, columns in about["columns"].items()
        }
        by = tuple(about["reranked_by"]) if about["reranked_by"] else None
        draws = pd.DataFrame(about["draws"]).rename_axis("draw") if about["draws"] else None
        result = cls(
            features["query"],
            features["gallery"],
            tables["query"],
            tables["gallery"],
            protocol,
            Ranking(**scores, max_rank=about["max_rank"]),
            draws,
            by,
        )
        object.__setattr__(result.ranking, "lister", partial(_list_loaded, result))
        return result

    @cached_property
    def _reranking(self) -> Reranking:
        assert self.reranked_by is not None
        return reranking(self.query_features, self.gallery_features, *self.reranked_by)

    def __repr__(self) -> str:
        values = self.metrics()
        shown = ", ".join(
            f"{name} {100 * values[name]:.2f} %"
            for name in ("mAP", "rank1", "rank5", "rank10", "mINP")
        )
        by = (
            ""
            if self.reranked_by is None
            else ", re-ranked with k1 {}, k2 {}, lambda {}".format(*self.reranked_by)
        )
        return (
            f"RetrievalResult({shown}; {self.ranking.num_counted:,} of {self.ranking.num_queries:,} queries count, "
            f"gallery {len(self.gallery_table):,}; {self.protocol}{by})"
        )


def labels_of(query: pd.DataFrame, gallery: pd.DataFrame) -> tuple[Any, Any, Any, Any]:
    """Identities and cameras as `rank` takes them."""
    return query["identity"], gallery["identity"], query.get("camera"), gallery.get("camera")


def rules_of(protocol: Protocol) -> dict[str, Any]:
    """A protocol as the keywords of `rank`."""
    return {
        "same_camera": "exclude" if protocol.exclude_same_camera else "keep",
        "junk_identities": protocol.junk_identities,
        "distractor_identities": protocol.distractor_identities,
    }


def _list_loaded(result: RetrievalResult, index: int, k: int) -> RankList:
    if result.reranked_by is not None:
        return result._reranking.rank_list(result.matches, index, k)
    return list_from_features(
        result.query_features, result.gallery_features, result.matches, index, k
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
