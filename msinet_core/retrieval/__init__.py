"""Ranking, re-ranking, embedding and the result that everything shown starts from."""

from msinet_core.retrieval.domains import DomainResults, evaluate_across
from msinet_core.retrieval.evaluate import RetrievalResult, embed, evaluate, score_table
from msinet_core.retrieval.ranking import Ranking, RankList, rank, rank_distance
from msinet_core.retrieval.rerank import rank_reranked, rerank, reranking

__all__ = [
    "DomainResults",
    "RankList",
    "Ranking",
    "RetrievalResult",
    "embed",
    "evaluate",
    "evaluate_across",
    "rank",
    "rank_distance",
    "rank_reranked",
    "rerank",
    "reranking",
    "score_table",
]
