"""A workbench for object re-identification with MSINet (Gu et al., CVPR 2023).

Subpackages (`data`, `models`, `search`, `training`, `retrieval`, `figures`, `panels`) are imported
when first used, so that `import msinet_core` is immediate.
"""

from importlib import import_module
from types import ModuleType

from msinet_core.errors import ReidError
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype

__version__ = "0.1.0"
__all__ = ["OPERATIONS", "PAPER_GENOTYPE", "Genotype", "ReidError", "__version__"]

_ROOMS = {
    "config",
    "data",
    "figures",
    "models",
    "panels",
    "retrieval",
    "runs",
    "search",
    "training",
}


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"msinet_core.{name}")
    raise AttributeError(f"module 'msinet_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
