"""Ranking, re-ranking, embedding and the result that everything shown starts from."""

from msinet_core.retrieval.evaluate import RetrievalResult, embed, evaluate, score_table
from msinet_core.retrieval.ranking import Ranking, RankList, rank, rank_distance

__all__ = [
    "RankList",
    "Ranking",
    "RetrievalResult",
    "embed",
    "evaluate",
    "rank",
    "rank_distance",
    "score_table",
]
