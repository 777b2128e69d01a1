"""Embedding, ranking, re-ranking and the result that everything shown starts from."""

from msinet_core.retrieval.comparison import (
    Bootstrap,
    Comparison,
    compare,
    comparison_table,
    metric_intervals,
    require_same_queries,
)
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.evaluation import DomainResults, evaluate, evaluate_across
from msinet_core.retrieval.export import export_onnx, export_weights
from msinet_core.retrieval.feature_files import read_features
from msinet_core.retrieval.index import Found, GalleryIndex, search_store
from msinet_core.retrieval.matches import Matches
from msinet_core.retrieval.matrix import DomainMatrix
from msinet_core.retrieval.metrics import Ranking, RankList
from msinet_core.retrieval.onnx_model import OnnxModel
from msinet_core.retrieval.open_world import OpenSet, open_set
from msinet_core.retrieval.querying import Answer, Gallery, open_gallery, pictures_table, query
from msinet_core.retrieval.ranking import rank, rank_distance, rank_features
from msinet_core.retrieval.reranking import Reranking, rerank
from msinet_core.retrieval.result import RetrievalResult, score_table
from msinet_core.retrieval.sources import load_model
from msinet_core.retrieval.store import EmbeddingStore, embed_dataset, open_store, write_store
from msinet_core.retrieval.verification import (
    Pairs,
    Roc,
    Transfer,
    count_pairs,
    count_pairs_within,
    transfer,
)

__all__ = [
    "Answer",
    "Bootstrap",
    "Comparison",
    "DomainMatrix",
    "DomainResults",
    "Embedder",
    "EmbeddingStore",
    "Found",
    "Gallery",
    "GalleryIndex",
    "Matches",
    "OnnxModel",
    "OpenSet",
    "Pairs",
    "RankList",
    "Ranking",
    "Reranking",
    "RetrievalResult",
    "Roc",
    "Transfer",
    "compare",
    "comparison_table",
    "count_pairs",
    "count_pairs_within",
    "embed_dataset",
    "evaluate",
    "evaluate_across",
    "export_onnx",
    "export_weights",
    "load_model",
    "metric_intervals",
    "open_gallery",
    "open_set",
    "open_store",
    "pictures_table",
    "query",
    "rank",
    "rank_distance",
    "rank_features",
    "read_features",
    "require_same_queries",
    "rerank",
    "score_table",
    "search_store",
    "transfer",
    "write_store",
]
