"""The search: twin memories, the bilevel step, the loop."""

from msinet_core.search.bilevel import TwinSearch, bilevel_step, load_supernet, search
from msinet_core.search.memory import ContrastiveMemory

__all__ = ["ContrastiveMemory", "TwinSearch", "bilevel_step", "load_supernet", "search"]
