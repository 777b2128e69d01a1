"""`RetrievalResult`: features, tables, protocol and scores in one value."""

from __future__ import annotations

import errno
import json
import operator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from msinet_core.data.matches import Matches
from msinet_core.data.protocol import Protocol, draw_gallery
from msinet_core.errors import ReidError
from msinet_core.files import replacing_folder, require_regular, whole_folder
from msinet_core.retrieval.device import place_of
from msinet_core.retrieval.features import (
    feature_array,
    feature_pair,
    require_finite,
    require_rows,
    unit_rows,
)
from msinet_core.retrieval.metrics import Ranking, RankList, in_percent
from msinet_core.retrieval.ranking import JUNK, list_from_features, rank_features
from msinet_core.retrieval.reranking import Reranking
from msinet_core.retrieval.tables import (
    checksum,
    read_about,
    read_table,
    table_checksum,
    write_about,
    write_table,
)

FORMAT = 1
SCORES = ("average_precision", "first_match_rank", "inverse_negative_penalty", "num_matches")


@dataclass(frozen=True)
class RetrievalResult:
    """Features, tables, protocol and what was scored; galleries, metrics and reports all start
    here.

    query_features Q x D, gallery_features G x D; the tables have one row each, index from 0.
    `draws` holds the metrics of every gallery draw where the protocol draws galleries
    (the features and the ranking are then those of the first draw). `reranked_by` holds k1, k2 and
    lambda where the ranking is by re-ranked distances. `device`: where it is scored; a loaded
    result's is the processor.
    """

    query_features: np.ndarray
    gallery_features: np.ndarray
    query_table: pd.DataFrame
    gallery_table: pd.DataFrame
    protocol: Protocol
    ranking: Ranking
    draws: pd.DataFrame | None = field(default=None, repr=False)
    reranked_by: tuple[int, int, float] | None = None
    device: torch.device | str = field(default="cpu", repr=False, compare=False)

    @classmethod
    def from_features(
        cls,
        features: Any,
        table: pd.DataFrame,
        protocol: Protocol | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> RetrievalResult:
        """Scores the features (N x D) of one table's rows: its query rows against its gallery rows
        by their `split`, or drawn galleries where the protocol draws them.

        Features may come from anywhere (`read_features`), in half precision too; of a memory-mapped
        file only the rows of the two sides are read. Without a protocol, junk is what `rank` takes
        for it (identity -1), and the same camera is left out where there are cameras; pass
        `protocol_for(dataset)` for a data set's own rules. `device`: where to score them, by
        default where they are.
        """
        place = place_of(features) if device is None else device
        if not hasattr(features, "shape"):
            features = feature_array(features, "features")
        require_rows(features, table)
        table, draws = table.reset_index(drop=True), protocol.gallery_draws if protocol else 0
        for name in ("identity",) if draws else ("identity", "split"):
            if name not in table.columns:
                has = ", ".join(map(str, table.columns))
                raise ReidError(f"the features' table has no column {name}; it has {has}")

        def score(query: np.ndarray, gallery: np.ndarray) -> RetrievalResult:
            sides = np.flatnonzero(query), np.flatnonzero(gallery)
            one, two = (feature_array(features[_run_of(rows)], "features") for rows in sides)
            tables = table.iloc[sides[0]], table.iloc[sides[1]]
            for part, rows in zip((one, two), tables, strict=True):
                require_finite(part, rows.get("path"))
            return cls.score(one, two, *tables, protocol, device=place)

        if not draws:
            split = table["split"].to_numpy()
            sides = split == "query", split == "gallery"
            for side, name in zip(sides, ("query", "gallery"), strict=True):
                if not side.any():
                    raise ReidError(f"no row of the table has the split {name!r}")
            return score(*sides)
        results = []
        assert protocol is not None
        for draw in range(draws):
            in_gallery = draw_gallery(table["identity"], protocol.draw_seed, draw)
            results.append(score(~in_gallery, in_gallery))
        each = pd.DataFrame([result.ranking.metrics() for result in results])
        return replace(results[0], draws=each.rename_axis("draw"))

    @classmethod
    def score(
        cls,
        query_features: Any,
        gallery_features: Any,
        query_table: pd.DataFrame,
        gallery_table: pd.DataFrame,
        protocol: Protocol | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> RetrievalResult:
        """Scores features of queries and of a gallery; the rest is as in `from_features`."""
        device = place_of(query_features, gallery_features) if device is None else device
        protocol = protocol or Protocol(junk_identities=JUNK)
        query, gallery = feature_pair(query_features, gallery_features)
        tables = query_table.reset_index(drop=True), gallery_table.reset_index(drop=True)
        require_rows(query, tables[0], "query ")
        require_rows(gallery, tables[1], "gallery ")
        matches = Matches.find(*tables, protocol)
        ranking = rank_features(query, gallery, matches, device=device)
        return cls(query, gallery, *tables, protocol, ranking, device=device)

    def reranked(self, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> RetrievalResult:
        """The same features ranked by k-reciprocal re-ranking; see `rerank`."""
        by = k1, k2, lambda_value
        query, gallery = self.query_features, self.gallery_features
        prepared = Reranking.prepare(query, gallery, *by, device=self.device)
        return replace(self, ranking=prepared.rank(self.matches), draws=None, reranked_by=by)

    def averaged(self, column: str) -> RetrievalResult:
        """Multi-query: the queries of each value of a column (a tracklet, say) as one, whose
        feature is the mean of theirs as unit vectors. Queries of several identities or cameras
        stay one for each; those without a value stay as they are.
        """
        table = self.query_table
        if column not in table:
            raise ReidError(
                f"the query table has no column {column!r}; it has {', '.join(map(str, table))}"
            )
        cameras = [name for name in ("camera",) if name in table and table[name].notna().all()]
        keys = table[list(dict.fromkeys([column, "identity", *cameras]))].astype(str)
        alone = table[column].isna().to_numpy(bool)
        keys["alone"] = np.where(alone, np.arange(len(table)), -1)
        group = keys.groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()
        first = np.unique(group, return_index=True)[1]
        unit = unit_rows(feature_array(self.query_features, "query features"), "query")
        means = np.zeros((len(first), unit.shape[1]))
        np.add.at(means, group, unit)
        means /= np.bincount(group)[:, None]
        rows = table.iloc[first].assign(averaged=np.bincount(group))
        features = means.astype(np.float32), self.gallery_features
        sides = rows, self.gallery_table
        result = RetrievalResult.score(*features, *sides, self.protocol, device=self.device)
        return result if self.reranked_by is None else result.reranked(*self.reranked_by)

    def rank_list(self, query_index: int, k: int = 10) -> RankList:
        """The k nearest ranked gallery rows of one query; see `Ranking.rank_list`."""
        return self.ranking.rank_list(query_index, k)

    @cached_property
    def matches(self) -> Matches:
        """Which gallery rows match each query, and which are left out."""
        return Matches.find(self.query_table, self.gallery_table, self.protocol)

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
            columns = ", ".join(map(str, self.query_table.columns))
            raise ReidError(f"the query table has no column {column!r}; it has {columns}")
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
        """Writes everything into a folder, whole or not at all; `load` reads it. `ReidError` for a
        folder that holds anything but a result.
        """
        arrays = {
            "features": {"query": self.query_features, "gallery": self.gallery_features},
            "scores": {name: getattr(self.ranking, name) for name in SCORES},
        }
        tables = {"query": self.query_table, "gallery": self.gallery_table}
        about = {
            "format": FORMAT,
            "protocol": asdict(self.protocol),
            "max_rank": self.ranking.max_rank,
            "reranked_by": self.reranked_by,
            "columns": {name: list(table.columns) for name, table in tables.items()},
            "draws": None if self.draws is None else self.draws.to_dict("list"),
            "checksums": {name: _checksums(parts) for name, parts in arrays.items()},
        }
        about = json.loads(json.dumps(about, default=_plain))
        with replacing_folder(Path(folder), "result") as place:
            for name, parts in arrays.items():
                whole = {key: np.ascontiguousarray(array) for key, array in parts.items()}
                try:
                    save_file(whole, place / f"{name}.safetensors")
                except SafetensorError as error:  # its word for what the disk refused
                    raise OSError(errno.EIO, str(error)) from error
            for name, table in tables.items():
                write_table(table, place / f"{name}.jsonl")
                about["checksums"][name] = table_checksum(place / f"{name}.jsonl")
            write_about(place / "result.json", about)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> RetrievalResult:
        """What `save` wrote: the same scores, not computed again; rank lists on demand."""
        folder = whole_folder(Path(folder))
        about = read_about(folder / "result.json", "retrieval result", "evaluate again", FORMAT)
        try:
            return cls._from_about(folder, about)
        except (KeyError, TypeError, ValueError, AttributeError, LookupError) as error:
            if isinstance(error, ReidError):
                raise
            raise ReidError(
                f"{str(folder / 'result.json')!r} is damaged ({error}); evaluate again"
            ) from error

    @classmethod
    def _from_about(cls, folder: Path, about: dict[str, Any]) -> RetrievalResult:
        sums = about.get("checksums", {})
        rules: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in about["protocol"].items()
        }
        features = _load_arrays(folder / "features.safetensors", sums.get("features"))
        scores: Any = _load_arrays(folder / "scores.safetensors", sums.get("scores"))
        tables = {
            name: read_table(folder / f"{name}.jsonl", about["columns"][name], sums.get(name))
            for name in ("query", "gallery")
        }
        result = cls(
            features["query"],
            features["gallery"],
            tables["query"],
            tables["gallery"],
            Protocol(**rules),
            Ranking(max_rank=operator.index(about["max_rank"]), **scores),
            pd.DataFrame(about["draws"]).rename_axis("draw") if about["draws"] else None,
            tuple(about["reranked_by"]) if about["reranked_by"] else None,
        )
        result._require_whole()
        object.__setattr__(result.ranking, "lister", result._list)
        return result

    def _require_whole(self) -> None:
        """`ReidError` unless features, tables and scores have one row each for the same images."""
        require_rows(self.query_features, self.query_table, "query ")
        require_rows(self.gallery_features, self.gallery_table, "gallery ")
        if any(len(getattr(self.ranking, name)) != len(self.query_table) for name in SCORES):
            raise ReidError(f"there are not {len(self.query_table):,} scores for as many queries")

    def _list(self, index: int, k: int) -> RankList:
        if self.reranked_by is not None:
            return self._reranking.rank_list(self.matches, index, k)
        return list_from_features(
            self.query_features, self.gallery_features, self.matches, index, k
        )

    @cached_property
    def _reranking(self) -> Reranking:
        assert self.reranked_by is not None
        return Reranking.prepare(self.query_features, self.gallery_features, *self.reranked_by)

    def __repr__(self) -> str:
        by = ", re-ranked with k1 {}, k2 {}, lambda {}".format(*self.reranked_by or [""] * 3)
        return (
            f"RetrievalResult({in_percent(self.metrics())}; {self.ranking.num_counted:,} of "
            f"{self.ranking.num_queries:,} queries count, gallery {len(self.gallery_table):,}; "
            f"{self.protocol}{by if self.reranked_by else ''})"
        )


def score_table(
    features: Any,
    table: pd.DataFrame,
    protocol: Protocol | None = None,
    *,
    device: torch.device | str | None = None,
) -> RetrievalResult:
    """`RetrievalResult.from_features`, as a function."""
    return RetrievalResult.from_features(features, table, protocol, device=device)


def _run_of(rows: np.ndarray) -> Any:
    """Rows as a slice where they follow each other, which copies nothing."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: checksum(array) for name, array in arrays.items()}


def _load_arrays(path: Path, checksums: dict[str, int] | None) -> dict[str, np.ndarray]:
    try:
        require_regular(path)
        arrays = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ReidError(f"{str(path)!r} is missing or damaged ({error})") from error
    if checksums is not None and _checksums(arrays) != checksums:
        raise ReidError(f"{str(path)!r} is not what was written there; evaluate again")
    return arrays


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
