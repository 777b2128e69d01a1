"""Ranking, re-ranking, embedding and the result that everything shown starts from."""

from msinet_core.retrieval.domains import DomainResults, evaluate_across
from msinet_core.retrieval.embedding import embed
from msinet_core.retrieval.evaluate import evaluate, score_table
from msinet_core.retrieval.export import export_onnx
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.retrieval.ranking import Ranking, RankList, rank, rank_distance
from msinet_core.retrieval.rerank import rank_reranked, rerank, reranking
from msinet_core.retrieval.result import RetrievalResult
from msinet_core.retrieval.store import EmbeddingStore, embed_dataset, open_store, write_store

__all__ = [
    "DomainResults",
    "EmbeddingStore",
    "OnnxModel",
    "RankList",
    "Ranking",
    "RetrievalResult",
    "embed",
    "embed_dataset",
    "evaluate",
    "evaluate_across",
    "export_onnx",
    "open_store",
    "rank",
    "rank_distance",
    "rank_reranked",
    "rerank",
    "reranking",
    "score_table",
    "write_store",
]
