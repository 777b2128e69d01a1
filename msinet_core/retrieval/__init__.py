"""Ranking, re-ranking, embedding and the result that everything shown starts from."""

from msinet_core.retrieval.domains import DomainResults, evaluate_across
from msinet_core.retrieval.embedding import embed
from msinet_core.retrieval.evaluate import evaluate, score_table
from msinet_core.retrieval.ranking import Ranking, RankList, rank, rank_distance
from msinet_core.retrieval.rerank import rank_reranked, rerank, reranking
from msinet_core.retrieval.result import RetrievalResult

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
