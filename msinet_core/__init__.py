"""A workbench for object re-identification with MSINet (Gu et al., CVPR 2023): the core.

Search, training and evaluation; `msinet_lab` looks at them. Names and subpackages are imported when
first used, so that `import msinet_core` is immediate.
"""

from importlib import import_module
from typing import Any

from msinet_core.errors import ReidError
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype

__version__ = "0.2.0"

_HOMES = {
    "MSINet": "models",
    "Supernet": "models",
    "load_model": "models",
    "register_operation": "models.interactions",
    "SearchConfig": "config",
    "TrainConfig": "config",
    "PretrainConfig": "config",
    "load_dataset": "data",
    "twins_split": "data",
    "RetrievalResult": "retrieval",
    "rank": "retrieval",
    "rerank": "retrieval",
}
_ROOMS = ("config", "data", "models", "retrieval", "runs", "search", "speed", "training")

__all__ = ["OPERATIONS", "PAPER_GENOTYPE", "Genotype", "ReidError", *_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"msinet_core.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return import_module(f"msinet_core.{name}")
    raise AttributeError(f"module 'msinet_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
