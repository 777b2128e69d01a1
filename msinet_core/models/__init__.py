"""The supernet, MSINet, their interactions and the alignment module."""

from typing import Any

from msinet_core.models import alignment, reference
from msinet_core.models.blocks import CHANNELS
from msinet_core.models.interactions import make_interaction, register_operation
from msinet_core.models.msinet import MSINet
from msinet_core.models.networks import ReidNetwork, ReidOutput
from msinet_core.models.supernet import Supernet

__all__ = [
    "CHANNELS",
    "MSINet",
    "ReidNetwork",
    "ReidOutput",
    "Supernet",
    "alignment",
    "load_model",
    "make_interaction",
    "reference",
    "register_operation",
]


def __getattr__(name: str) -> Any:
    if name == "load_model":  # needs the rooms above this one
        from msinet_core.retrieval.sources import load_model

        return load_model
    raise AttributeError(f"module 'msinet_core.models' has no attribute {name!r}")
