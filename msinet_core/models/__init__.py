"""The supernet, MSINet, their interactions and the alignment module."""

from msinet_core.models import alignment, reference
from msinet_core.models.blocks import CHANNELS
from msinet_core.models.interactions import make_interaction
from msinet_core.models.msinet import MSINet, MSINetOutput
from msinet_core.models.supernet import Supernet

__all__ = [
    "CHANNELS",
    "MSINet",
    "MSINetOutput",
    "Supernet",
    "alignment",
    "make_interaction",
    "reference",
]
