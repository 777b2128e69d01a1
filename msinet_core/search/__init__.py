"""The search: twin memories, the bilevel step, the loop."""

from msinet_core.search.history import SearchHistory
from msinet_core.search.loading import load_supernet
from msinet_core.search.memory import ContrastiveMemory
from msinet_core.search.step import bilevel_step
from msinet_core.search.twin_search import TwinSearch, search

__all__ = [
    "ContrastiveMemory",
    "SearchHistory",
    "TwinSearch",
    "bilevel_step",
    "load_supernet",
    "search",
]
