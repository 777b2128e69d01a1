"""Ranking, re-ranking, embedding and the result that everything shown starts from."""

from msinet_core.retrieval.comparison import Comparison, compare
from msinet_core.retrieval.domains import DomainResults, evaluate_across
from msinet_core.retrieval.embedding import embed
from msinet_core.retrieval.evaluate import evaluate, score_table
from msinet_core.retrieval.export import export_onnx
from msinet_core.retrieval.index import Found, GalleryIndex, search_store
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.retrieval.ranking import Ranking, RankList, rank, rank_distance
from msinet_core.retrieval.rerank import rank_reranked, rerank, reranking
from msinet_core.retrieval.result import RetrievalResult
from msinet_core.retrieval.store import EmbeddingStore, embed_dataset, open_store, write_store
from msinet_core.retrieval.verification import Pairs, Roc, count_pairs, count_pairs_within

__all__ = [
    "Comparison",
    "DomainResults",
    "EmbeddingStore",
    "Found",
    "GalleryIndex",
    "OnnxModel",
    "Pairs",
    "RankList",
    "Ranking",
    "RetrievalResult",
    "Roc",
    "compare",
    "count_pairs",
    "count_pairs_within",
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
    "search_store",
    "write_store",
]
